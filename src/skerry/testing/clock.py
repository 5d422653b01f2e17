"""A clock that moves only when a test says so."""

import anyio


class ManualClock:
    """Both times start at `start_unix_s` and 0; `advance` lets time pass and wakes sleepers."""

    def __init__(self, start_unix_s: float = 1_700_000_000.0) -> None:
        self._start_unix_s = start_unix_s
        self._passed_s = 0.0
        self._sleepers: list[tuple[float, anyio.Event]] = []

    def unix_s(self) -> float:
        """Return the simulated wall time."""
        return self._start_unix_s + self._passed_s

    def monotonic_s(self) -> float:
        """Return the simulated time since the start."""
        return self._passed_s

    async def sleep(self, duration_s: float) -> None:
        """Wait until `advance` has let the duration pass."""
        if duration_s <= 0:
            return
        event = anyio.Event()
        self._sleepers.append((self._passed_s + duration_s, event))
        await event.wait()

    def advance(self, duration_s: float) -> None:
        """Let time pass, and wake every sleeper whose time has come."""
        self._passed_s += duration_s
        due = [event for at_s, event in self._sleepers if at_s <= self._passed_s]
        self._sleepers = [pair for pair in self._sleepers if pair[0] > self._passed_s]
        for event in due:
            event.set()
