"""What a model version served in the last minute: counts and latencies in fixed buckets.

The buckets are those of the telemetry records (`LATENCY_EDGES_US`, 19 % wide); a
quantile is the upper edge of the bucket it falls in, so it is never too good.

Units:   milliseconds out, seconds in.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import US_PER_SECOND
from skerry.schema.records import LATENCY_EDGES_US, Outcome

WINDOW_S = 60


_EDGES_S = np.array(LATENCY_EDGES_US) / US_PER_SECOND
_NONE = np.zeros(len(LATENCY_EDGES_US) + 1, np.int64)


def counted(latencies_s: Sequence[float], edges_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many latencies lie up to each edge, above the one before; the last: beyond."""
    places = np.searchsorted(edges_s, latencies_s)
    return np.bincount(places, minlength=len(edges_s) + 1)


class _Second:
    __slots__ = ("at_s", "counts", "errors", "refused")

    def __init__(self, at_s: int) -> None:
        self.at_s = at_s
        self.counts = np.zeros(len(LATENCY_EDGES_US) + 1, np.int64)
        self.errors = 0
        self.refused = 0


class Window:
    """A sliding minute in steps of one second; starts when a version enters service."""

    def __init__(self, now_s: float) -> None:
        self._started_s = now_s
        self.used_at_s = 0.0
        """When the last request came, to the second; 0 before the first."""
        self._seconds: deque[_Second] = deque()

    def add(self, now_s: float, latency_s: float, outcome: Outcome) -> None:
        """Count one request."""
        if outcome is Outcome.OK:
            self.add_answers(now_s, [latency_s])
        elif outcome is Outcome.FAILED:
            self._second(now_s).errors += 1
        else:
            self._second(now_s).refused += 1

    def add_answers(self, now_s: float, latencies_s: Sequence[float]) -> None:
        """Count requests that were answered in the second of `now_s`."""
        self._second(now_s).counts += counted(latencies_s, _EDGES_S)

    def _second(self, now_s: float) -> _Second:
        second = int(now_s)
        if not self._seconds or self._seconds[-1].at_s != second:
            self._seconds.append(_Second(second))
            self.used_at_s = max(self.used_at_s, now_s)
            self._forget(second)
        return self._seconds[-1]

    def stats(self, now_s: float) -> dict[str, float]:
        """Return plain numbers: `requests`, `errors`, `refused`, `duration_s`, and the quantiles.

        `latency_ms_p50`, `latency_ms_p95` and `latency_ms_p99` are there only if something
        was answered.
        """
        self._forget(int(now_s))
        counts = sum((second.counts for second in self._seconds), _NONE).tolist()
        answered = sum(counts)
        errors = sum(second.errors for second in self._seconds)
        refused = sum(second.refused for second in self._seconds)
        found = {
            "duration_s": min(now_s - self._started_s, float(WINDOW_S)),
            "requests": float(answered + errors + refused),
            "errors": float(errors),
            "refused": float(refused),
        }
        if answered:
            for percent in (50, 95, 99):
                found[f"latency_ms_p{percent}"] = _quantile_ms(counts, answered * percent / 100)
        return found

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0].at_s <= second - WINDOW_S:
            self._seconds.popleft()


def _quantile_ms(counts: list[int], rank: float) -> float:
    seen = 0
    for edge_us, count in zip((*LATENCY_EDGES_US, LATENCY_EDGES_US[-1]), counts, strict=True):
        seen += count
        if seen >= rank:
            return edge_us / 1000
    return LATENCY_EDGES_US[-1] / 1000
