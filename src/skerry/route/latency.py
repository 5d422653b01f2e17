"""What one candidate's answers have taken lately: a smoothed mean and a 95th percentile.

The arithmetic is functions of plain numbers, which the planner compiles; the classes hold
what they are asked about. A time before any answer is -1.

Units: seconds. The window is small on purpose: it follows a link that changes, and a
sorted copy of it makes the percentile a look-up.
"""

from bisect import bisect_left, insort
from collections import deque
from typing import Final

from skerry.route.decide import believed_s

WINDOW: Final = 64
_SMOOTHING: Final = 0.2


def mean_after_s(mean_s: float, seen_at_s: float, newest_s: float) -> float:
    """Return the smoothed mean with one answer more; the first one is the mean."""
    return newest_s if seen_at_s < 0.0 else mean_s + _SMOOTHING * (newest_s - mean_s)


def expected_s(mean_s: float, prior_s: float, seen_at_s: float, now_s: float) -> float:
    """Return what the next answer will probably take: the mean, which fades to the prior."""
    if seen_at_s < 0.0 or mean_s <= prior_s:
        return mean_s
    return believed_s(mean_s, prior_s, now_s - seen_at_s)


def p95_index(samples: int) -> int:
    """Return where the 95th percentile stands among sorted samples (nearest rank)."""
    return max(0, -(-95 * samples // 100) - 1)


class Mean:
    """A smoothed mean of one model's latency here, where nothing is hedged: no percentile."""

    __slots__ = ("_at_s", "_mean_s", "_prior_s")

    def __init__(self, prior_s: float) -> None:
        self._prior_s = prior_s
        self._mean_s = prior_s
        self._at_s = -1.0  # before any answer

    def saw(self, latency_s: float, now_s: float) -> None:
        """Take one answer in."""
        self._mean_s = mean_after_s(self._mean_s, self._at_s, latency_s)
        self._at_s = now_s

    def expected_s(self, now_s: float) -> float:
        """Return what the next answer will probably take."""
        return expected_s(self._mean_s, self._prior_s, self._at_s, now_s)


class Latency(Mean):
    """Live latency of one model at one candidate, starting from a prior."""

    __slots__ = ("_sorted", "_window")

    def __init__(self, prior_s: float) -> None:
        super().__init__(prior_s)
        self._window: deque[float] = deque()
        self._sorted: list[float] = []

    def saw(self, latency_s: float, now_s: float) -> None:
        """Take one answer in."""
        super().saw(latency_s, now_s)
        self._window.append(latency_s)
        insort(self._sorted, latency_s)
        if len(self._window) > WINDOW:
            oldest = self._window.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]

    @property
    def p95_s(self) -> float:
        """Return the 95th percentile of the window; the prior before any answer."""
        if not self._sorted:
            return self._prior_s
        return self._sorted[p95_index(len(self._sorted))]

    @property
    def samples(self) -> int:
        """Return how many answers the window holds."""
        return len(self._window)
