"""The answers of this very node: the model, or the stand-in before anything leaves the site."""

from random import Random
from typing import Final

import msgspec

from skerry.base.clock import Clock
from skerry.route import decide
from skerry.route.decide import VERDICT_WORDS, Breaker
from skerry.route.errors import Considered
from skerry.route.health import MODELS_MAX
from skerry.route.journey import Journey, class_allows
from skerry.route.latency import Mean
from skerry.route.race import ANSWERED, verdict_of
from skerry.schema.oip import InferFunction, InferReply, ServedBy
from skerry.schema.route_trace import AttemptSeen, CandidateSeen

_CAUSES: Final = {decide.DOWN: "local-down", decide.BREAKER: "local-down"}
LOCAL: Final = "local"
WELL: Final = Breaker()


class OwnModel(Mean):
    """One model of this node: what it takes, its breaker, and what its answers say of it."""

    __slots__ = ("breaker", "served")

    def __init__(self) -> None:
        super().__init__(0.0)
        self.breaker = WELL
        self.served: ServedBy | None = None


class Here:
    """The local models. `preferred` maps stand-ins to the rule that puts them first."""

    def __init__(
        self, local: InferFunction, *, site: str, node: str, tier: str, clock: Clock, rng: Random
    ) -> None:
        self.local = local
        self.site, self.node, self.tier = site, node, tier
        self.in_flight = 0
        self.preferred: dict[str, str] = {}
        self.models: dict[str, OwnModel] = {}
        self._clock, self._rng = clock, rng

    def model(self, name: str) -> OwnModel:
        """Return what is known of a model here; names come from requests, so it is bounded."""
        own = self.models.get(name)
        if own is None:
            if len(self.models) >= MODELS_MAX:
                self.models.pop(next(iter(self.models)))
            own = self.models[name] = OwnModel()
        return own

    def served(self, own: OwnModel, reply: InferReply, reason: str) -> ServedBy:
        """Return who answered; the plain case is one shared object, as nobody writes to it."""
        known = own.served
        if known is not None and reason == known.reason and reply.version == known.version:
            return known
        made = ServedBy(
            site=self.site,
            node=self.node,
            tier=self.tier,
            model=reply.model,
            version=reply.version,
            reason=reason,
        )
        if reason == LOCAL:
            own.served = made
        return made

    async def answer(self, journey: Journey, failed: Exception | None = None) -> InferReply | None:
        """Try the model and its stand-in; None where both fail or do not fit.

        `failed` is what the model has just answered, if it was asked already.
        """
        model = journey.request.model
        standin = journey.table.standins.get(model, "")
        rule = self.preferred.get(standin, "") if standin else ""
        large = decide.FIT
        if failed is not None:
            large = self._failed(journey, model, failed)
            journey.cause = _CAUSES.get(large, VERDICT_WORDS[large])
        elif not rule:
            large, reply = await self.ask(journey, model, LOCAL)
            if reply is not None:
                return reply
            journey.cause = _CAUSES.get(large, VERDICT_WORDS[large])
        small = self._verdict(journey, standin) if standin else decide.ABSENT
        if decide.standin_verdict(bool(rule), large, bool(standin), small):
            reason = f"rule:{rule}" if rule else f"stand-in:{journey.cause}"
            _, reply = await self.ask(journey, standin, reason)
            if reply is not None:
                return reply
        elif standin:
            self._note(journey, small, standin)
        if rule and failed is None:  # the stand-in that the rule wanted could not answer
            large, reply = await self.ask(journey, model, LOCAL)
            journey.cause = _CAUSES.get(large, VERDICT_WORDS[large])
            return reply
        return None

    async def small(self, journey: Journey, model: str) -> InferReply | None:
        """Ask a cascade's small model; None where it does not fit or fails."""
        _, reply = await self.ask(journey, model, "cascade")
        return reply

    async def ask(self, journey: Journey, model: str, reason: str) -> tuple[int, InferReply | None]:
        """Run one local model; return the verdict on it, and the answer if there is one."""
        verdict = self._verdict(journey, model)
        if verdict != decide.FIT:
            self._note(journey, verdict, model)
            return verdict, None
        own = self.model(model)
        request = journey.request
        if model != request.model:
            request = msgspec.structs.replace(request, model=model, version="")
        started_s = self._clock.monotonic_s()
        self.in_flight += 1
        try:
            reply = await self.local(request)
        except Exception as error:
            return self._failed(journey, model, error, started_s), None
        finally:
            self.in_flight -= 1
        now_s = self._clock.monotonic_s()
        own.saw(now_s - started_s, now_s)
        own.breaker = WELL
        if journey.prefix:
            reason = journey.prefix if reason == LOCAL else f"{journey.prefix}:{reason}"
        reply.served_by = self.served(own, reply, reason)
        if journey.trace is not None:
            self._seen(journey, model, decide.FIT, "")
            self._tried(journey, model, started_s, decide.FIT)
        return decide.FIT, reply

    def _verdict(self, journey: Journey, model: str) -> int:
        if not class_allows(journey, model):
            return decide.RESIDENCY
        now_s = self._clock.monotonic_s()
        own = self.model(model)
        phase = own.breaker.phase
        if phase == decide.OPEN and decide.probe_due(own.breaker, now_s):
            phase = decide.HALF_OPEN  # errors come back fast, so a request tries it
        return decide.fit(True, 0, phase, own.expected_s(now_s), journey.deadline_s - now_s)

    def _failed(
        self, journey: Journey, model: str, error: Exception, started_s: float | None = None
    ) -> int:
        """Return the verdict of a failure; raises it where the request itself is at fault."""
        verdict = verdict_of(error)
        if verdict is None:
            raise error
        if verdict == decide.DOWN:
            own = self.model(model)
            now_s = self._clock.monotonic_s()
            own.breaker = decide.breaker_failed(own.breaker, now_s, False, self._rng.random())
        self._note(journey, verdict, f"{model}: {error}")
        if journey.trace is not None:
            self._tried(journey, model, started_s or journey.started_s, verdict)
        return verdict

    def _note(self, journey: Journey, verdict: int, detail: str) -> None:
        word = VERDICT_WORDS[verdict]
        journey.considered.append(Considered(self.node, self.site, self.tier, word, detail))
        self._seen(journey, detail.partition(":")[0], verdict, detail)

    def _seen(self, journey: Journey, model: str, verdict: int, detail: str) -> None:
        if journey.trace is not None:
            expected_s = self.model(model).expected_s(self._clock.monotonic_s())
            journey.trace.candidates.append(
                CandidateSeen(
                    node=self.node,
                    site=self.site,
                    tier=self.tier,
                    verdict=VERDICT_WORDS[verdict],
                    detail=detail or model,
                    place=1 if verdict == decide.FIT else 0,
                    expected_ms=expected_s * 1000,
                    load=self.in_flight,
                )
            )

    def _tried(self, journey: Journey, model: str, started_s: float, verdict: int) -> None:
        assert journey.trace is not None  # noqa: S101 - callers have looked
        now_s = self._clock.monotonic_s()
        journey.trace.attempts.append(
            AttemptSeen(
                node=self.node,
                model=model,
                cause=journey.cause,
                at_ms=(started_s - journey.started_s) * 1000,
                took_ms=(now_s - started_s) * 1000,
                verdict=ANSWERED if verdict == decide.FIT else VERDICT_WORDS[verdict],
            )
        )
