"""The HTTP door: listeners, connections, and the limits that hold for all of them.

One door may listen on several addresses at once: TCP, TCP with TLS, a Unix socket. All
share one handler and one set of limits.

Units:   bytes and seconds, on the clock's monotonic scale.
Errors:  PortBusyError, when an address cannot be listened on.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

from skerry.base.clock import Clock
from skerry.serve.errors import PortBusyError
from skerry.serve.http_connection import HttpConnection
from skerry.serve.http_head import Heads
from skerry.serve.http_message import Handler, HttpLimits

TLS_HANDSHAKE_S_MAX = 10.0
BACKLOG = 512
SCRATCH_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address of a door: `uds` where it is given, else `host` and `port` (0: any free).

    `admin` listeners take repository commands. `authorize` is called with the TLS object
    of each new connection; it raises a `SkerryError` to refuse its peer, or returns the
    site that the peer's requests come from: only then may they say that they were
    forwarded. `option` is how people set the port, for an error's hint.
    """

    host: str = "127.0.0.1"
    port: int = 0
    uds: str | None = None
    ssl: SSLContext | None = None
    admin: bool = False
    authorize: Callable[[Any], str | None] | None = None
    option: str = "http-port"


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
        self._servers: list[asyncio.Server] = []
        self._sockets_made: list[str] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, listener: Listener) -> int:
        """Open one address and return its port (0 for a Unix socket)."""
        self.loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = self.loop.create_task(self._sweep())
        tls: dict[str, Any] = {"ssl": listener.ssl}
        if listener.ssl is not None:
            tls["ssl_handshake_timeout"] = TLS_HANDSHAKE_S_MAX

        def connection() -> HttpConnection:
            return HttpConnection(self, listener)

        if listener.uds is not None:
            server = await self._listen_uds(listener, listener.uds, connection, tls)
            self._servers.append(server)
            return 0
        made = bound_socket(listener.host, listener.port, option=listener.option)
        server = await self.loop.create_server(connection, sock=made, backlog=BACKLOG, **tls)
        self._servers.append(server)
        return int(made.getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Take no new connection, answer what is under way, and close."""
        self.stopping = True
        for server in self._servers:
            server.close()
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
        for path in self._sockets_made:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

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

    async def _listen_uds(
        self, listener: Listener, path: str, connection: Any, tls: dict[str, Any]
    ) -> asyncio.Server:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise PortBusyError("uds", path, "a file that is not a socket is there")
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
            raise PortBusyError("uds", path)
        # Nobody answers there: what is left of a process that was killed may go.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        made = socket.socket(socket.AF_UNIX)
        try:
            made.bind(path)
            os.chmod(path, 0o600)
        except OSError as error:
            made.close()
            raise PortBusyError("uds", path, error.strerror or str(error)) from error
        self._sockets_made.append(path)
        return await self.loop.create_unix_server(connection, sock=made, backlog=BACKLOG, **tls)


def bound_socket(host: str, port: int, *, option: str) -> socket.socket:
    """Return a TCP socket bound to an address, or raise `PortBusyError` naming it."""
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise PortBusyError(option, where, error.strerror or "no such address") from error
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)  # two processes may bind with REUSEADDR, but only one may listen
    except OSError as error:
        made.close()
        why = "in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise PortBusyError(option, where, why) from error
    return made
