"""A trace, replayed on a simulated clock through the decisions that run in production.

Each request meets what it would meet on a node: residency (`trust.residency`), then the
local model, its stand-in, then peers in the order of `route.decide.rank`, the less loaded
of two nodes of one site first, each judged by `route.decide.fit` on live latencies
(`route.latency`) and by `serve.admission.admit` on its queue. A node is one
first-in-first-out server: one run at a time, no batching.

    latency = LAN + [round trip + jitter + bytes / bandwidth] + wait + run

Units:   seconds inside, milliseconds in what comes out; bytes.
Limits:  no faults, so every breaker stays closed; one run at a time per node; a peer's
         queue sees forwarded requests in the order they were sent.
Source:  runs spread log-normally with a coefficient of variation of 0.2, *stated*.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.fleet.links import SAME_SITE_MS, link_table
from skerry.fleet.place import fallbacks, models_at, tiers_of
from skerry.plan.errors import NothingToPlanError
from skerry.plan.trace import Trace
from skerry.route import decide
from skerry.route.journey import DEADLINE_S
from skerry.route.latency import Mean
from skerry.schema.fleet import Fleet, Kind, Link, Site
from skerry.serve import admission

Destinations = Callable[[str, str], frozenset[str]]
"""Data class and origin site to the sites that may answer: `ResidencyTable.destinations`."""

QUEUE_LEN_MAX: Final = 256
RUN_SPREAD: Final = 0.2
LOAD_STEPS: Final = 24
"""Load is kept per 24th of the span, since power is not linear in it."""
LAN_S: Final = SAME_SITE_MS / MS_PER_SECOND
BITS_PER_BYTE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replayed:
    """What a replay came to."""

    latencies_ms: NDArray[np.float64]
    """One value per answered request."""
    refused: dict[str, int]
    """Requests that nobody answered, by the reason of the last candidate asked."""
    local: int
    standin: int
    upstream_bytes: int
    load: dict[str, NDArray[np.float64]]
    """Site to mean utilisation of its nodes, 0 to 1, one value per 24th of the span."""
    span_s: float

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return len(self.latencies_ms)


class Chances(NamedTuple):
    """What a seed decides about each request; all (requests,)."""

    spread: NDArray[np.float64]
    """The factor on the mean time of a run."""
    jitter: NDArray[np.float64]
    draw: NDArray[np.float64]


def chances(count: int, seed: int) -> Chances:
    """Draw a seed's chances."""
    rng = np.random.default_rng(seed)
    sigma = math.sqrt(math.log1p(RUN_SPREAD**2))
    return Chances(
        spread=rng.lognormal(-(sigma**2) / 2, sigma, count),
        jitter=rng.exponential(1.0, count),
        draw=rng.random(count),
    )


class _Node:
    """One server: when it is free, who waits, and what its answers have taken lately."""

    __slots__ = ("free_s", "models", "shedding", "site", "tier", "waiting")

    def __init__(self, site: Site, models: frozenset[str]) -> None:
        self.site, self.tier = site.name, site.tier
        self.models = models
        self.free_s = 0.0
        self.shedding = 0
        self.waiting: deque[float] = deque()  # ends of the runs ahead, the one under way first

    def load(self, at_s: float) -> float:
        """Return how many requests are under way here."""
        waiting = self.waiting
        while waiting and waiting[0] <= at_s:
            waiting.popleft()
        return float(len(waiting))

    def offer(self, at_s: float, run_s: float, expected_run_s: float, left_s: float) -> float:
        """Return when the answer is ready, or minus the reason why there will be none."""
        self.load(at_s)
        waiting = self.waiting
        running = 1 if waiting else 0
        queue_len = len(waiting) - running
        if not queue_len:
            self.shedding = 0
        verdict = admission.admit(
            queue_len,
            QUEUE_LEN_MAX,
            running,
            expected_run_s,
            1,
            left_s,
            self.shedding,
        )
        if verdict == admission.REFUSE_QUEUE_FULL:
            self.shedding = 1
        if verdict != admission.ADMIT:
            return -float(verdict)
        ready_s = max(at_s, self.free_s) + run_s
        self.free_s = ready_s
        waiting.append(ready_s)
        return ready_s


@dataclass(slots=True)
class _Peer:
    """A node that may answer for a site, over a link."""

    node: _Node
    tier_rank: int
    in_site: bool
    round_trip_s: float
    jitter_s: float
    byte_s: float
    latency: dict[str, Mean]

    def __init__(self, link: Link, origin: str, node: _Node, tier_rank: int) -> None:
        self.node, self.tier_rank = node, tier_rank
        self.in_site = node.site == origin
        self.round_trip_s = link.round_trip_ms / MS_PER_SECOND
        self.jitter_s = link.jitter_ms / MS_PER_SECOND
        self.byte_s = BITS_PER_BYTE / link.bandwidth_bit_per_s
        self.latency = {model: Mean(self.round_trip_s) for model in node.models}


def replay(
    fleet: Fleet,
    trace: Trace,
    *,
    services_s: Mapping[str, float],
    destinations: Destinations,
    seed: int,
) -> Replayed:
    """Replay a trace on a fleet; `destinations` is the policy's own answer."""
    return _Replay(fleet, trace, services_s, seed).through_fleet(destinations)


def replay_cloud_only(
    fleet: Fleet, trace: Trace, *, services_s: Mapping[str, float], seed: int
) -> Replayed:
    """Replay a trace with every request sent to the fleet's cloud site over its link.

    Residency is not asked: the baseline is what a central cloud would do if it might.
    Raises `NothingToPlanError` for a fleet that has no cloud site with a node.
    """
    return _Replay(fleet, trace, services_s, seed).through_cloud()


class _Replay:
    """One run: the nodes, the links, and the tally."""

    def __init__(
        self, fleet: Fleet, trace: Trace, services_s: Mapping[str, float], seed: int
    ) -> None:
        self._fleet, self._trace, self._services = fleet, trace, services_s
        self._beside, self._link = fallbacks(fleet), link_table(fleet)
        self._standins = {model.name: model.standin for model in fleet.models}
        self._nodes = {
            site.name: [
                _Node(site, frozenset(model.name for model in models_at(fleet, site)))
                for _ in range(site.nodes)
            ]
            for site in fleet.sites
        }
        drawn = chances(len(trace), seed)
        self._spread: list[float] = drawn.spread.tolist()
        self._jitter: list[float] = drawn.jitter.tolist()
        self._draws: list[float] = drawn.draw.tolist()
        self._latencies: list[float] = []
        self._refused: Counter[str] = Counter()
        self._local = self._standin = self._upstream = 0
        self._busy = {site.name: [0.0] * LOAD_STEPS for site in fleet.sites}
        self._step_s = trace.span_s / LOAD_STEPS

    def through_fleet(self, destinations: Destinations) -> Replayed:
        trace = self._trace
        peers = {name: self._peers(self._fleet.site(name)) for name in trace.sites}
        own: dict[tuple[int, str], Mean] = {}
        allowed: dict[tuple[str, str], frozenset[str]] = {}
        for index, (at_s, s, m, c, size) in enumerate(self._rows()):
            origin, model = trace.sites[s], trace.models[m]
            key = (trace.data_classes[c], origin)
            if key not in allowed:
                allowed[key] = destinations(*key)
            here = self._nodes[origin]
            node = here[index % len(here)] if here else None
            why = "no-model"
            if node is not None and origin in allowed[key]:
                done, why = self._here(own, node, model, index, at_s)
                if done:
                    continue
            self._away(peers[origin], node, allowed[key], model, index, at_s, size, why)
        return self._replayed()

    def through_cloud(self) -> Replayed:
        trace = self._trace
        nodes = [
            node
            for site in self._fleet.sites
            if site.kind is Kind.CLOUD
            for node in self._nodes[site.name]
        ]
        if not nodes:
            raise NothingToPlanError(self._fleet.name, "no cloud site with a node")
        peers = {
            name: [_Peer(self._link(name, node.site), name, node, 0) for node in nodes]
            for name in trace.sites
        }
        for index, (at_s, s, m, _, size) in enumerate(self._rows()):
            peer = peers[trace.sites[s]][index % len(nodes)]
            why = self._ask(peer, trace.models[m], index, at_s, size)
            if why:
                self._refused[why] += 1
        return self._replayed()

    def _here(
        self, own: dict[tuple[int, str], Mean], node: _Node, model: str, index: int, at_s: float
    ) -> tuple[bool, str]:
        """Ask the local model, then its stand-in; return whether one answered, or why not."""
        large, small = model, self._standins.get(model) or ""
        why = self._locally(own, node, large, index, at_s)
        if not why:
            self._local += 1
            return True, ""
        fits = decide.FIT if small in node.models else decide.ABSENT
        busy = decide.BUSY if large in node.models else decide.ABSENT
        if decide.standin_verdict(False, busy, bool(small), fits) and not self._locally(
            own, node, small, index, at_s
        ):
            self._local += 1
            self._standin += 1
            return True, ""
        return False, why

    def _locally(
        self, own: dict[tuple[int, str], Mean], node: _Node, model: str, index: int, at_s: float
    ) -> str:
        if model not in node.models:
            return decide.VERDICT_WORDS[decide.ABSENT]
        key = (id(node), model)
        known = own.get(key)
        if known is None:
            known = own[key] = Mean(0.0)
        verdict = decide.fit(True, 0, decide.CLOSED, known.expected_s(at_s), DEADLINE_S)
        if verdict != decide.FIT:
            return decide.VERDICT_WORDS[verdict]
        mean_s = self._services[model]
        run_s = mean_s * self._spread[index]
        ready_s = node.offer(at_s, run_s, mean_s, DEADLINE_S)
        if ready_s < 0:
            return _refusal(ready_s)
        known.saw(ready_s - at_s, at_s)
        self._book(node, at_s, run_s, ready_s - at_s + LAN_S)
        return ""

    def _away(
        self,
        peers: list[_Peer],
        mine: _Node | None,
        allowed: frozenset[str],
        model: str,
        index: int,
        at_s: float,
        size: int,
        why: str,
    ) -> None:
        """Ask peers in the router's order; the last reason stays where none answers."""
        ranked = []
        for place, peer in enumerate(peers):
            if peer.node is mine or model not in peer.node.models:
                continue
            expected_s = peer.latency[model].expected_s(at_s)
            permitted = peer.node.site in allowed
            verdict = decide.fit(permitted, 1, decide.CLOSED, expected_s, DEADLINE_S)
            if verdict == decide.FIT:
                ranked.append((decide.rank(peer.tier_rank, peer.in_site, expected_s), place, peer))
            elif why == decide.VERDICT_WORDS[decide.ABSENT]:
                why = decide.VERDICT_WORDS[verdict]
        order = [peer for _, _, peer in sorted(ranked, key=lambda entry: entry[:2])]
        self._lighter_first(order, model, index, at_s)
        for peer in order:
            why = self._ask(peer, model, index, at_s, size)
            if not why:
                return
        self._refused[why] += 1

    def _lighter_first(self, order: list[_Peer], model: str, index: int, at_s: float) -> None:
        """Put the less loaded of two of the first one's site first, as the router does."""
        alike = 0
        while alike < len(order) and order[alike].node.site == order[0].node.site:
            alike += 1
        if alike < 2:
            return
        drawn = self._draws[index] * alike
        one = int(drawn)
        two = (one + 1 + int((drawn - one) * (alike - 1))) % alike
        a, b = order[one], order[two]
        better = decide.is_lighter(
            a.node.load(at_s),
            a.latency[model].expected_s(at_s),
            b.node.load(at_s),
            b.latency[model].expected_s(at_s),
        )
        order.insert(0, order.pop(one if better else two))

    def _ask(self, peer: _Peer, model: str, index: int, at_s: float, size: int) -> str:
        """Send a request over a link; return why it was not answered, or nothing."""
        if model not in peer.node.models:
            return decide.VERDICT_WORDS[decide.ABSENT]
        sending_s = 0.0 if peer.in_site else size * peer.byte_s
        travel_s = peer.round_trip_s + peer.jitter_s * self._jitter[index] + sending_s
        arrives_s = at_s + sending_s + peer.round_trip_s / 2
        run_s = self._services[model] * self._spread[index]
        left_s = DEADLINE_S - travel_s
        ready_s = peer.node.offer(arrives_s, run_s, self._services[model], left_s)
        if ready_s < 0:
            return _refusal(ready_s)
        latency_s = travel_s + ready_s - arrives_s
        peer.latency[model].saw(latency_s, at_s)
        self._book(peer.node, at_s, run_s, latency_s + LAN_S)
        if peer.in_site:
            self._local += 1
        else:
            self._upstream += size
        return ""

    def _book(self, node: _Node, at_s: float, run_s: float, latency_s: float) -> None:
        self._latencies.append(latency_s)
        self._busy[node.site][min(int(at_s / self._step_s), LOAD_STEPS - 1)] += run_s

    def _rows(self) -> Iterator[tuple[float, int, int, int, int]]:
        trace = self._trace
        return zip(
            trace.arrival_s.tolist(),
            trace.site.tolist(),
            trace.model.tolist(),
            trace.data_class.tolist(),
            trace.content_bytes.tolist(),
            strict=True,
        )

    def _peers(self, site: Site) -> list[_Peer]:
        """Return who may answer for a site, as its desired document would name them."""
        order = (site, *self._beside[site.name])
        ranks = {tier: rank for rank, tier in enumerate(tiers_of(order))}
        return [
            _Peer(self._link(site.name, other.name), site.name, node, ranks[other.tier])
            for other in order
            for node in self._nodes[other.name]
        ]

    def _replayed(self) -> Replayed:
        return Replayed(
            latencies_ms=np.array(self._latencies) * MS_PER_SECOND,
            refused=dict(self._refused),
            local=self._local,
            standin=self._standin,
            upstream_bytes=self._upstream,
            load={
                site.name: used_ratio(np.array(self._busy[site.name]), site, self._step_s)
                for site in self._fleet.sites
            },
            span_s=self._trace.span_s,
        )


def used_ratio(busy_s: NDArray[np.float64], site: Site, step_s: float) -> NDArray[np.float64]:
    """Return the mean utilisation of a site's nodes in each step of `step_s`."""
    return np.minimum(busy_s / (max(site.nodes, 1) * step_s), 1.0)


def _refusal(negative: float) -> str:
    deadline = int(-negative) == admission.REFUSE_DEADLINE
    return decide.VERDICT_WORDS[decide.DEADLINE if deadline else decide.BUSY]
