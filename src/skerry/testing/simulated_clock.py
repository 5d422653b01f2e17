"""A clock whose time passes by itself, and takes none: it jumps to whatever is waited for next.

When every task of the event loop waits for this clock, the earliest of them is woken and
the time is what it waited for. So a test sees latencies, deadlines and hedges in the order
and at the times they would have, in microseconds, and the same on every run.

For code that waits for this clock and for nothing outside the process: a socket or a
thread is not waited for, time passes over it.
"""

import asyncio
import heapq
import itertools

QUIET_TURNS = 12
"""Turns of the loop that tasks get to begin another wait before time passes."""


class SimulatedClock:
    """Both times start at `start_unix_s` and 0."""

    def __init__(self, start_unix_s: float = 1_700_000_000.0) -> None:
        self._start_unix_s = start_unix_s
        self._passed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._turns_left = 0

    def unix_s(self) -> float:
        """Return the simulated wall time."""
        return self._start_unix_s + self._passed_s

    def monotonic_s(self) -> float:
        """Return the simulated time since the start."""
        return self._passed_s

    async def sleep(self, duration_s: float) -> None:
        """Wait for simulated time to pass."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        due_s = self._passed_s + max(duration_s, 0.0)
        heapq.heappush(self._sleepers, (due_s, next(self._numbers), woken))
        if not self._turns_left:
            loop.call_soon(self._turn, loop)
        self._turns_left = QUIET_TURNS
        await woken

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turns_left -= 1
        if not self._turns_left:
            while self._sleepers:
                due_s, _, woken = heapq.heappop(self._sleepers)
                if not woken.done():  # one that nobody waits for any more takes no time
                    self._passed_s = max(self._passed_s, due_s)
                    woken.set_result(None)
                    self._turns_left = QUIET_TURNS
                    break
        if self._turns_left:
            loop.call_soon(self._turn, loop)
