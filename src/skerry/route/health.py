"""What the router remembers of each candidate: breakers and live latencies.

A candidate has one breaker for its link and process (refused, broken, silent), and one
per model (errors answered by the model). A probe in the background carries no data
and looks after a candidate whose link breaker is open, so no request has to wait to
find out that it is well again.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import anyio

from skerry.base.clock import Clock
from skerry.route import decide
from skerry.route.decide import Breaker
from skerry.route.latency import Latency

PROBE_S_MAX: Final = 1.0
MODELS_MAX: Final = 256
"""Models remembered per candidate; names come from requests, so memory is bounded."""


class ModelHealth:
    """One model at one candidate."""

    __slots__ = ("breaker", "latency")

    def __init__(self, round_trip_s: float) -> None:
        self.breaker = Breaker()
        self.latency = Latency(round_trip_s)


class Health:
    """One candidate. `trial` is set while the one request that a half-open breaker allows runs."""

    __slots__ = ("_models", "link", "probing", "round_trip_s", "trial")

    def __init__(self, round_trip_s: float) -> None:
        self.link = Breaker()
        self.round_trip_s = round_trip_s
        self.trial = False
        self.probing = False
        self._models: dict[str, ModelHealth] = {}

    def model(self, name: str) -> ModelHealth:
        """Return what is known of a model here."""
        health = self._models.get(name)
        if health is None:
            if len(self._models) >= MODELS_MAX:
                self._models.pop(next(iter(self._models)))
            health = self._models[name] = ModelHealth(self.round_trip_s)
        return health

    def phase(self, name: str, now_s: float) -> int:
        """Return the phase that a request for a model meets: the worse of the two breakers.

        A model's breaker needs no probe: errors are answered fast, so when its wait is
        over one request tries.
        """
        link = self.link.phase
        if link == decide.HALF_OPEN and self.trial:
            link = decide.OPEN
        model = self.model(name).breaker
        if model.phase == decide.OPEN and decide.probe_due(model, now_s):
            return link if link == decide.OPEN else decide.HALF_OPEN
        return decide.OPEN if decide.OPEN in (link, model.phase) else link

    def answered(self, name: str, latency_s: float, now_s: float) -> None:
        """Take a good answer in: both breakers close."""
        model = self.model(name)
        self.link = model.breaker = Breaker()
        model.latency.saw(latency_s, now_s)

    def link_failed(self, now_s: float, rng: Random) -> None:
        """Take in that the candidate could not be reached, or broke off."""
        self.link = decide.breaker_failed(self.link, now_s, True, rng.random())

    def model_failed(self, name: str, now_s: float, rng: Random) -> None:
        """Take in that the model answered with an error of its own."""
        model = self.model(name)
        model.breaker = decide.breaker_failed(model.breaker, now_s, False, rng.random())

    def silent(self, now_s: float) -> None:
        """Take in that an answer is overdue."""
        self.link = decide.breaker_silent(self.link, now_s)


async def probe(
    health: Health, ask: Callable[[], Awaitable[None]], clock: Clock, rng: Random
) -> None:
    """Ask a candidate whether it is well, and let one trial through if it is."""
    try:
        with anyio.fail_after(PROBE_S_MAX):
            await ask()
    except Exception:
        if health.link.phase == decide.OPEN:
            health.link_failed(clock.monotonic_s(), rng)
    else:
        if health.link.phase == decide.OPEN:
            health.link = decide.breaker_probed(health.link)
    finally:
        health.probing = False
