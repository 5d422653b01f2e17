"""Which peers may be asked, in which order, and why not the others: no I/O, no clock.

The residency filter is here and nowhere else: whatever `choose` does not return is
never sent anything but a health question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from skerry.route import decide
from skerry.route.decide import VERDICT_WORDS
from skerry.route.errors import Considered
from skerry.route.health import Health
from skerry.schema.desired import Peer
from skerry.trust.residency import ResidencyTable


@dataclass(slots=True)
class Candidate:
    """A peer, with what is known of it."""

    peer: Peer
    health: Health


@dataclass(frozen=True, slots=True)
class Question:
    """One request as a choice sees it. `data_class` of None: no policy knows it.

    `hops` counts the forward that asking a peer would be; times are seconds.
    """

    model: str
    data_class: str | None
    origin: str
    hops: int
    now_s: float
    deadline_s: float


@dataclass(slots=True)
class Choice:
    """What came of it. `cause` says why the first candidate is not the best-placed peer."""

    candidates: list[Candidate] = field(default_factory=list)
    ruled_out: list[Considered] = field(default_factory=list)
    probes: list[Candidate] = field(default_factory=list)
    cause: str = ""


def refusal(
    residency: ResidencyTable | None, data_class: str | None, origin: str, site: str
) -> str:
    """Return why data may not go from a site to a site; empty if it may."""
    if residency is None or data_class is None:
        return "" if site == origin else f"no policy is known, so nothing leaves {origin}"
    refused = residency.may_go(data_class, origin, site)
    return "" if refused is None else refused.text


def choose(
    question: Question,
    peers: Sequence[Candidate],
    residency: ResidencyTable | None,
    tier_ranks: Mapping[str, int],
) -> Choice:
    """Judge every peer, residency first, and rank those that fit.

    Peers whose breaker is open and due for a probe are named in `probes`. Where nobody
    else is left they become the candidates: the request itself is then the probe. Where
    not even they are left, those that were ejected are asked all the same, and last those
    that lacked the model a moment ago.
    """
    choice = Choice()
    left_s = question.deadline_s - question.now_s
    ranked: list[tuple[float, int, Candidate]] = []
    resting: list[tuple[float, int, Candidate]] = []
    ejected: list[tuple[float, int, Candidate]] = []
    lacking: list[tuple[float, int, Candidate]] = []
    rested: list[Considered] = []
    best: tuple[float, int, str] | None = None
    for index, candidate in enumerate(peers):
        peer, health = candidate.peer, candidate.health
        refused = refusal(residency, question.data_class, question.origin, peer.site)
        if refused:
            choice.ruled_out.append(_ruled_out(peer, decide.RESIDENCY, refused))
            continue
        known = health.model(question.model)
        expected_s = known.latency.expected_s(question.now_s)
        phase = health.phase(question.model, question.now_s)
        verdict = decide.fit(True, question.hops, phase, expected_s, left_s)
        if verdict == decide.BREAKER and health.is_ejected(question.now_s):
            verdict = decide.EJECTED
        if verdict == decide.FIT and question.now_s < known.absent_until_s:
            verdict = decide.ABSENT
        tier = tier_ranks.get(peer.tier, len(tier_ranks))
        rank = decide.rank(tier, peer.site == question.origin, expected_s)
        if verdict == decide.FIT:
            ranked.append((rank, index, candidate))
            continue
        if verdict != decide.HOPS and (best is None or (rank, index) < best[:2]):
            best = (rank, index, VERDICT_WORDS[verdict])
        if verdict not in (decide.BREAKER, decide.EJECTED, decide.ABSENT):
            choice.ruled_out.append(_ruled_out(peer, verdict))
            continue
        rested.append(_ruled_out(peer, verdict))
        if verdict == decide.EJECTED:
            ejected.append((rank, index, candidate))
        elif verdict == decide.ABSENT:
            lacking.append((rank, index, candidate))
        elif decide.probe_due(health.link, question.now_s):
            resting.append((rank, index, candidate))
    if ranked:
        choice.probes = [candidate for _, _, candidate in resting]
    elif left_s > 0:
        ranked = resting or ejected or lacking
        trying = {candidate.peer.node for _, _, candidate in ranked}
        rested = [ruled_out for ruled_out in rested if ruled_out.node not in trying]
    choice.ruled_out += rested
    ranked.sort(key=lambda entry: entry[:2])
    if best and ranked and best[:2] < ranked[0][:2]:
        choice.cause = best[2]
    choice.candidates = [candidate for _, _, candidate in ranked]
    return choice


def spread(candidates: list[Candidate], model: str, now_s: float, rng: Random) -> None:
    """Put the less loaded of two nodes first, drawn from those at the first one's site."""
    if len(candidates) < 2:
        return
    first = candidates[0].peer
    alike = 1
    while alike < len(candidates):
        peer = candidates[alike].peer
        if peer.site != first.site or peer.tier != first.tier:
            break
        alike += 1
    if alike < 2:
        return
    one, two = rng.sample(range(alike), 2)
    a, b = candidates[one].health, candidates[two].health
    better = decide.is_lighter(
        a.load(now_s),
        a.model(model).latency.expected_s(now_s),
        b.load(now_s),
        b.model(model).latency.expected_s(now_s),
    )
    candidates.insert(0, candidates.pop(one if better else two))


def _ruled_out(peer: Peer, verdict: int, detail: str = "") -> Considered:
    return Considered(peer.node, peer.site, peer.tier, VERDICT_WORDS[verdict], detail)
