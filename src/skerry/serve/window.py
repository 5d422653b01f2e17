"""What a model version served in the last minute: counts and latencies in fixed buckets.

The buckets are those of the telemetry records (`LATENCY_EDGES_US`, 19 % wide); a
quantile is the upper edge of the bucket it falls in, so it is never too good.

Units:   milliseconds out, seconds in.
"""

from bisect import bisect_left
from collections import deque

from skerry.base.units import US_PER_SECOND
from skerry.schema.records import LATENCY_EDGES_US, Outcome

WINDOW_S = 60


class _Second:
    __slots__ = ("at_s", "counts", "errors", "refused")

    def __init__(self, at_s: int) -> None:
        self.at_s = at_s
        self.counts = [0] * (len(LATENCY_EDGES_US) + 1)
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
        second = int(now_s)
        if not self._seconds or self._seconds[-1].at_s != second:
            self._seconds.append(_Second(second))
            self.used_at_s = now_s
            self._forget(second)
        bucket = self._seconds[-1]
        if outcome is Outcome.OK:
            bucket.counts[bisect_left(LATENCY_EDGES_US, latency_s * US_PER_SECOND)] += 1
        elif outcome is Outcome.FAILED:
            bucket.errors += 1
        else:
            bucket.refused += 1

    def stats(self, now_s: float) -> dict[str, float]:
        """Return plain numbers: `requests`, `errors`, `refused`, `duration_s`, and the quantiles.

        `latency_ms_p50`, `latency_ms_p95` and `latency_ms_p99` are there only if something
        was answered.
        """
        self._forget(int(now_s))
        counts = [sum(bucket) for bucket in zip(*(s.counts for s in self._seconds), strict=True)]
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
