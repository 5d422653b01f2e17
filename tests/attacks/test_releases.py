"""A bad release, and what keeps it from the rest of a fleet: the ring halts by itself.

Central's rollout loop runs over its real store; the nodes judge by the same functions that run on a
node (`skerry.fleet.actions`), and what is bad about the release is what they then report.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from skerry.central.rollout import Conductor
from skerry.central.sqlite_store import SqliteStore
from skerry.fleet.actions import Do, OnDisk, actions_towards
from skerry.fleet.rollout import REACH_S
from skerry.schema.desired import Desired, Gate
from skerry.schema.fleet import Fleet, Kind, Machine, Model, Rollout, Site, Tier
from skerry.schema.observed import Observed, ObservedModel, State, Window
from skerry.schema.policy import Residency, Stays
from skerry.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

SITES = ("bergen", "oslo", "region-eu")
HOLD_S = 20.0
WINDOW = Window(
    duration_s=20.0, requests=100, errors=0, local=100, latency_ms_p50=1.0, latency_ms_p95=2.0
)
Report = Callable[[Observed, float], Observed | None]
"""What a node says of a release since some seconds; None: it is not heard."""


def healthy(seen: Observed, _: float) -> Observed:
    return seen


def wrong_answers(seen: Observed, _: float) -> Observed:
    """It starts, and half of what it says is wrong: the node's own gate takes it back."""
    bad = msgspec.structs.replace(seen, window=msgspec.structs.replace(WINDOW, errors=50))
    disk = OnDisk(
        generation=seen.generation - 1,
        trial=seen.generation,
        trial_at_unix_s=seen.at_unix_s - HOLD_S,
        serving={},
        models={},
    )
    action = actions_towards(desired(seen), bad, disk)[0]
    assert action.do is Do.REVERT
    return msgspec.structs.replace(
        bad,
        generation=seen.generation - 1,
        reverted_generation=seen.generation,
        reverted_reason=action.reason,
    )


def hangs(seen: Observed, _: float) -> Observed:
    """It never finishes loading: the node goes on serving what it had, and says so."""
    return msgspec.structs.replace(
        seen, generation=seen.generation - 1, in_sync=False, reason="magika 2 is loading"
    )


def cuts_the_link(seen: Observed, held_s: float) -> Observed | None:
    """The site is not heard of any more from the moment that it swaps."""
    return seen if held_s < 2 else None


def desired(seen: Observed) -> Desired:
    """The document that a node on trial judges by."""
    return Desired(
        generation=seen.generation,
        fleet="clinic",
        domain="clinic.example",
        region="region-eu",
        site=seen.site,
        tier="closet",
        jurisdiction="NO",
        models=(),
        policy_sha256="",
        tier_order=(),
        peers=(),
        gate=Gate(hold_s=HOLD_S, errors_ratio=0.01, requests_min=20),
    )


class Fleets:
    """Central, and a node per site that obeys; one release is bad in a way of its own."""

    def __init__(self, folder: Path, bad: Report) -> None:
        self.clock, self.bad = ManualClock(), bad
        self.published: dict[str, Desired] = {}
        self.swapped: dict[str, tuple[int, float]] = {}
        self.reports: dict[str, Observed] = {}
        self.saw_bad: set[str] = set()
        self.said: dict[str, str] = {}
        store = SqliteStore(folder / "central.db")
        self.conductor = Conductor(store, self, lambda: self.reports, self.note, self.clock)

    async def note(self, kind: str, site: str, text: str) -> None:
        self.said[kind] = text

    async def seal(self, documents: Mapping[str, bytes]) -> None:
        for document in documents.values():
            one = msgspec.json.decode(document, type=Desired)
            self.published[one.site] = one
            if one.models[0].version == 2:
                self.saw_bad.add(one.site)

    def completed(self, document: Desired) -> Desired:
        return document

    async def nudge(self, region: str, site: str, generation: int) -> None:
        self.swapped[site] = generation, self.clock.unix_s()

    async def apply(self, version: int, expected: int) -> int:
        state = await self.conductor.apply(
            fleet(version),
            expected_generation=expected,
            policy_sha256="p",
            applied_by="ann",
            reason="",
        )
        return state.progress.generation

    async def run(self, duration_s: float) -> None:
        for _ in range(int(duration_s)):
            self.clock.advance(1.0)
            for site, document in self.published.items():
                report = self.report(document, self.clock.unix_s() - self.swapped[site][1])
                if report is not None:
                    self.reports[report.node] = report
            await self.conductor.round()

    def report(self, document: Desired, held_s: float) -> Observed | None:
        version = document.models[0].version
        seen = Observed(
            node=f"{document.site}/1",
            site=document.site,
            region="region-eu",
            boot="b",
            at_unix_s=self.clock.unix_s(),
            generation=document.generation,
            desired_sha256="",
            in_sync=True,
            state=State.OK,
            reason="",
            models=(ObservedModel(name="magika", version=version, ready=True),),
            window=WINDOW,
        )
        return self.bad(seen, held_s) if version == 2 else seen


def fleet(version: int) -> Fleet:
    machine = Machine(name="m", idle_w=1, busy_w=2, price_usd=1, life_years=1, source="t")
    tier = Tier(
        name="closet", kind=Kind.EDGE, nodes=1, machine=machine, feed_w=1, ups_s=0,
        uplink_bit_per_s=1, pue_ratio=1, energy_usd_per_kwh=0, usd_per_month=0,
    )  # fmt: skip
    sites = tuple(
        Site(
            name=name, tier="closet", kind=Kind.REGIONAL if name == "region-eu" else Kind.EDGE,
            region="region-eu", latitude_deg=59, longitude_deg=10, jurisdiction="NO",
            grid_zone="NO1", grid_g_per_kwh=20, grid_source="t", nodes=1, feed_w=1,
        )
        for name in SITES
    )  # fmt: skip
    model = Model(
        name="magika", version=version, manifest_sha256=f"{version:064d}", standin=None,
        tiers=("closet",), data_classes=("internal",),
    )  # fmt: skip
    rollout = Rollout(
        rings=(("oslo",), ("bergen", "region-eu")),
        ring_names=("canary", "rest"),
        gate=Gate(hold_s=HOLD_S, errors_ratio=0.01, requests_min=20),
        revert_on_fail=True,
    )
    return Fleet(
        name="clinic", domain="clinic.example", goals={}, tiers={"closet": tier}, sites=sites,
        models=(model,), data_classes={"internal": Residency(stays=Stays.SITE)}, rules=(),
        rollout=rollout, links=(),
    )  # fmt: skip


async def test_a_good_release_reaches_every_site(tmp_path: Path) -> None:
    """The same loop lets a good one through, or halting would prove nothing."""
    fleets = Fleets(tmp_path, healthy)
    first = await fleets.apply(1, 0)
    await fleets.run(5)
    await fleets.apply(2, first)
    await fleets.run(2 * HOLD_S + 20)
    assert fleets.saw_bad == set(SITES)


@pytest.mark.attack(
    row="A25",
    title="a bad release: wrong answers; one that hangs; one that cuts its site's link",
    refused="rollout.reverting",
    off={"skerry.fleet.rollout.judge_node": lambda *_, **__: ("", "")},
)
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (wrong_answers, "oslo/1: reverted by itself: errors 50.00% > 1.00% (50 of 100)"),
        (hangs, "oslo/1: did not reach generation 2: magika 2 is loading"),
        (cuts_the_link, "oslo/1: silent for"),
    ],
)
async def test_a25_a_bad_release_halts_at_its_first_ring(
    tmp_path: Path, bad: Report, why: str
) -> None:
    fleets = Fleets(tmp_path, bad)
    first = await fleets.apply(1, 0)
    await fleets.run(5)
    second = await fleets.apply(2, first)
    await fleets.run(HOLD_S + REACH_S + 30)
    assert fleets.saw_bad == {"oslo"}, "other sites never see it"
    assert fleets.said["rollout.reverting"].startswith(f"generation {second}: {why}")
    assert {one.models[0].version for one in fleets.published.values()} == {1}
    assert fleets.published["oslo"].generation > second, "back means forward"
    state = await fleets.conductor.state()
    assert state is not None
    assert state.phase in ("reverting", "reverted")
