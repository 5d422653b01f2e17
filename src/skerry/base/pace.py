"""Whether a transfer goes on fast enough: an end, a longest gap, and a least rate.

A bound on the gap between two reads alone does not help against a sender that trickles: a byte
every few seconds holds a reader for ever, and with it whatever the reader was to install.

Units:  seconds, bytes, bytes per second (averaged over `window_s`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceLimits:
    """How slow a transfer may be."""

    deadline_s: float = 60.0
    gap_s: float = 10.0
    rate_min_bytes_per_s: float = 4096.0
    window_s: float = 5.0


class Pace:
    """Watches one transfer, on a clock that never goes back."""

    def __init__(self, limits: PaceLimits, now_s: float) -> None:
        self._limits = limits
        self._ends_s = now_s + limits.deadline_s
        self._last_s = self._window_s = now_s
        self._window_bytes = 0

    def too_slow(self, count: int, now_s: float) -> str:
        """Take note that `count` bytes came; return why that is too slow, or nothing."""
        limits, gap_s = self._limits, now_s - self._last_s
        self._last_s = now_s
        self._window_bytes += count
        if now_s > self._ends_s:
            return f"not done within {limits.deadline_s:g} s"
        if gap_s > limits.gap_s:
            return f"no bytes for {gap_s:.1f} s, at most {limits.gap_s:g} s are allowed"
        window_s = now_s - self._window_s
        if window_s < limits.window_s:
            return ""
        rate = self._window_bytes / window_s
        self._window_s, self._window_bytes = now_s, 0
        if rate >= limits.rate_min_bytes_per_s:
            return ""
        return f"only {rate:.0f} bytes per second, wanted {limits.rate_min_bytes_per_s:g}"
