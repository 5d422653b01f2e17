"""The HTTP door: listeners, connections, and the limits that hold for all of them.

One door may listen on several addresses at once: TCP, TCP with TLS, a Unix socket. All
share one handler and one set of limits.

Units:   bytes and seconds, on the clock's monotonic scale.
Errors:  PortBusyError, when an address cannot be listened on.
"""

import asyncio
import contextlib

from skerry.base.clock import Clock
from skerry.serve.http_connection import HttpConnection
from skerry.serve.http_head import Heads
from skerry.serve.http_message import Handler, HttpLimits
from skerry.serve.listening import Listener, Listening

SCRATCH_BYTES = 65_536


class HttpDoor:
    """Takes connections and keeps their limits."""

    def __init__(self, handler: Handler, *, clock: Clock, limits: HttpLimits | None = None) -> None:
        self.handler = handler
        self.limits = limits or HttpLimits()
        self.now_s = clock.monotonic_s
        self.stopping = False
        self.heads = Heads(self.limits)
        self.scratch = memoryview(bytearray(SCRATCH_BYTES))
        """Where reads of every connection land: each read is taken before the next begins."""
        self.loop: asyncio.AbstractEventLoop
        self._connections: set[HttpConnection] = set()
        self._held_bytes = 0
        self._clients = 0
        self._listening = Listening()
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, listener: Listener) -> int:
        """Open one address and return its port (0 for a Unix socket)."""
        self.loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = self.loop.create_task(self._sweep())
        return await self._listening.open(listener, lambda: HttpConnection(self, listener))

    async def reopen(self, old: Listener, new: Listener) -> None:
        """Listen on a port under other terms; who came under the old ones must come again.

        What is under way there is answered first.
        """
        self._listening.close(new.port)
        for connection in list(self._connections):
            if connection.came_by(old):
                connection.leave()
        await self.listen(new)

    async def stop(self, grace_s: float) -> None:
        """Take no new connection, answer what is under way, and close."""
        self.stopping = True
        self._listening.stop()
        for connection in list(self._connections):
            connection.stop()
        deadline_s = self.now_s() + grace_s
        while self._connections and self.now_s() < deadline_s:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        self._listening.clean()

    def recheck(self) -> None:
        """Ask of each connection once more whether its peer may be here; cut it if not."""
        for connection in list(self._connections):
            connection.recheck()

    # What connections call.

    def admit(self, connection: HttpConnection) -> int:
        """Count a connection in and return its number; 0 if there are too many."""
        self._connections.add(connection)  # one too many is counted as well, for closing
        if len(self._connections) > self.limits.connections_max or self.stopping:
            return 0
        self._clients += 1
        return self._clients

    def forget(self, connection: HttpConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    def hold(self, size: int) -> bool:
        """Take memory for a piece of a body; False if all bodies together would be too large."""
        if self._held_bytes + size > self.limits.held_bytes_max:
            return False
        self._held_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give memory back."""
        self._held_bytes -= size

    async def _sweep(self) -> None:
        """End connections that take too long; one timer for all keeps requests cheap."""
        limits = self.limits
        shortest_s = min(limits.head_s, limits.body_pause_s, limits.idle_s, limits.linger_s)
        while True:
            await asyncio.sleep(min(max(shortest_s / 4, 0.01), 1.0))
            now_s = self.now_s()
            for connection in list(self._connections):
                connection.sweep(now_s)
