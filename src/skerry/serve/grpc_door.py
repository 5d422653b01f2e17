"""The gRPC door: listeners, connections on our own HTTP/2, and the limits that hold for all.

One door may listen on several addresses at once: TCP, TCP with TLS, a Unix socket. All
share one table of works, one buffer to read into and one memory of heads.

Units:   bytes and seconds, on the clock's monotonic scale.
Errors:  PortBusyError, when an address cannot be listened on.
"""

import asyncio
import contextlib
import logging

from skerry.base.clock import Clock
from skerry.serve import h2_frames as h2
from skerry.serve.grpc_head import Head, Heads
from skerry.serve.grpc_packing import Packing
from skerry.serve.grpc_works import GrpcWorks
from skerry.serve.h2_connection import H2Connection
from skerry.serve.h2_flow import Trailers
from skerry.serve.h2_frames import H2ConnectionError
from skerry.serve.h2_headers import BlockCache
from skerry.serve.h2_limits import GrpcLimits
from skerry.serve.h2_reader import BUFFER_BYTES
from skerry.serve.listening import Listener, Listening

log = logging.getLogger("skerry.serve")

SWEEP_S = 0.25
_TRAILERS_MAX = 256


class GrpcDoor:
    """Takes connections and keeps their limits."""

    def __init__(self, works: GrpcWorks, *, clock: Clock, limits: GrpcLimits | None = None) -> None:
        self.works = works
        self.limits = limits = limits or GrpcLimits()
        self.now_s = clock.monotonic_s
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self.blocks: BlockCache[Head] = BlockCache(
            Heads(works, list_bytes_max=limits.head_bytes_max).head,
            list_bytes_max=limits.head_bytes_max,
        )
        self.opening = _opening(limits)
        self.packing = Packing(limits.message_bytes_max, self.hold, self.release)
        self.loop: asyncio.AbstractEventLoop
        self._stopping = False
        self._connections: set[H2Connection] = set()
        self._clients = 0
        self.held_bytes = 0
        self.ends: dict[tuple[tuple[str, str], ...], Trailers] = {}
        """How answers ended well lately, by their metadata."""
        self._listening = Listening()
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, listener: Listener) -> int:
        """Open one address and return its port (0 for a Unix socket).

        A TLS context is told to agree on HTTP/2, which gRPC's clients insist on.
        """
        self.loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = self.loop.create_task(self._sweep())
        if listener.ssl is not None:
            listener.ssl.set_alpn_protocols(["h2"])
        return await self._listening.open(listener, lambda: H2Connection(self, listener))

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
        self._stopping = True
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

    # What connections call.

    def admit(self, connection: H2Connection) -> bool:
        """Count a connection in; False if there are too many, and it is counted for closing."""
        self._connections.add(connection)
        return len(self._connections) <= self.limits.connections_max and not self._stopping

    def forget(self, connection: H2Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    def next_client(self) -> int:
        """Return a number that tells a connection's calls from those of others.

        It counts down, as the HTTP door counts up: no two connections have one number.
        """
        self._clients -= 1
        return self._clients

    def hold(self, size: int) -> bool:
        """Take memory for a message; False if all messages together would be too large."""
        if self.held_bytes + size > self.limits.held_bytes_max:
            return False
        self.held_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give memory back."""
        self.held_bytes -= size

    def trailers(self, metadata: list[tuple[str, str]]) -> Trailers:
        """Return what ends an answer well; the last few are kept."""
        key = tuple(metadata)
        found = self.ends.get(key)
        if found is None:
            if len(self.ends) >= _TRAILERS_MAX:
                self.ends.clear()
            found = self.ends[key] = Trailers.of([("grpc-status", "0"), *metadata])
        return found

    async def _sweep(self) -> None:
        """End what takes too long; one timer for all keeps calls cheap."""
        limits = self.limits
        shortest_s = min(limits.head_s, limits.message_pause_s, limits.idle_s, limits.write_s)
        while True:
            await asyncio.sleep(min(max(shortest_s / 4, 0.01), SWEEP_S))
            now_s = self.now_s()
            for connection in list(self._connections):
                try:
                    connection.sweep(now_s)
                except H2ConnectionError as error:
                    connection.failed(error)
                except Exception:  # the sweep of one must not end that of all
                    log.exception("a gRPC connection could not be swept")
                    connection.abort()


def _opening(limits: GrpcLimits) -> bytes:
    """Return what the server says first: its settings, and a wider window."""
    stated = {
        h2.HEADER_TABLE_SIZE: 0,
        h2.MAX_CONCURRENT_STREAMS: limits.streams_max,
        h2.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
        h2.MAX_FRAME_SIZE: limits.frame_bytes_max,
        h2.MAX_HEADER_LIST_SIZE: limits.head_bytes_max,
    }
    more = limits.connection_window_bytes - h2.WINDOW_DEFAULT
    return h2.settings(stated) + h2.window_update(0, more)
