"""Answers of one model version, counted when somebody looks or a second is over.

A request costs an append; the counts that it belongs to (the last minute, the statistics,
the metrics) are kept by numpy, many requests at a time. Refusals and failures are counted
at once: they are few, and people look for them.

Units:   seconds, on the clock's monotonic scale.
"""

from skerry.serve.metrics import Metrics
from skerry.serve.statistics import Statistics
from skerry.serve.window import Window

PENDING_MAX = 4096


class Tally:
    """What was answered, and not counted yet."""

    __slots__ = (
        "__weakref__",
        "_latencies",
        "_metrics",
        "_model",
        "_settle_at_s",
        "_statistics",
        "_window",
    )  # fmt: skip

    def __init__(
        self, model: str, window: Window, statistics: Statistics, metrics: Metrics
    ) -> None:
        self._model = model
        self._window, self._statistics, self._metrics = window, statistics, metrics
        self._latencies: list[float] = []
        self._settle_at_s = 0.0

    def answered(self, end_s: float, latency_s: float) -> None:
        """Count a request that got its answer now."""
        if end_s >= self._settle_at_s or len(self._latencies) >= PENDING_MAX:
            self.settle()
            self._settle_at_s = float(int(end_s) + 1)  # so that all that wait are of one second
            self._window.used_at_s = end_s
        self._latencies.append(latency_s)

    def settle(self) -> None:
        """Bring every count up to now."""
        latencies = self._latencies
        if not latencies:
            return
        self._latencies = []
        at_s = self._settle_at_s - 1.0
        self._window.add_answers(at_s, latencies)
        self._statistics.answered(max(at_s, self._window.used_at_s), latencies)
        self._metrics.answered(self._model, latencies)
