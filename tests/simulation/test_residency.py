"""Random requests through random fleets with faults: nothing goes where it may not.

The oracle below is written from the words of the policy alone and shares no code with
the filter it judges. `benchmarks/residency.py` runs the same with 1,000,000 decisions.
"""

import asyncio
import random
from collections import Counter
from random import Random

import pytest

from skerry.base.http_errors import PeerUnreachableError
from skerry.route import choose as choose_module
from skerry.route.choose import Candidate, Question, choose
from skerry.route.decide import CLOSED, HALF_OPEN, OPEN, Breaker
from skerry.route.errors import PeerAnsweredError, RouteError
from skerry.route.health import Health
from skerry.route.router import Router
from skerry.schema.desired import Peer
from skerry.schema.oip import InferReply, InferRequest, Tensor
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.testing.clock import ManualClock
from skerry.trust.residency import ResidencyTable

LANDS = ("NO", "DE", "US", "SE")
REGIONS = ("north", "middle", "far")
TIERS = ("closet", "room", "cloud")
CLASSES = ("health", "personal", "internal", "public", "nonsense")


def random_fleet(rng: Random) -> tuple[Policy, list[Peer]]:
    """A policy over 2 to 8 sites, and a peer or two in each; one peer's site has no place."""
    sites = [f"s{number}" for number in range(rng.randint(2, 8))]
    places = {
        site: Place(site=site, region=rng.choice(REGIONS), jurisdiction=rng.choice(LANDS))
        for site in sites
    }
    classes = {}
    for name in CLASSES[:-1]:
        stays = rng.choice(list(Stays))
        lands = tuple(rng.sample(LANDS, rng.randint(0, 3)))
        classes[name] = Residency(stays=stays, jurisdictions=lands)
    policy = Policy(
        fleet="f", generation=1, data_classes=classes,
        model_classes={"m": tuple(classes)}, places=places,
    )  # fmt: skip
    peers = [
        Peer(
            node=f"{site}/{number}", site=site, region=rng.choice(REGIONS), tier=rng.choice(TIERS),
            url=f"https://{site}-{number}", round_trip_ms=rng.uniform(0, 90),
        )
        for site in [*sites, "nowhere"]
        for number in range(1, rng.randint(2, 3))
    ]  # fmt: skip
    rng.shuffle(peers)
    return policy, peers


def may(policy: Policy, data_class: str, origin: str, site: str) -> bool:
    """The oracle: the policy's words, read again."""
    known = policy.places
    if data_class not in policy.data_classes or not {origin, site} <= known.keys():
        return False
    rule = policy.data_classes[data_class]
    permitted = {origin}
    if rule.stays.value == "anywhere":
        permitted |= set(known)
    if rule.stays.value == "region":
        permitted |= {s for s in known if known[s].region == known[origin].region}
    if rule.stays.value == "jurisdictions":
        permitted |= {s for s in known if known[s].jurisdiction in rule.jurisdictions}
    return site in permitted


def disturb(rng: Random, candidates: list[Candidate], now_s: float) -> None:
    """Faults: breakers in any phase, slow and fast spells, a trial under way."""
    candidate = rng.choice(candidates)
    health = candidate.health
    health.link = Breaker(
        rng.choice((CLOSED, CLOSED, OPEN, HALF_OPEN)), 1, 1, now_s + rng.uniform(-1, 1)
    )
    health.trial = rng.random() < 0.2
    health.model("m").latency.saw(rng.choice((0.001, 0.05, 4.0)), now_s)


def decisions(count: int, seed: int) -> Counter[str]:
    """Make so many decisions; count what was chosen, refused, and leaked."""
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    policy, peers = random_fleet(rng)
    for number in range(count):
        if number % 200 == 0:
            policy, peers = random_fleet(rng)
            residency = ResidencyTable(policy)
            candidates = [Candidate(peer, Health(peer.round_trip_ms / 1000)) for peer in peers]
            sites = [*policy.places, "elsewhere"]
            ranks = {tier: rank for rank, tier in enumerate(rng.sample(TIERS, 2))}
        now_s = number * 0.01
        disturb(rng, candidates, now_s)
        data_class, origin = rng.choice(CLASSES), rng.choice(sites)
        deadline_s = now_s + rng.choice((-0.1, 0.01, 0.1, 2.0))
        question = Question("m", data_class, origin, rng.randint(0, 2), now_s, deadline_s)
        choice = choose(question, candidates, residency, ranks)
        for chosen in choice.candidates:
            seen["chosen"] += 1
            if not may(policy, data_class, origin, chosen.peer.site):
                seen["leaked"] += 1
        for ruled_out in choice.ruled_out:
            allowed = may(policy, data_class, origin, ruled_out.site)
            seen[ruled_out.verdict] += 1
            if (ruled_out.verdict == "residency") == allowed:
                seen["wrongly judged"] += 1
            seen["unexplained"] += ruled_out.verdict == "residency" and not ruled_out.detail
    return seen


def test_a_hundred_thousand_random_decisions_leak_nothing() -> None:
    seen = decisions(100_000, seed=7)
    assert seen["leaked"] == seen["wrongly judged"] == seen["unexplained"] == 0
    # The run is worth something only if every branch was walked often.
    for verdict in ("chosen", "residency", "breaker-open", "deadline", "hops"):
        assert seen[verdict] > 5_000, verdict


@pytest.mark.parametrize("broken", ["open", "fails open for unknown sites", "forgets the origin"])
def test_a_broken_filter_is_caught(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    right = choose_module.refusal

    def wrong(residency: ResidencyTable, data_class: str, origin: str, site: str) -> str:
        told = right(residency, data_class, origin, site)
        if broken == "open":
            return ""
        if broken == "fails open for unknown sites":
            return "" if "knows no site" in told else told
        return right(residency, data_class, site, site)

    monkeypatch.setattr(choose_module, "refusal", wrong)
    seen = decisions(3_000, seed=7)
    assert seen["leaked"] > 0


def test_whole_requests_with_faults_send_nothing_where_it_may_not_go() -> None:
    """The router itself: retries, probes, trials and forwarded requests included."""
    seen = asyncio.run(_requests(20_000, seed=11))
    assert seen["leaked"] == 0
    assert seen["sent"] > 5_000
    assert seen["RefusedByResidencyError"] > 100
    assert seen["UnknownDataClassError"] > 100


async def _requests(count: int, seed: int) -> Counter[str]:
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    clock = ManualClock()
    tensor = Tensor("x", "BYTES", (0,), None)  # type: ignore[arg-type]
    for number in range(count):
        if number % 50 == 0:
            policy, peers = random_fleet(rng)
            home = rng.choice(list(policy.places))

            async def call(peer: Peer, request: InferRequest, left_s: float) -> InferReply:
                seen["sent"] += 1
                origin = request.origin_site or ""
                seen["leaked"] += not may(policy, request.data_class or "", origin, peer.site)  # noqa: B023
                fault = rng.random()
                if fault < 0.3:
                    raise PeerUnreachableError(peer.url, "gone")
                if fault < 0.5:
                    raise PeerAnsweredError(peer.url, rng.choice((403, 404, 500, 503, 504)), "no")
                return InferReply(model="m", version="1", outputs=[])

            async def probe(peer: Peer) -> None:
                if rng.random() < 0.5:
                    raise PeerUnreachableError(peer.url, "gone")

            router = Router(
                place=policy.places[home], node=f"{home}/1", tier="closet", policy=policy,
                tier_order=TIERS, peers=peers, call_peer=call, probe_peer=probe, clock=clock,
                rng=rng,
            )  # fmt: skip
        clock.advance(rng.uniform(0, 0.2))
        request = InferRequest(
            model="m", inputs=[tensor], data_class=rng.choice((*CLASSES, None)),
            deadline_s=2.0, hops=rng.choice((0, 0, 0, 1)),
            origin_site=rng.choice((None, None, *policy.places, "elsewhere")),
        )  # fmt: skip
        try:
            reply = await router.infer(request)
        except RouteError as error:
            seen[type(error).__name__] += 1
        else:
            assert reply.served_by is not None
            seen["answered"] += 1
    return seen
