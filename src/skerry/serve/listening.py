"""Addresses that a door listens on: TCP, TCP with TLS, Unix sockets.

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
from typing import TYPE_CHECKING, Any

from skerry.serve.errors import PortBusyError

if TYPE_CHECKING:
    from skerry.serve.client_gate import TokenGate

TLS_HANDSHAKE_S_MAX = 10.0
BACKLOG = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address of a door: `uds` where it is given, else `host` and `port` (0: any free).

    `admin` listeners take repository commands. `authorize` is called with the TLS object
    of each new connection; it raises a `SkerryError` to refuse its peer, or returns the
    site that the peer's requests come from: only then may they say that they were
    forwarded. `option` is how people set the port, for an error's hint. With `reuse_port`
    several processes of one user may listen on one port, each taking its share of new
    connections. `handle` is the open file of a Unix socket that listens already: another
    process made it, and removes it. `gate` looks at the token of each request; `loopback_only`
    refuses connections from other machines.
    """

    host: str = "127.0.0.1"
    port: int = 0
    uds: str | None = None
    ssl: SSLContext | None = None
    admin: bool = False
    authorize: Callable[[Any], str | None] | None = None
    option: str = "http-port"
    reuse_port: bool = False
    handle: int | None = None
    gate: "TokenGate | None" = None
    loopback_only: bool = False


class Listening:
    """The open addresses of one door."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._by_port: dict[int, asyncio.Server] = {}
        self._sockets_made: list[str] = []

    async def open(self, listener: Listener, connection: Callable[[], Any]) -> int:
        """Open one address and return its port (0 for a Unix socket)."""
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {"ssl": listener.ssl, "backlog": BACKLOG}
        if listener.ssl is not None:
            tls["ssl_handshake_timeout"] = TLS_HANDSHAKE_S_MAX
        if listener.uds is not None:
            if listener.handle is not None:
                made = socket.socket(fileno=listener.handle)
            else:
                made = unix_socket(listener.uds)
                self._sockets_made.append(listener.uds)
            self._servers.append(await loop.create_unix_server(connection, sock=made, **tls))
            return 0
        made = bound_socket(
            listener.host, listener.port, option=listener.option, reuse_port=listener.reuse_port
        )
        server = await loop.create_server(connection, sock=made, **tls)
        self._servers.append(server)
        port = int(made.getsockname()[1])
        self._by_port[port] = server
        return port

    def close(self, port: int) -> None:
        """Take no new connection on one port; those that are open stay."""
        server = self._by_port.pop(port, None)
        if server is not None:
            server.close()
            self._servers.remove(server)

    def stop(self) -> None:
        """Take no new connection."""
        for server in self._servers:
            server.close()

    def clean(self) -> None:
        """Remove the Unix sockets made."""
        for path in self._sockets_made:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def unix_socket(path: str) -> socket.socket:
    """Return a Unix socket bound to a path, which only its owner can open."""
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
    return made


def bound_socket(
    host: str, port: int, *, option: str, reuse_port: bool = False, listens: bool = True
) -> socket.socket:
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
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
        if listens:  # two processes may bind with REUSEADDR, but only one may listen
            made.listen(BACKLOG)
    except OSError as error:
        made.close()
        why = "in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise PortBusyError(option, where, why) from error
    return made
