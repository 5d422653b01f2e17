"""Addresses that several workers share: reserved by their parent, listened on by them.

A reserved port is bound and never listened on: the kernel spreads new connections over
those who listen, and the port stays this server's while a worker is started again.

Errors:  PortBusyError, as for a server of one process.
"""

import socket
from contextlib import ExitStack
from pathlib import Path

from skerry.serve.listening import BACKLOG, bound_socket, unix_socket


def reserved(held: ExitStack, host: str, port: int, *, option: str) -> int:
    """Hold a port for processes of this user that share it; return its number."""
    # A second server with workers could share the port unseen, so one that shares with
    # nobody asks first.
    with bound_socket(host, port, option=option) as probe:
        number = int(probe.getsockname()[1])
    held.enter_context(bound_socket(host, number, option=option, reuse_port=True, listens=False))
    return number


def shared_unix_socket(held: ExitStack, path: str) -> socket.socket:
    """Listen on a Unix socket whose open file workers inherit; its path goes with `held`."""
    made = held.enter_context(unix_socket(path))
    held.callback(Path(path).unlink, missing_ok=True)
    made.listen(BACKLOG)
    made.setblocking(False)
    return made
