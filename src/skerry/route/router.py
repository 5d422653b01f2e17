"""The router: who answers a request, in which order, and why.

The same code runs in a node (with a local engine, for clients that know nothing of the
fleet) and in the SDK (without one). The order is: the local model, its stand-in, then
peers by `route.decide.rank`. Residency is judged before anything is ranked or sent, by
the signed policy alone; with no policy, nothing leaves the site.

A request that another node forwarded is answered here or refused: one forward at most,
so no loops. `update` swaps every table in one assignment; requests that are under way
finish on the tables they started with, and what is known of each peer stays.

Units:   seconds; deadlines are monotonic.
Errors:  RefusedByResidencyError, UnknownDataClassError, NoCandidateError,
         DeadlineExceededError; a request that is itself at fault raises what the engine
         or the peer said of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from skerry.base.clock import Clock
from skerry.route import decide
from skerry.route.choose import Candidate, Question, choose, refusal
from skerry.route.decide import VERDICT_WORDS
from skerry.route.errors import (
    Considered,
    DeadlineExceededError,
    NoCandidateError,
    RefusedByResidencyError,
    UnknownDataClassError,
    UnknownModelError,
)
from skerry.route.health import Health, probe
from skerry.route.race import Race, verdict_of
from skerry.schema.desired import Desired, Peer
from skerry.schema.oip import InferFunction, InferReply, InferRequest, ServedBy
from skerry.schema.policy import Place, Policy
from skerry.trust.residency import MODEL_UNKNOWN, Refusal, ResidencyTable

DEADLINE_S: Final = 10.0
"""For requests that state none; a node's own model limit is stricter."""

CallPeer = Callable[[Peer, InferRequest, float], Awaitable[InferReply]]
"""Send a request to a peer, with the seconds left. Raises `PeerUnreachableError`,
`PeerAnsweredError`, `PeerBrokenError` or `TimeoutError`."""
ProbePeer = Callable[[Peer], Awaitable[None]]
"""Ask a peer whether it is ready; raises if it is not."""

_LOCAL_CAUSES: Final = {decide.DOWN: "local-down", decide.BREAKER: "local-down"}


@dataclass(frozen=True, slots=True)
class _Table:
    """Everything that `update` replaces, in one object."""

    residency: ResidencyTable | None
    tier_ranks: Mapping[str, int]
    peers: tuple[Candidate, ...]
    standins: Mapping[str, str]


@dataclass(slots=True)
class _Journey:
    """One request on its way: what was settled about it, and whom it has met."""

    request: InferRequest
    table: _Table
    data_class: str | None
    origin: str
    deadline_s: float
    considered: list[Considered]
    cause: str = ""


class Router:
    """Routes requests for one node, or for one client (`local` None, `forwards` false).

    `place` is where this router is; its site name is what residency is judged from.
    """

    def __init__(
        self,
        *,
        place: Place,
        node: str,
        tier: str,
        policy: Policy | None,
        tier_order: Sequence[str],
        peers: Sequence[Peer],
        call_peer: CallPeer,
        probe_peer: ProbePeer,
        clock: Clock,
        rng: Random,
        local: InferFunction | None = None,
        standins: Mapping[str, str] | None = None,
        forwards: bool = True,
    ) -> None:
        self._place, self._node, self._tier = place, node, tier
        self._call_peer, self._probe_peer = call_peer, probe_peer
        self._clock, self._rng = clock, rng
        self._local = local
        self._own = Health(0.0)
        self._hop = 1 if forwards else 0
        self._preferred: Mapping[str, str] = {}
        self._probes: set[asyncio.Task[None]] = set()
        self._table = _Table(None, {}, (), {})
        self._table = self._new_table(policy, tier_order, peers, standins or {})

    def update(self, desired: Desired, policy: Policy) -> None:
        """Take new desired state and policy; requests under way are not touched."""
        standins = {model.name: model.standin for model in desired.models if model.standin}
        self._table = self._new_table(policy, desired.tier_order, desired.peers, standins)

    def prefer(self, models: Mapping[str, str]) -> None:
        """Ask these stand-ins first; each with the condition of the rule that says so."""
        self._preferred = {model: _header_safe(why) for model, why in models.items()}

    async def infer(self, request: InferRequest) -> InferReply:
        """Return an answer that says who served it and why, or raise with every reason."""
        journey = self._begin(request)
        reply = await self._here(journey)
        if reply is None:
            reply = await self._away(journey)
        return reply

    async def aclose(self) -> None:
        """End the background probes."""
        for task in self._probes:
            task.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)

    def _new_table(
        self,
        policy: Policy | None,
        tier_order: Sequence[str],
        peers: Sequence[Peer],
        standins: Mapping[str, str],
    ) -> _Table:
        known = {(old.peer.node, old.peer.url): old.health for old in self._table.peers}
        return _Table(
            None if policy is None else ResidencyTable(policy),
            {tier: index for index, tier in enumerate(tier_order)},
            tuple(
                Candidate(
                    peer, known.get((peer.node, peer.url)) or Health(peer.round_trip_ms / 1000)
                )
                for peer in peers
                if peer.node != self._node
            ),
            dict(standins),
        )

    def _begin(self, request: InferRequest) -> _Journey:
        """Settle class, origin and deadline; refuse what may not even be answered here."""
        table = self._table
        data_class = request.data_class
        if table.residency is not None:
            settled = table.residency.data_class_of(request.model, data_class)
            if isinstance(settled, Refusal):
                if settled.rule == MODEL_UNKNOWN:
                    raise UnknownModelError(request.model, table.residency.models)
                raise UnknownDataClassError(request.model, data_class, settled.text)
            data_class = request.data_class = settled  # records and peers name the settled class
        origin = request.origin_site or self._place.site
        now_s = self._clock.monotonic_s()
        budget_s = DEADLINE_S if request.deadline_s is None else request.deadline_s
        deadline_s = (request.received_s or now_s) + budget_s
        journey = _Journey(request, table, data_class, origin, deadline_s, [])
        # A client router sends from where it is, so its own site is judged like any other.
        refused = refusal(table.residency, data_class, origin, self._place.site)
        if refused and self._hop:
            own = Considered(self._node, self._place.site, self._tier, "residency", refused)
            raise RefusedByResidencyError(request.model, [own])
        return journey

    async def _here(self, journey: _Journey) -> InferReply | None:
        """Try the local model and its stand-in; None where both fail or do not fit."""
        if self._local is None:
            return None
        model = journey.request.model
        standin = journey.table.standins.get(model, "")
        rule = self._preferred.get(standin, "") if standin else ""
        large = decide.FIT
        if not rule:
            large, reply = await self._locally(journey, model, "local")
            if reply is not None:
                return reply
            journey.cause = _LOCAL_CAUSES.get(large, VERDICT_WORDS[large])
        small = self._local_verdict(journey, standin) if standin else decide.ABSENT
        if decide.standin_verdict(bool(rule), large, bool(standin), small):
            reason = f"rule:{rule}" if rule else f"stand-in:{journey.cause}"
            _, reply = await self._locally(journey, standin, reason)
            if reply is not None:
                return reply
        elif standin:
            self._note_here(journey, small, standin)
        if rule:  # the stand-in that the rule wanted could not answer
            large, reply = await self._locally(journey, model, "local")
            journey.cause = _LOCAL_CAUSES.get(large, VERDICT_WORDS[large])
            return reply
        return None

    def _local_verdict(self, journey: _Journey, model: str) -> int:
        now_s = self._clock.monotonic_s()
        if not self._class_allows(journey, model):
            return decide.RESIDENCY
        known = self._own.model(model)
        return decide.fit(
            True,
            0,
            self._own.phase(model, now_s),
            known.latency.expected_s(now_s),
            journey.deadline_s - now_s,
        )

    def _class_allows(self, journey: _Journey, model: str) -> bool:
        """A stand-in takes the request's class only if the policy lists it for the stand-in too."""
        residency = journey.table.residency
        if model == journey.request.model or residency is None:
            return True
        return not isinstance(residency.data_class_of(model, journey.data_class), Refusal)

    async def _locally(
        self, journey: _Journey, model: str, reason: str
    ) -> tuple[int, InferReply | None]:
        """Run one local model; return the verdict on it, and the answer if there is one."""
        assert self._local is not None  # noqa: S101 - `_here` has looked
        verdict, detail = self._local_verdict(journey, model), ""
        if verdict == decide.FIT:
            started_s = self._clock.monotonic_s()
            request = journey.request
            if model != request.model:
                request = replace(request, model=model, version="")
            try:
                reply = await self._local(request)
            except Exception as error:
                fault = verdict_of(error)
                if fault is None:
                    raise
                verdict, detail = fault, str(error)
                if verdict == decide.DOWN:
                    self._own.model_failed(model, self._clock.monotonic_s(), self._rng)
            else:
                now_s = self._clock.monotonic_s()
                self._own.answered(model, now_s - started_s, now_s)
                reply.served_by = ServedBy(
                    site=self._place.site,
                    node=self._node,
                    tier=self._tier,
                    model=reply.model,
                    version=reply.version,
                    reason=reason,
                )
                return decide.FIT, reply
        self._note_here(journey, verdict, f"{model}: {detail}" if detail else model)
        return verdict, None

    def _note_here(self, journey: _Journey, verdict: int, detail: str) -> None:
        word = VERDICT_WORDS[verdict]
        journey.considered.append(
            Considered(self._node, self._place.site, self._tier, word, detail)
        )

    async def _away(self, journey: _Journey) -> InferReply:
        """Ask peers: judge, rank, race. Raises with every candidate's reason."""
        request, table = journey.request, journey.table
        question = Question(
            request.model,
            journey.data_class,
            journey.origin,
            request.hops + self._hop,
            self._clock.monotonic_s(),
            journey.deadline_s,
        )
        choice = choose(question, table.peers, table.residency, table.tier_ranks)
        journey.considered += choice.ruled_out
        for candidate in choice.probes:
            self._look_after(candidate)
        if not choice.candidates:
            raise self._unanswered(journey)

        def send(peer: Peer, left_s: float) -> Awaitable[InferReply]:
            return self._call_peer(peer, self._forwarded(journey, left_s), left_s)

        race = Race(request.model, send, self._clock, self._rng, self._look_after)
        try:
            won = await race.run(choice.candidates, journey.deadline_s)
        finally:
            journey.considered.extend(race.considered)
        if won is None:
            raise self._unanswered(journey)
        won.reply.served_by = _served_by(
            won.reply, won.peer, (journey.cause or choice.cause, won.cause)
        )
        return won.reply

    def _forwarded(self, journey: _Journey, left_s: float) -> InferRequest:
        return replace(
            journey.request,
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

    def _unanswered(self, journey: _Journey) -> Exception:
        model, considered = journey.request.model, journey.considered
        verdicts = {candidate.verdict for candidate in considered}
        residency, absent = VERDICT_WORDS[decide.RESIDENCY], VERDICT_WORDS[decide.ABSENT]
        if residency in verdicts and verdicts <= {residency, absent}:
            return RefusedByResidencyError(model, considered)  # who may see it has no model
        now_s = self._clock.monotonic_s()
        if now_s >= journey.deadline_s or VERDICT_WORDS[decide.DEADLINE] in verdicts:
            return DeadlineExceededError(model, considered)
        waits = [
            link.until_s - now_s
            for link in (candidate.health.link for candidate in journey.table.peers)
            if link.phase == decide.OPEN
        ]
        return NoCandidateError(model, considered, "", max(min(waits, default=1.0), 0.1))


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


def _header_safe(text: str) -> str:
    """Reasons travel in a header whose fields are split at `;`."""
    return "".join(char if " " <= char <= "~" and char != ";" else "_" for char in text)
