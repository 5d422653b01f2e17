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

from collections.abc import Mapping, Sequence
from random import Random

from skerry.base.clock import Clock
from skerry.route import decide
from skerry.route.away import Away, CallPeer, ProbePeer
from skerry.route.budget import RetryBudget
from skerry.route.choose import Candidate
from skerry.route.health import Health
from skerry.route.here import LOCAL, Here
from skerry.route.journey import DEADLINE_S, Journey, Table, admit
from skerry.route.race import PARAMETER_LOAD
from skerry.schema.desired import Desired, Peer
from skerry.schema.oip import InferFunction, InferReply, InferRequest
from skerry.schema.policy import Place, Policy
from skerry.schema.route import RouteSettings
from skerry.trust.residency import ResidencyTable


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
    ) -> None:
        self._site, self._node, self._tier = place.site, node, tier
        self._clock = clock
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
        self._at_length_always = self._here is None or settings.balance
        self._special: set[str] = set()
        self._table = Table(None, {}, (), {})
        self._table = self._new_table(policy, tier_order, peers, standins or {})

    def update(self, desired: Desired, policy: Policy) -> None:
        """Take new desired state and policy; requests under way are not touched."""
        standins = {model.name: model.standin for model in desired.models if model.standin}
        self._table = self._new_table(policy, desired.tier_order, desired.peers, standins)
        self._find_special()

    def prefer(self, models: Mapping[str, str]) -> None:
        """Ask these stand-ins first; each with the condition of the rule that says so."""
        if self._here is not None:
            self._here.preferred = {model: _header_safe(why) for model, why in models.items()}
            self._find_special()

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
        if here is None or self._at_length_always or request.model in self._special:
            return await self._at_length(request, table)
        own = here.models.get(request.model)
        if own is None or own.breaker.phase != decide.CLOSED:
            return await self._at_length(request, table)
        started_s = self._clock.monotonic_s()
        budget_s = DEADLINE_S if request.deadline_s is None else request.deadline_s
        left_s = budget_s - (started_s - request.received_s if request.received_s else 0.0)
        if not decide.in_time(own.mean.expected_s(started_s), left_s):
            return await self._at_length(request, table)
        here.in_flight += 1
        try:
            reply = await here.local(request)
        except Exception as error:
            failed = error
        else:
            now_s = self._clock.monotonic_s()
            own.answered(now_s - started_s, now_s)
            reply.served_by = here.served(own, reply, LOCAL)
            if request.hops:
                reply.parameters[PARAMETER_LOAD] = here.in_flight - 1
            return reply
        finally:
            here.in_flight -= 1
        return await self._at_length(request, table, failed)

    async def aclose(self) -> None:
        """End the background probes."""
        await self._away.aclose()

    async def _at_length(
        self, request: InferRequest, table: Table, failed: Exception | None = None
    ) -> InferReply:
        """Answer with everything that the plain case leaves out."""
        journey = self._journey(request, table)
        reply = await self._plainly(journey, failed)
        if request.hops and self._here is not None:
            reply.parameters[PARAMETER_LOAD] = self._here.in_flight
        return reply

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
        return Journey(request, table, request.data_class, origin, now_s, deadline_s)

    def _find_special(self) -> None:
        """Name the models whose requests are never the plain case."""
        preferred = self._here.preferred if self._here is not None else {}
        self._special = {
            model for model, standin in self._table.standins.items() if standin in preferred
        }

    def _new_table(
        self,
        policy: Policy | None,
        tier_order: Sequence[str],
        peers: Sequence[Peer],
        standins: Mapping[str, str],
    ) -> Table:
        known = {(old.peer.node, old.peer.url): old.health for old in self._table.peers}
        return Table(
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


def _header_safe(text: str) -> str:
    """Reasons travel in a header whose fields are split at `;`."""
    return "".join(char if " " <= char <= "~" and char != ";" else "_" for char in text)
