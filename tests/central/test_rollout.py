"""The rollout loop over a real store: rings, holds, automatic reverts, restarts, moved peers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.base.errors import SkerryError
from skerry.central.errors import GenerationConflictError, NoRolloutError, UnusableFleetError
from skerry.central.rollout import CHECK_AGAIN_S, Conductor, Phase
from skerry.central.sqlite_store import SqliteStore
from skerry.schema.api import RegionStatus, Registration
from skerry.schema.desired import Desired, Gate
from skerry.schema.fleet import (
    Fleet,
    Kind,
    Machine,
    Model,
    RingCheck,
    Rollout,
    Site,
    Span,
    Tier,
)
from skerry.schema.observed import Observed, ObservedModel, State, Window
from skerry.schema.policy import Residency, Stays
from skerry.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

SITES = ("bergen", "oslo", "region-eu")


class Sealer:
    """Keeps what was published and nudged; can be told to fail once."""

    def __init__(self) -> None:
        self.published: dict[str, Desired] = {}
        self.seals = 0
        self.nudges: list[tuple[str, int]] = []
        self.fail: SkerryError | None = None

    def completed(self, desired: Desired) -> Desired:
        return desired

    async def seal(self, documents: Mapping[str, bytes]) -> None:
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        self.seals += 1
        for document in documents.values():
            desired = msgspec.json.decode(document, type=Desired)
            held = self.published.get(desired.site)
            assert held is None or desired.generation >= held.generation
            self.published[desired.site] = desired

    async def nudge(self, region: str, site: str, generation: int) -> None:
        self.nudges.append((site, generation))


class Room:
    """A conductor over a store in a folder, with nodes that can be told what to report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.sealer = Sealer()
        self.reports: dict[str, Observed] = {}
        self.events: list[tuple[str, str]] = []
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.folder / "central.db")
        self.conductor = Conductor(
            self.store, self.sealer, lambda: self.reports, self.note, self.clock
        )

    async def note(self, kind: str, site: str, text: str) -> None:
        self.events.append((kind, text))

    async def apply(self, version: int, expected: int, **rollout: Any) -> int:
        state = await self.conductor.apply(
            fleet(version, **rollout),
            expected_generation=expected,
            policy_sha256="p",
            applied_by="ann",
            reason="",
        )
        return state.progress.generation

    def obey(self, *sites: str, **changes: Any) -> None:
        """Let nodes of sites report that they run what was published for them."""
        for site in sites or SITES:
            document = self.sealer.published[site]
            report = Observed(
                node=f"{site}/1",
                site=site,
                region="region-eu",
                boot="b",
                at_unix_s=self.clock.unix_s(),
                generation=document.generation,
                desired_sha256="",
                in_sync=True,
                state=State.OK,
                reason="",
                models=tuple(
                    ObservedModel(name=model.name, version=model.version, ready=True)
                    for model in document.models
                ),
                window=Window(
                    duration_s=5.0,
                    requests=100,
                    errors=0,
                    local=100,
                    latency_ms_p50=1.0,
                    latency_ms_p95=2.0,
                ),
            )
            self.reports[report.node] = msgspec.structs.replace(report, **changes)

    async def rounds(self, count: int = 6) -> None:
        for _ in range(count):
            self.clock.advance(1.0)
            for node, report in self.reports.items():
                self.reports[node] = msgspec.structs.replace(report, at_unix_s=self.clock.unix_s())
            await self.conductor.round()

    async def settle(self) -> None:
        """Let every node obey until nothing moves any more."""
        for _ in range(8):
            await self.rounds(1)
            self.obey(*self.sealer.published)

    async def phase(self) -> str:
        state = await self.conductor.state()
        return state.phase if state else "none"

    def versions(self) -> dict[str, int]:
        return {site: one.models[0].version for site, one in sorted(self.sealer.published.items())}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def fleet(
    version: int, *, revert_on_fail: bool = True, hold_s: float = 0.0, **rollout: Any
) -> Fleet:
    machine = Machine(name="m", idle_w=1, busy_w=2, price_usd=1, life_years=1, source="t")
    tier = Tier(
        name="closet",
        kind=Kind.EDGE,
        nodes=1,
        machine=machine,
        feed_w=1,
        ups_s=0,
        uplink_bit_per_s=1,
        pue_ratio=1,
        energy_usd_per_kwh=0,
        usd_per_month=0,
    )
    return Fleet(
        name="clinic",
        domain="clinic.example",
        goals={},
        tiers={"closet": tier},
        sites=tuple(
            Site(
                name=name,
                tier="closet",
                kind=Kind.REGIONAL if name == "region-eu" else Kind.EDGE,
                region="region-eu",
                latitude_deg=59,
                longitude_deg=10,
                jurisdiction="NO",
                grid_zone="NO1",
                grid_g_per_kwh=20,
                grid_source="t",
                nodes=1,
                feed_w=1,
            )
            for name in SITES
        ),
        models=(
            Model(
                name="magika",
                version=version,
                manifest_sha256=f"{version:064d}",
                standin=None,
                tiers=("closet",),
                data_classes=("internal",),
            ),
        ),
        data_classes={"internal": Residency(stays=Stays.SITE)},
        rules=(),
        rollout=Rollout(
            rings=(("oslo",), ("bergen", "region-eu")),
            ring_names=("canary", "rest"),
            gate=Gate(hold_s=hold_s, requests_min=1),
            revert_on_fail=revert_on_fail,
            **rollout,
        ),
        links=(),
    )


async def test_the_first_fleet_goes_everywhere_at_once(room: Room) -> None:
    generation = await room.apply(1, 0)
    await room.rounds(1)
    assert {one.generation for one in room.sealer.published.values()} == {generation}
    await room.settle()
    assert await room.phase() == "done"


async def test_a_change_waits_for_its_first_ring(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first)
    await room.rounds(3)
    assert room.versions() == {"bergen": 1, "oslo": 2, "region-eu": 1}
    room.obey("oslo")
    await room.rounds(3)
    assert room.versions() == dict.fromkeys(SITES, 2)
    await room.settle()
    assert await room.phase() == "done"
    assert {one.generation for one in room.sealer.published.values()} == {second}


async def test_a_bad_release_never_passes_its_first_ring_and_goes_back_by_itself(
    room: Room,
) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first)
    await room.rounds(1)
    room.obey("oslo", reverted_generation=second, reverted_reason="wrong answers", generation=first)
    await room.rounds(3)
    assert room.versions() == dict.fromkeys(SITES, 1)
    assert await room.phase() == "reverting"
    # Back means forward: a new generation that names the earlier model.
    assert room.sealer.published["oslo"].generation > second
    assert room.sealer.published["bergen"].generation == first
    await room.settle()
    assert await room.phase() == "reverted"
    state = await room.conductor.state()
    assert state is not None
    assert "wrong answers" in state.reason
    assert state.status().previous_generation == second
    assert [kind for kind, _ in room.events][-2:] == ["rollout.reverting", "rollout.reverted"]


async def test_the_fleet_after_a_revert_is_the_one_to_apply_on(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first)
    await room.rounds(1)
    reverting = await room.conductor.revert("ann", "changed my mind")
    with pytest.raises(GenerationConflictError):
        await room.apply(3, second)
    await room.settle()
    assert room.versions() == dict.fromkeys(SITES, 1)
    await room.apply(3, reverting.progress.generation)


async def test_held_for_a_person_where_the_fleet_wants_that(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first, revert_on_fail=False)
    await room.rounds(1)
    room.obey("oslo", reverted_generation=second, generation=first)
    await room.rounds(3)
    assert await room.phase() == "held"
    assert room.versions()["bergen"] == 1
    room.obey("oslo")
    await room.settle()
    assert await room.phase() == "done"


async def test_paused_stays_paused_until_resumed(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    await room.apply(2, first)
    await room.conductor.pause("ann", "lunch")
    await room.rounds(1)
    room.obey("oslo")
    await room.rounds(5)
    assert room.versions()["bergen"] == 1
    await room.conductor.resume("ann", "")
    await room.settle()
    assert room.versions()["bergen"] == 2
    with pytest.raises(NoRolloutError, match="cannot pause: the rollout is done"):
        await room.conductor.pause("ann", "")


async def test_a_restart_at_any_point_loses_nothing(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    await room.apply(2, first)
    for _ in range(12):  # a fresh conductor for every single round
        room.store.close()
        room.open()
        await room.rounds(1)
        room.obey(*room.sealer.published)
    assert await room.phase() == Phase.DONE
    assert room.versions() == dict.fromkeys(SITES, 2)


async def test_a_round_that_could_not_publish_is_done_again(room: Room) -> None:
    first = await room.apply(1, 0)
    room.sealer.fail = SkerryError("disk full")
    with pytest.raises(SkerryError):
        await room.conductor.round()
    assert room.store.sealed() == {}
    await room.settle()
    assert {one.generation for one in room.sealer.published.values()} == {first}


async def test_a_fleet_that_no_document_can_be_made_from_is_refused_and_not_kept(
    room: Room,
) -> None:
    lost = fleet(1)
    lost = msgspec.structs.replace(lost, sites=lost.sites[:1])
    with pytest.raises(UnusableFleetError, match="region-eu"):
        await room.conductor.apply(
            lost, expected_generation=0, policy_sha256="p", applied_by="ann", reason=""
        )
    assert room.store.applied() is None


async def test_unchanged_means_untouched(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    seals = room.sealer.seals
    await room.apply(1, first)
    await room.settle()
    assert room.sealer.seals == seals
    assert {one.generation for one in room.sealer.published.values()} == {first}
    assert await room.phase() == "done"


async def test_a_moved_peer_changes_documents_but_not_the_rollout(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first)
    await room.rounds(1)
    region = RegionStatus(region="region-eu", region_url="", nats_url="", heard_unix_s=1.0)
    node = Registration(
        node="oslo/1",
        site="oslo",
        region="region-eu",
        inference_url="https://127.0.0.1:9",
        joined_unix_s=1.0,
    )
    room.store.put_registry(region, [node])
    await room.rounds(1)
    moved = room.sealer.published["oslo"]
    assert moved.generation > second
    assert [peer.url for peer in moved.peers] == ["https://127.0.0.1:9"]
    assert room.sealer.published["bergen"].models[0].version == 1
    await room.settle()
    assert await room.phase() == "done"
    assert room.versions() == dict.fromkeys(SITES, 2)


async def test_a_change_on_top_of_an_unfinished_one_goes_back_to_what_was_proven(
    room: Room,
) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first)
    await room.rounds(1)
    third = await room.apply(3, second)
    await room.rounds(1)
    room.obey("oslo", reverted_generation=third, generation=first)
    await room.settle()
    assert await room.phase() == "reverted"
    assert room.versions() == dict.fromkeys(SITES, 1)


async def test_giving_up_a_document_whose_peers_moved_counts_as_giving_up_the_change(
    room: Room,
) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first)
    await room.rounds(1)
    region = RegionStatus(region="region-eu", region_url="", nats_url="", heard_unix_s=1.0)
    node = Registration(
        node="oslo/1",
        site="oslo",
        region="region-eu",
        inference_url="https://127.0.0.1:9",
        joined_unix_s=1.0,
    )
    room.store.put_registry(region, [node])
    await room.rounds(1)
    moved = room.sealer.published["oslo"].generation
    assert moved > second
    room.obey("oslo", reverted_generation=moved, generation=first)
    await room.rounds(2)
    assert await room.phase() == "reverting"


NIGHT = Span(begins_minute=22 * 60, ends_minute=5 * 60, zone="UTC")
DAY_S = 86_400.0


def set_clock(room: Room, hour: float) -> None:
    """Let time pass until the given hour of the day, UTC."""
    room.clock.advance((hour * 3600 - room.clock.unix_s()) % DAY_S)


async def test_a_site_is_changed_in_its_window_only(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    set_clock(room, 12)
    await room.apply(2, first, windows={"bergen": NIGHT})
    await room.settle()
    assert room.versions() == {"bergen": 1, "oslo": 2, "region-eu": 2}
    state = await room.conductor.state()
    assert state is not None
    assert "bergen: its window opens at" in state.reason
    set_clock(room, 22)
    await room.settle()
    assert room.versions() == dict.fromkeys(SITES, 2)
    assert await room.phase() == "done"


async def test_a_revert_waits_for_no_window(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    set_clock(room, 23)
    second = await room.apply(2, first, windows={"oslo": NIGHT})
    await room.rounds(2)
    assert room.versions()["oslo"] == 2
    set_clock(room, 12)
    room.obey("oslo", reverted_generation=second, generation=first)
    await room.settle()
    assert room.versions() == dict.fromkeys(SITES, 1)
    assert await room.phase() == "reverted"


async def test_a_ring_waits_for_a_person_and_a_hold_for_a_resume(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    await room.apply(2, first, approve=("rest",))
    await room.settle()
    assert room.versions() == {"bergen": 1, "oslo": 2, "region-eu": 1}
    state = await room.conductor.state()
    assert state is not None
    assert state.reason == "ring rest waits for a person: skerry rollout approve"
    await room.conductor.approve("ben", "seen on the pilot")
    assert room.events[-1] == ("rollout.approved", "ring rest by ben: seen on the pilot")
    await room.settle()
    assert await room.phase() == "done"
    with pytest.raises(NoRolloutError):
        await room.conductor.approve("ben", "")


async def test_an_approval_counts_for_one_rollout(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first, approve=("rest",))
    await room.settle()
    await room.conductor.approve("ben", "")
    await room.settle()
    await room.apply(3, second, approve=("rest",))
    await room.settle()
    assert room.versions()["bergen"] == 2


async def test_a_person_can_waive_the_windows(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    set_clock(room, 12)
    await room.apply(2, first, windows=dict.fromkeys(SITES, NIGHT))
    await room.settle()
    assert room.versions() == dict.fromkeys(SITES, 1)
    await room.conductor.approve("ben", "urgent", any_time=True)
    await room.settle()
    assert room.versions() == dict.fromkeys(SITES, 2)


async def test_a_check_that_does_not_say_yes_holds_its_ring(room: Room) -> None:
    answers = {"canary": "", "rest": "frozen"}
    asked: list[str] = []

    async def ask(check: RingCheck, generation: int, ring: str) -> str:
        asked.append(ring)
        return answers[ring]

    room.conductor = Conductor(
        room.store, room.sealer, lambda: room.reports, room.note, room.clock, ask
    )
    first = await room.apply(1, 0)
    await room.settle()
    await room.apply(2, first, check=RingCheck(command="board"))
    await room.settle()
    room.clock.advance(CHECK_AGAIN_S)
    await room.settle()
    assert room.versions() == {"bergen": 1, "oslo": 2, "region-eu": 1}
    assert 2 <= asked.count("rest") <= 3, "asked again, but not at every round"
    state = await room.conductor.state()
    assert state is not None
    assert state.reason == "ring rest waits for the check: frozen"
    answers["rest"] = ""
    room.clock.advance(CHECK_AGAIN_S)
    await room.settle()
    assert await room.phase() == "done"


async def test_where_no_check_can_be_made_none_has_passed(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    await room.apply(2, first, check=RingCheck(url="http://127.0.0.1:9/"))
    await room.settle()
    assert room.versions() == dict.fromkeys(SITES, 1)


async def test_a_ring_soaks_before_the_next_one_begins(room: Room) -> None:
    first = await room.apply(1, 0)
    await room.settle()
    second = await room.apply(2, first, soak_s=600.0)
    await room.settle()
    assert room.versions()["bergen"] == 1
    room.clock.advance(600)
    await room.settle()
    assert room.versions()["bergen"] == 2
    room.obey("oslo", state=State.DOWN)
    await room.rounds(2)
    assert await room.phase() == "reverting", "what soaks is still watched"
    assert second


async def test_an_air_gapped_site_is_let_out_and_not_waited_for(room: Room) -> None:
    first = await room.apply(1, 0, unheard=("bergen",))
    for _ in range(4):
        await room.rounds(1)
        room.obey("oslo", "region-eu")
    assert await room.phase() == "done"
    second = await room.apply(2, first, unheard=("bergen",))
    for _ in range(8):
        await room.rounds(1)
        room.obey("oslo", "region-eu")
    assert await room.phase() == "done"
    assert room.sealer.published["bergen"].generation == second


@pytest.mark.parametrize("by", ["the node", "its papers"])
async def test_nobody_is_sent_to_a_node_in_quarantine(room: Room, by: str) -> None:
    out: set[str] = set()
    room.conductor = Conductor(
        room.store,
        room.sealer,
        lambda: room.reports,
        room.note,
        room.clock,
        refused=lambda nodes, policy: out & set(nodes),
    )
    await room.apply(1, 0)
    region = RegionStatus(region="region-eu", region_url="", nats_url="", heard_unix_s=1.0)
    node = Registration(
        node="oslo/1",
        site="oslo",
        region="region-eu",
        inference_url="https://127.0.0.1:9",
        joined_unix_s=1.0,
    )
    room.store.put_registry(region, [node])
    await room.settle()
    assert [peer.node for peer in room.sealer.published["oslo"].peers] == ["oslo/1"]
    if by == "the node":
        room.obey("oslo", quarantine="LID_OPEN: the lid")
    else:
        out.add("oslo/1")
    await room.rounds(2)
    assert room.sealer.published["oslo"].peers == ()
