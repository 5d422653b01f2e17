"""The answers of other nodes: judged, ranked, spread, raced; probes beside them."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import msgspec

from skerry.base.clock import Clock
from skerry.base.drive import in_task
from skerry.route import decide
from skerry.route.budget import RetryBudget
from skerry.route.choose import Candidate, Choice, Question, choose, spread
from skerry.route.errors import Considered
from skerry.route.health import probe
from skerry.route.journey import Journey, unanswered
from skerry.route.outliers import JUDGED_S, eject_outliers
from skerry.route.race import Race, Won
from skerry.schema.desired import Peer
from skerry.schema.oip import HEADER_EXPLAIN_ROUTE, InferReply, InferRequest, ServedBy
from skerry.schema.route_trace import CandidateSeen

CallPeer = Callable[[Peer, InferRequest, float], Awaitable[InferReply]]
"""Send a request to a peer, with the seconds left. Raises `PeerUnreachableError`,
`PeerAnsweredError`, `PeerBrokenError` or `TimeoutError`."""
ProbePeer = Callable[[Peer], Awaitable[None]]
"""Ask a peer whether it is ready; raises if it is not."""


class Away:
    """Asks peers. `hop` is what a forward adds to a request's count: 0 for a client's router."""

    def __init__(
        self,
        *,
        call_peer: CallPeer,
        probe_peer: ProbePeer,
        clock: Clock,
        rng: Random,
        hop: int,
        budget: RetryBudget,
        eject_ratio_max: float,
    ) -> None:
        self._call_peer, self._probe_peer = call_peer, probe_peer
        self._clock, self._rng, self._hop = clock, rng, hop
        self._budget, self._eject_ratio_max = budget, eject_ratio_max
        self._judged_s = 0.0
        self._probes: set[asyncio.Task[None]] = set()

    async def answer(self, journey: Journey) -> InferReply:
        """Ask peers, best first. Raises with every candidate's reason."""
        await in_task()
        now_s = self._clock.monotonic_s()
        self._budget.earn(now_s)
        choice = self._choose(journey, now_s)
        journey.considered += choice.ruled_out
        won = await self._race(journey, choice.candidates) if choice.candidates else None
        if won is None:
            raise unanswered(journey, self._clock.monotonic_s())
        causes = (journey.prefix, journey.cause or choice.cause, won.cause)
        won.reply.served_by = _served_by(won.reply, won.peer, causes)
        return won.reply

    async def answer_apart(self, journey: Journey, taken: set[str]) -> InferReply:
        """Ask peers that no other part of the same request asks, one after the other.

        `taken` names those that are asked already; this part's are added to it.
        """
        await in_task()
        now_s = self._clock.monotonic_s()
        self._budget.earn(now_s)
        choice = self._choose(journey, now_s)
        journey.considered += choice.ruled_out
        tried = False
        for candidate in choice.candidates:
            if candidate.peer.node in taken:
                continue
            if tried and not self._budget.spend():
                break
            tried = True
            taken.add(candidate.peer.node)
            won = await self._race(journey, [candidate])
            if won is not None:
                won.reply.served_by = _served_by(won.reply, won.peer, (journey.cause,))
                return won.reply
        raise unanswered(journey, self._clock.monotonic_s())

    async def lighter(self, journey: Journey, site: str, own_load: int) -> InferReply | None:
        """Ask another node of this site if it is the less loaded of two drawn at random.

        None where this node is drawn and not more loaded, or where the other failed.
        """
        now_s = self._clock.monotonic_s()
        near = tuple(peer for peer in journey.table.peers if peer.peer.site == site)
        candidates: list[Candidate | None] = [None]
        candidates += self._choose(journey, now_s, near).candidates
        if len(candidates) < 2:
            return None
        one, two = self._rng.sample(candidates, 2)
        if two is None:
            one, two = two, one
        assert two is not None  # noqa: S101 - only one of them can be this node
        load = own_load if one is None else one.health.load(now_s)
        drawn = two if two.health.load(now_s) < load else one
        if drawn is None:
            return None
        await in_task()
        self._budget.earn(now_s)
        won = await self._race(journey, [drawn])
        if won is not None:
            causes = (journey.prefix, "balance")
            won.reply.served_by = _served_by(won.reply, won.peer, causes)
            return won.reply
        return None

    async def aclose(self) -> None:
        """End the background probes."""
        for task in self._probes:
            task.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)

    def _choose(
        self, journey: Journey, now_s: float, peers: tuple[Candidate, ...] | None = None
    ) -> Choice:
        request, table = journey.request, journey.table
        question = Question(
            request.model,
            journey.data_class,
            journey.origin,
            request.hops + self._hop,
            now_s,
            journey.deadline_s,
        )
        choice = choose(
            question, table.peers if peers is None else peers, table.residency, table.tier_ranks
        )
        for candidate in choice.probes:
            self._look_after(candidate)
        spread(choice.candidates, request.model, now_s, self._rng)
        if journey.trace is not None:
            self._explain(journey, choice, now_s)
        return choice

    async def _race(self, journey: Journey, candidates: list[Candidate]) -> Won | None:
        def send(peer: Peer, left_s: float) -> Awaitable[InferReply]:
            return self._call_peer(peer, self._forwarded(journey, left_s), left_s)

        race = Race(
            journey.request.model,
            send,
            self._clock,
            self._rng,
            self._look_after,
            self._budget.spend,
        )
        try:
            return await race.run(candidates, journey.deadline_s)
        finally:
            journey.considered.extend(race.considered)
            if journey.trace is not None:
                journey.trace.attempts += race.attempts(journey.started_s)
            self._judge(journey)

    def _judge(self, journey: Journey) -> None:
        now_s = self._clock.monotonic_s()
        if self._eject_ratio_max > 0 and now_s - self._judged_s >= JUDGED_S:
            self._judged_s = now_s
            eject_outliers(
                journey.table.peers, now_s=now_s, ratio_max=self._eject_ratio_max, rng=self._rng
            )

    def _forwarded(self, journey: Journey, left_s: float) -> InferRequest:
        parameters = journey.request.parameters
        if journey.trace is not None:
            parameters = {**parameters, HEADER_EXPLAIN_ROUTE: True}
        return msgspec.structs.replace(
            journey.request,
            parameters=parameters,
            data_class=journey.data_class,
            deadline_s=left_s,
            received_s=self._clock.monotonic_s(),
            hops=journey.request.hops + self._hop,
            origin_site=journey.origin or None,
        )

    def _look_after(self, candidate: Candidate) -> None:
        """Probe a peer in the background, unless that is being done."""
        known = candidate.health
        if not known.probing:
            known.probing = True
            task = asyncio.ensure_future(
                probe(known, lambda: self._probe_peer(candidate.peer), self._clock, self._rng)
            )
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)

    def _explain(self, journey: Journey, choice: Choice, now_s: float) -> None:
        trace, model = journey.trace, journey.request.model
        assert trace is not None  # noqa: S101 - callers have looked
        fit = decide.VERDICT_WORDS[decide.FIT]
        seen = [
            Considered(candidate.peer.node, candidate.peer.site, candidate.peer.tier, fit)
            for candidate in choice.candidates
        ]
        health = {candidate.peer.node: candidate.health for candidate in journey.table.peers}
        for place, one in enumerate([*seen, *choice.ruled_out], 1):
            known = health[one.node]
            trace.candidates.append(
                CandidateSeen(
                    node=one.node,
                    site=one.site,
                    tier=one.tier,
                    verdict=one.verdict,
                    detail=one.detail,
                    place=place if place <= len(seen) else 0,
                    expected_ms=known.model(model).latency.expected_s(now_s) * 1000,
                    load=known.load(now_s),
                )
            )
        if choice.candidates:
            first = choice.candidates[0].health
            latency = first.model(model).latency
            delay_s = decide.hedge_delay_s(
                latency.p95_s, latency.samples, first.round_trip_s, journey.deadline_s - now_s
            )
            trace.hedge_after_ms = delay_s * 1000
        trace.retry_tokens = self._budget.tokens


def _served_by(reply: InferReply, peer: Peer, causes: tuple[str, ...]) -> ServedBy:
    """Keep what the peer says of itself, and add why it was asked."""
    told = reply.served_by
    reasons = [cause for cause in causes if cause]
    if told is not None and told.reason != "local":
        reasons.append(told.reason)
    return ServedBy(
        site=told.site if told else peer.site,
        node=told.node if told else peer.node,
        tier=told.tier if told else peer.tier,
        model=told.model if told else reply.model,
        version=told.version if told else reply.version,
        reason=":".join(reasons) or "local",
    )
