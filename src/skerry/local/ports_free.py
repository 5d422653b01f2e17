"""Whether the ports of a local fleet can be listened on, asked before anything is started.

A child that finds its port taken says so too, each in its own way and seconds later.
"""

import socket
import time
from collections.abc import Mapping

import anyio

from skerry.local.errors import PortTakenError
from skerry.local.ports import LOOPBACK

FREE_S_MAX = 5.0
"""What a killed fleet left behind ends within this time, and its ports are free again."""
LOOK_S = 0.1


async def until_free(ports: Mapping[str, int], file: str) -> None:
    """Return once every port is free; raises `PortTakenError` for one that stays taken."""
    deadline_s = time.monotonic() + FREE_S_MAX
    for name, port in ports.items():
        while not _free(port):
            if time.monotonic() > deadline_s:
                raise PortTakenError(name, port, file)
            await anyio.sleep(LOOK_S)


def _free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True
