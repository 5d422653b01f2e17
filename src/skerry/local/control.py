"""A hand on the supervisor from another process: kill, hold and release by name.

One line of JSON each way over a Unix socket that only this user can open. Drills use
it, so that a drill from a second terminal does what the demo does.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec

from skerry.base.files import PRIVATE_FILE_MODE
from skerry.local.errors import NotRunningError

LINE_BYTES_MAX = 4096
ORDER_S_MAX = 60.0


class Order(msgspec.Struct, frozen=True):
    """`kill` ends a process as a crash would, `hold` keeps it down, `release` starts it again."""

    verb: str
    names: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order; `pids` of all children, 0 for those that are down."""

    error: str = ""
    pids: dict[str, int] = {}


Obey = Callable[[Order], Awaitable[Answer]]


async def serve_control(path: Path, obey: Obey) -> None:
    """Take orders until cancelled."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            order = msgspec.json.decode(await reader.readline(), type=Order)
            answer = await obey(order)
        except (msgspec.DecodeError, ValueError, KeyError) as error:
            answer = Answer(error=f"{type(error).__name__}: {error}")
        writer.write(msgspec.json.encode(answer) + b"\n")
        await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(one, path=str(path), limit=LINE_BYTES_MAX)
    path.chmod(PRIVATE_FILE_MODE)
    try:
        await anyio.sleep_forever()
    finally:
        server.close()
        path.unlink(missing_ok=True)


class SupervisorControl:
    """Gives orders to the supervisor of a running local fleet. Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def kill(self, *names: str) -> Answer:
        """End processes without warning; the supervisor starts them again."""
        return self._order(Order("kill", names))

    def hold(self, *names: str) -> Answer:
        """Stop processes and keep them down."""
        return self._order(Order("hold", names))

    def release(self, *names: str) -> Answer:
        """Start processes that are held, and wait until they are ready."""
        return self._order(Order("release", names))

    def pids(self) -> dict[str, int]:
        """Return every process of the fleet and its id."""
        return self._order(Order("pids")).pids

    def _order(self, order: Order) -> Answer:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(ORDER_S_MAX)
                connection.connect(str(self._path))
                connection.sendall(msgspec.json.encode(order) + b"\n")
                line = connection.makefile("rb").readline()
        except OSError as error:
            raise NotRunningError(str(self._path.parent.parent)) from error
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error:
            raise ValueError(answer.error)
        return answer
