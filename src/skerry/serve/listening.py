"""Addresses that a door listens on: TCP, TCP with TLS, Unix sockets.

Errors:  PortBusyError, when an address cannot be listened on.
"""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from skerry.serve.errors import PortBusyError
from skerry.serve.http_door import BACKLOG, TLS_HANDSHAKE_S_MAX, Listener, bound_socket


class Listening:
    """The open addresses of one door."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._sockets_made: list[str] = []

    async def open(self, listener: Listener, connection: Callable[[], Any]) -> int:
        """Open one address and return its port (0 for a Unix socket)."""
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {"ssl": listener.ssl, "backlog": BACKLOG}
        if listener.ssl is not None:
            tls["ssl_handshake_timeout"] = TLS_HANDSHAKE_S_MAX
        if listener.uds is not None:
            made = unix_socket(listener.uds)
            self._sockets_made.append(listener.uds)
            self._servers.append(await loop.create_unix_server(connection, sock=made, **tls))
            return 0
        made = bound_socket(listener.host, listener.port, option=listener.option)
        self._servers.append(await loop.create_server(connection, sock=made, **tls))
        return int(made.getsockname()[1])

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
