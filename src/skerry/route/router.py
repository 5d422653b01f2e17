"""The router: who answers a request, in which order, and why.

The same code runs in a node (with a local engine, for clients that know nothing of the
fleet) and in the SDK (without one). The order is: the local model, its stand-in, then
peers by `route.decide.rank`. Residency is judged before anything is ranked or sent, by
the signed policy alone; with no policy, nothing leaves the site.

    infer -> the local model, if it is well        the plain case: no wait but the model's
          -> at length: here.py, then away.py      all else

A request that another node forwarded is answered here or refused: one forward at most,
so no loops. `update` swaps every table in one assignment; requests that are under way
finish on the tables they started with, and what is known of each peer stays.

Units:   seconds; deadlines are monotonic.
Errors:  RefusedByResidencyError, UnknownDataClassError, NoCandidateError,
         DeadlineExceededError; a request that is itself at fault raises what the engine
         or the peer said of it.
"""

import contextlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from random import Random

import msgspec

from skerry.base.clock import Clock
from skerry.base.units import MS_PER_SECOND
from skerry.route import decide
from skerry.route.away import Away, CallPeer, ProbePeer
from skerry.route.budget import RetryBudget
from skerry.route.cache import ResponseCache
from skerry.route.cascade import CascadeState, ask_cascade
from skerry.route.ensemble import ask_ensemble, part_of
from skerry.route.errors import RouteError
from skerry.route.here import LOCAL, WELL, Here
from skerry.route.journey import DEADLINE_S, Journey, Table, admit, table_of
from skerry.route.race import PARAMETER_LOAD
from skerry.schema.desired import Desired, Peer
from skerry.schema.oip import (
    HEADER_EXPLAIN_ROUTE,
    PARAMETER_ROUTE,
    PARAMETER_SEQUENCE_ID,
    InferFunction,
    InferReply,
    InferRequest,
    ServedBy,
)
from skerry.schema.policy import Place, Policy
from skerry.schema.route import RouteSettings
from skerry.schema.route_trace import RouteTrace
from skerry.trust.residency import Forbids


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
        settings: RouteSettings | None = None,
        explains: bool = False,
    ) -> None:
        self._site, self._node, self._tier = place.site, node, tier
        self._clock, self._explains = clock, explains
        self._settings = settings = settings or RouteSettings()
        self._forwards = forwards
        self._here = None
        if local is not None:
            self._here = Here(local, site=place.site, node=node, tier=tier, clock=clock, rng=rng)
        self._away = Away(
            call_peer=call_peer,
            probe_peer=probe_peer,
            clock=clock,
            rng=rng,
            hop=1 if forwards else 0,
            budget=RetryBudget(
                ratio=settings.retry_ratio,
                per_s=settings.retry_per_s_min,
                burst=settings.retry_burst,
            ),
            eject_ratio_max=settings.eject_ratio_max,
        )
        self._cache = None
        if settings.cache_s:
            self._cache = ResponseCache(settings.cache_s, settings.cache_bytes_max)
        self._cascades = {
            large: CascadeState(cascade, rng) for large, cascade in settings.cascades.items()
        }
        self._at_length_always = settings.balance or bool(settings.cache_s)
        self._special = self._find_special({})
        self._table = table_of(policy, tier_order, peers, standins or {}, node=node)

    def update(self, desired: Desired, policy: Policy, *, forbids: Forbids | None = None) -> None:
        """Take new desired state and policy; requests under way are not touched."""
        standins = {model.name: model.standin for model in desired.models if model.standin}
        self._table = table_of(
            policy,
            desired.tier_order,
            desired.peers,
            standins,
            node=self._node,
            before=self._table.peers,
            forbids=forbids,
        )
        self._special = self._find_special(standins)
        if self._cache is not None:
            self._cache.clear()

    def prefer(self, models: Mapping[str, str]) -> None:
        """Ask these stand-ins first; each with the condition of the rule that says so."""
        if self._here is not None:
            self._here.preferred = {model: _header_safe(why) for model, why in models.items()}
            self._special = self._find_special(self._table.standins)

    async def infer(self, request: InferRequest) -> InferReply:
        """Return an answer that says who served it and why, or raise with every reason."""
        table, here = self._table, self._here
        settled = table.admitted.get((request.model, request.data_class, request.origin_site))
        if settled is None:
            settled = admit(
                table,
                request,
                site=self._site,
                node=self._node,
                tier=self._tier,
                answers_here=self._forwards,
            )
        request.data_class = settled  # records and peers name the settled class
        if request.parameters and PARAMETER_SEQUENCE_ID in request.parameters and here is not None:
            return await self._in_sequence(request, table, here)
        if here is None or self._at_length_always or request.model in self._special:
            return await self._at_length(request, table)
        if request.parameters and HEADER_EXPLAIN_ROUTE in request.parameters:
            return await self._at_length(request, table)
        own = here.models.get(request.model)
        if own is None or own.breaker.phase != decide.CLOSED:
            return await self._at_length(request, table)
        started_s = self._clock.monotonic_s()
        budget_s = DEADLINE_S if request.deadline_s is None else request.deadline_s
        left_s = budget_s - (started_s - request.received_s if request.received_s else 0.0)
        if not decide.in_time(own.expected_s(started_s), left_s):
            return await self._at_length(request, table)
        here.in_flight += 1
        try:
            reply = await here.local(request)
        except Exception as error:
            failed = error
        else:
            now_s = self._clock.monotonic_s()
            own.saw(now_s - started_s, now_s)
            own.breaker = WELL
            served = own.served
            if served is None or served.version != reply.version:
                served = here.served(own, reply, LOCAL)
            reply.served_by = served
            if request.hops:
                reply.parameters[PARAMETER_LOAD] = here.in_flight - 1
            return reply
        finally:
            here.in_flight -= 1
        return await self._at_length(request, table, failed)

    async def aclose(self) -> None:
        """End the background probes."""
        await self._away.aclose()

    async def _in_sequence(self, request: InferRequest, table: Table, here: Here) -> InferReply:
        """Answer where the sequence's state is: no stand-in, no second try, no other node.

        Only a model that is not here at all is asked for elsewhere.
        """
        try:
            reply = await here.local(request)
        except Exception as error:
            if getattr(error, "http_status", 0) != HTTPStatus.NOT_FOUND:
                raise
        else:
            reply.served_by = here.served(here.model(request.model), reply, LOCAL)
            return reply
        return await self._at_length(request, table)

    async def _at_length(
        self, request: InferRequest, table: Table, failed: Exception | None = None
    ) -> InferReply:
        """Answer with everything that the plain case leaves out."""
        journey = self._journey(request, table)
        try:
            reply = await self._kept_or_made(journey, failed)
        except RouteError as error:
            if journey.trace is not None:
                error.trace = self._told(journey, None)
            raise
        if journey.trace is not None:
            encoded = msgspec.json.encode(self._told(journey, reply))
            reply.parameters[PARAMETER_ROUTE] = encoded.decode()
        if request.hops and self._here is not None:
            reply.parameters[PARAMETER_LOAD] = self._here.in_flight
        return reply

    async def _kept_or_made(self, journey: Journey, failed: Exception | None) -> InferReply:
        cache, request = self._cache, journey.request
        key = cache.key(request) if cache is not None else None
        if cache is None or key is None:
            return await self._made(journey, failed)
        kept = cache.find(key, request, self._clock.monotonic_s())
        if journey.trace is not None:
            journey.trace.cache = "miss" if kept is None else "hit"
        if kept is not None:
            kept.served_by = self._own_name(kept.model, kept.version, "cache")
            return kept
        reply = await self._made(journey, failed)
        cache.saw(reply)
        cache.keep(key, reply, self._clock.monotonic_s())
        return reply

    async def _made(self, journey: Journey, failed: Exception | None) -> InferReply:
        """Answer by an ensemble, a cascade or one model; who forwarded it has decided that."""
        model, here = journey.request.model, self._here
        if journey.request.hops or not (self._cascades or self._settings.ensembles):
            return await self._plainly(journey, failed)
        ensemble = self._settings.ensembles.get(model)
        if ensemble is not None:
            taken: dict[str, set[str]] = {member: set() for member in ensemble.members}

            async def ask(member: str, node: int) -> InferReply:
                part = part_of(journey, member)
                if ensemble.nodes == 1:
                    return await self._plainly(part)
                reply = await here.answer(part) if here is not None and node == 0 else None
                return reply or await self._away.answer_apart(part, taken[member])

            own = self._own_name(model, "", "")
            return await ask_ensemble(journey, ensemble, ask, own, self._clock)
        cascade = self._cascades.get(model)
        if cascade is not None and here is not None:
            return await ask_cascade(
                journey,
                cascade,
                lambda small: here.small(journey, small),
                lambda: self._plainly(journey),
            )
        return await self._plainly(journey, failed)

    async def _plainly(self, journey: Journey, failed: Exception | None = None) -> InferReply:
        """Answer by one model: here, by its stand-in, or elsewhere."""
        here = self._here
        if here is not None:
            if self._settings.balance and here.in_flight and not journey.request.hops:
                reply = await self._away.lighter(journey, self._site, here.in_flight)
                if reply is not None:
                    return reply
            reply = await here.answer(journey, failed)
            if reply is not None:
                return reply
        return await self._away.answer(journey)

    def _journey(self, request: InferRequest, table: Table) -> Journey:
        now_s = self._clock.monotonic_s()
        budget_s = DEADLINE_S if request.deadline_s is None else request.deadline_s
        deadline_s = (request.received_s or now_s) + budget_s
        origin = request.origin_site or self._site
        journey = Journey(request, table, request.data_class, origin, now_s, deadline_s)
        asked = False
        if HEADER_EXPLAIN_ROUTE in request.parameters:  # the dict may be shared
            asked = request.parameters[HEADER_EXPLAIN_ROUTE] is True
            request.parameters = {
                name: value
                for name, value in request.parameters.items()
                if name != HEADER_EXPLAIN_ROUTE
            }
        if asked and (self._explains or request.hops):
            journey.trace = RouteTrace(
                node=self._node,
                site=self._site,
                model=request.model,
                data_class=request.data_class or "",
                origin=origin,
                deadline_ms=(deadline_s - now_s) * MS_PER_SECOND,
            )
        return journey

    def _told(self, journey: Journey, reply: InferReply | None) -> RouteTrace:
        """Finish the trace: what came of it, and what the node that answered says."""
        trace = journey.trace
        assert trace is not None  # noqa: S101 - callers have looked
        trace.took_ms = (self._clock.monotonic_s() - journey.started_s) * MS_PER_SECOND
        if reply is not None:
            trace.reason = reply.served_by.reason if reply.served_by else ""
            there = reply.parameters.pop(PARAMETER_ROUTE, None)
            if isinstance(there, str):
                with contextlib.suppress(msgspec.DecodeError):
                    trace.there = msgspec.json.decode(there, type=RouteTrace)
        return trace

    def _own_name(self, model: str, version: str, reason: str) -> ServedBy:
        return ServedBy(
            site=self._site,
            node=self._node,
            tier=self._tier,
            model=model,
            version=version,
            reason=reason,
        )

    def _find_special(self, standins: Mapping[str, str]) -> frozenset[str]:
        """Return the models whose requests are never the plain case."""
        preferred = self._here.preferred if self._here is not None else {}
        by_rule = {model for model, standin in standins.items() if standin in preferred}
        return frozenset(by_rule | self._cascades.keys() | self._settings.ensembles.keys())


def _header_safe(text: str) -> str:
    """Reasons travel in a header whose fields are split at `;`."""
    return "".join(char if " " <= char <= "~" and char != ";" else "_" for char in text)
