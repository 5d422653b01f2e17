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

_ERRORS_SMOOTHING: Final = 0.1
PROBE_S_MAX: Final = 1.0
MODELS_MAX: Final = 256
"""Models remembered per candidate; names come from requests, so memory is bounded."""


class ModelHealth:
    """One model at one candidate."""

    __slots__ = ("absent_until_s", "breaker", "latency")

    def __init__(self, round_trip_s: float) -> None:
        self.absent_until_s = 0.0
        self.breaker = Breaker()
        self.latency = Latency(round_trip_s)


class Health:
    """One candidate. `trial` is set while the one request that a half-open breaker allows runs.

    `answers` counts answers and failures since it came, or came back from an ejection;
    `errors_ratio` is the smoothed share of failures among them.
    """

    __slots__ = (
        "_models",
        "_told",
        "_told_at_s",
        "answers",
        "ejected_until_s",
        "ejections",
        "errors_ratio",
        "in_flight",
        "link",
        "probing",
        "round_trip_s",
        "trial",
    )

    def __init__(self, round_trip_s: float) -> None:
        self.link = Breaker()
        self.round_trip_s = round_trip_s
        self.trial = False
        self.probing = False
        self.in_flight = 0
        self.answers = 0
        self.errors_ratio = 0.0
        self.ejections = 0
        self.ejected_until_s = 0.0
        self._told, self._told_at_s = 0.0, 0.0
        self._models: dict[str, ModelHealth] = {}

    @property
    def models(self) -> dict[str, ModelHealth]:
        """Every model that was asked for here."""
        return self._models

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
        self._count(0.0)

    def link_failed(self, now_s: float, rng: Random) -> None:
        """Take in that the candidate could not be reached, or broke off."""
        self.link = decide.breaker_failed(self.link, now_s, True, rng.random())
        self.ejected_until_s = 0.0  # the breaker sees to it from here on

    def lacks(self, name: str, now_s: float) -> None:
        """Take in that the candidate does not have a model: it is not asked for a while."""
        self.model(name).absent_until_s = now_s + decide.ABSENT_S

    def model_failed(self, name: str, now_s: float, rng: Random) -> None:
        """Take in that the model answered with an error of its own."""
        model = self.model(name)
        model.breaker = decide.breaker_failed(model.breaker, now_s, False, rng.random())
        self._count(1.0)

    def silent(self, now_s: float) -> None:
        """Take in that an answer is overdue."""
        self.link = decide.breaker_silent(self.link, now_s)
        self._count(1.0)

    def told_load(self, load: float, now_s: float) -> None:
        """Take in what the node says of its own load."""
        self._told, self._told_at_s = load, now_s

    def load(self, now_s: float) -> float:
        """Return the candidate's load: requests that are there, as far as is known."""
        return decide.load(self.in_flight, self._told, now_s - self._told_at_s)

    def eject(self, now_s: float, chance: float) -> None:
        """Keep requests away for a while, longer each time in a row; then a probe is due.

        What was measured is forgotten, so that it is judged afresh when it comes back.
        """
        self.ejected_until_s = now_s + decide.ejection_s(self.ejections, chance)
        self.ejections += 1
        self.link = Breaker(decide.OPEN, 0, self.link.trips, self.ejected_until_s)
        self.answers, self.errors_ratio = 0, 0.0
        for model in self._models.values():
            model.latency = Latency(self.round_trip_s)

    def is_ejected(self, now_s: float) -> bool:
        """Tell whether an ejection lasts."""
        return now_s < self.ejected_until_s

    def _count(self, failed: float) -> None:
        self.answers += 1
        self.errors_ratio += _ERRORS_SMOOTHING * (failed - self.errors_ratio)


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
