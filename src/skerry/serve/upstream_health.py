"""Whether an upstream server may be asked: its ready path is polled, its failures are counted.

After `failures_max` failed runs in a row it is not asked again before it says that it is
ready; the first run after that decides alone. A server that says it is not ready is not
asked at all. Polls are spread by chance, so that many nodes do not ask one server at once.

Units:   seconds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError

PROBE_S_MAX = 5.0
SPREAD = 0.2  # of the time between two polls, either way

log = logging.getLogger("skerry.serve")


class UpstreamHealth:
    """What is known of one upstream; `reason` says why it is not ready."""

    def __init__(
        self,
        name: str,
        probe: Callable[[], Awaitable[None]],
        *,
        every_s: float,
        failures_max: int,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.ready = False
        self.reason = "not asked yet"
        self._name = name
        self._probe = probe
        self._every_s, self._failures_max = every_s, failures_max
        self._clock, self._rng = clock, rng
        self._failures = 0
        self._changed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._watch = asyncio.get_running_loop().create_task(self._poll())

    def stop(self) -> None:
        """End polling."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def wait_ready(self, within_s: float) -> bool:
        """Wait until it is ready; False if that takes too long."""
        try:
            async with asyncio.timeout(within_s):
                while not self.ready:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def answered(self) -> None:
        """Note a run that went well."""
        self._failures = 0

    def failed(self, why: str) -> None:
        """Note a run that the server failed."""
        self._failures += 1
        if self._failures >= self._failures_max:
            self._set(ready=False, reason=f"{self._failures} failed runs in a row, last: {why}")

    async def look(self) -> None:
        """Ask once whether it is ready."""
        try:
            async with asyncio.timeout(PROBE_S_MAX):
                await self._probe()
        except TimeoutError:
            self._set(ready=False, reason=f"no answer to its ready path in {PROBE_S_MAX:g} s")
        except SkerryError as error:
            self._set(ready=False, reason=str(error))
        except Exception:  # whatever a server answers must not end the watch
            log.exception("looking at the upstream of %s failed", self._name)
            self._set(ready=False, reason="looking at it failed; the log says why")
        else:
            if not self.ready:  # half open: one more failure shuts it again
                self._failures = min(self._failures, self._failures_max - 1)
            self._set(ready=True, reason="")

    async def _poll(self) -> None:
        while True:
            await self.look()
            spread = self._rng.uniform(1 - SPREAD, 1 + SPREAD)
            await self._clock.sleep(self._every_s * spread)

    def _set(self, *, ready: bool, reason: str) -> None:
        if ready != self.ready:
            log.info("upstream of %s: %s", self._name, "ready" if ready else reason)
        self.ready, self.reason = ready, reason
        self._changed.set()
