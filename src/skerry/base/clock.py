"""Time as an argument: code that waits or compares times takes a `Clock`.

Units: seconds. `unix_s` is wall time and may jump; `monotonic_s` never goes back.
"""

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the time is, and a way to let it pass."""

    def unix_s(self) -> float:
        """Return wall time, in seconds since 1970-01-01 UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return a time that never goes back, for durations."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Let a duration pass."""
        ...


class SystemClock:
    """The machine's own clock."""

    # Bound as they are, without a frame of Python around each: a request asks several times.
    unix_s = staticmethod(time.time)
    monotonic_s = staticmethod(time.monotonic)

    async def sleep(self, duration_s: float) -> None:
        """Let a duration pass."""
        await anyio.sleep(duration_s)
