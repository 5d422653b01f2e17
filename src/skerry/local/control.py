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

from skerry.base.errors import SkerryError
from skerry.base.files import PRIVATE_FILE_MODE
from skerry.base.sockets import socket_address
from skerry.local.errors import NotRunningError, OrderRefusedError

LINE_BYTES_MAX = 4096
LINE_S_MAX = 5.0
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
            answer = await _answer(reader, obey)
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
        except (OSError, TimeoutError):
            pass  # it did not ask in time, or did not wait for the answer
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    with socket_address(path) as address:
        server = await asyncio.start_unix_server(one, path=address, limit=LINE_BYTES_MAX)
    path.chmod(PRIVATE_FILE_MODE)
    try:
        await anyio.sleep_forever()
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _answer(reader: asyncio.StreamReader, obey: Obey) -> Answer:
    """Read one order and carry it out; whatever is wrong with it is the answer."""
    try:
        line = await asyncio.wait_for(reader.readline(), LINE_S_MAX)
        return await obey(msgspec.json.decode(line, type=Order))
    except KeyError as error:
        return Answer(error=f"no process is called {error}")
    except (SkerryError, ValueError) as error:
        return Answer(error=str(error))


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
                with socket_address(self._path) as address:
                    connection.connect(address)
                connection.sendall(msgspec.json.encode(order) + b"\n")
                line = connection.makefile("rb").readline()
        except OSError as error:
            raise NotRunningError(str(self._path.parent.parent)) from error
        if not line:  # it ended in the middle
            raise NotRunningError(str(self._path.parent.parent))
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error:
            raise OrderRefusedError(" ".join((order.verb, *order.names)), answer.error)
        return answer
