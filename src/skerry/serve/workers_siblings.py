"""Changes that reach one worker of a server are made by all of them.

A client's load, unload, registration of shared memory or change of settings arrives at
whichever worker holds its connection. That worker makes the change itself and then has
each of its siblings make it, through their control sockets: the same HTTP request, or
the message of the same RPC. One change goes on at a time, whichever worker it came to,
so that all see the same order. A sibling that is not there, or starting, is no failure:
it takes over what the others have before it serves.

Units:   seconds.
Errors:  SiblingError, which names the workers that did not follow; NotReadyError where
         another change does not end.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from skerry.base.drive import in_task
from skerry.base.errors import SkerryError
from skerry.base.http_client import Address, Answer, HttpClient
from skerry.base.sockets import socket_address
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip_documents import ErrorDocument
from skerry.schema.oip_grpc import parse
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import NotReadyError, ServeError
from skerry.serve.grpc_call import Call, Work

CHANGE_S_MAX = 120.0
"""A model load, with room to spare."""
STATE_S_MAX = 10.0
RPC = "/rpc/"
"""Where a control door takes the message of a gRPC call."""
_LOOK_S = 0.005
_NOT_THERE = (FileNotFoundError, ConnectionRefusedError)
_CHANGES: Mapping[str, Callable[[Buffer], bool]] = {
    "RepositoryModelLoad": lambda _: True,
    "RepositoryModelUnload": lambda _: True,
    "SystemSharedMemoryRegister": lambda _: True,
    "SystemSharedMemoryUnregister": lambda _: True,
    "TraceSetting": lambda data: bool(parse(pb.TraceSettingRequest(), data).settings),
    "LogSettings": lambda data: bool(parse(pb.LogSettingsRequest(), data).settings),
}
"""The RPCs that change a server, and whether a message of theirs does."""

Done = TypeVar("Done")


class SiblingError(ServeError):
    """A change was made by the worker that was asked, and not by all of its siblings.

    The text names those that did not follow, and why. Workers of one server should serve
    the same: send the change again, or take it back.
    """

    code = "E0450"

    def __init__(self, failures: dict[int, str]) -> None:
        super().__init__(failures)
        self.failures = failures

    def __str__(self) -> str:
        told = "; ".join(f"worker {index}: {why}" for index, why in self.failures.items())
        return f"not every worker followed this change: {told}"

    @property
    def hint(self) -> str:
        """Say what the state is."""
        return "the other workers made it; send it again, or take it back"


class Siblings:
    """The other workers of a server, as one of them sees them."""

    def __init__(self, index: int, controls: Sequence[str]) -> None:
        self._index = index
        self._controls = [Path(path) for path in controls]
        self._turns = self._controls[0].parent
        self._client = HttpClient()
        self._changes: set[asyncio.Task[object]] = set()

    async def everywhere(
        self, path: str, body: Buffer, here: Callable[[], Awaitable[Done]]
    ) -> Done:
        """Make a change here, then at each sibling: POST `body` to `path` of its control door.

        A client that goes away takes nothing back: what was begun is done by all.
        """
        await in_task()
        change = asyncio.create_task(self._everywhere(path, bytes(body), here))
        self._changes.add(change)
        change.add_done_callback(self._made)
        return await asyncio.shield(change)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold off changes by other workers; the kernel lets go for a worker that dies."""
        handle = os.open(self._turns, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                async with asyncio.timeout(CHANGE_S_MAX):
                    while not _taken(handle):
                        await asyncio.sleep(_LOOK_S)
            except TimeoutError as error:
                raise NotReadyError("another change of this server goes on") from error
            yield
        finally:
            os.close(handle)

    async def ask_any(self, path: str) -> bytes | None:
        """Return what the first sibling that answers says at `path`; None if none does."""
        for index in self._others():
            try:
                answer = await self._call(index, "GET", path, b"", limit_s=STATE_S_MAX)
            except (SkerryError, TimeoutError, OSError):
                continue
            if answer.status == 200:
                return bytes(answer.body)
        return None

    def close(self) -> None:
        """Close the connections to siblings."""
        self._client.close()

    async def _everywhere(
        self, path: str, body: bytes, here: Callable[[], Awaitable[Done]]
    ) -> Done:
        async with self.turn():
            done = await here()
            whys = await asyncio.gather(*(self._repeat(i, path, body) for i in self._others()))
        failures = {i: why for i, why in zip(self._others(), whys, strict=True) if why}
        if failures:
            raise SiblingError(failures)
        return done

    async def _repeat(self, index: int, path: str, body: bytes) -> str:
        """Have a sibling make a change; return why it did not, empty if it did or will."""
        try:
            answer = await self._call(index, "POST", path, body, limit_s=CHANGE_S_MAX)
        except TimeoutError:
            return f"no answer in {CHANGE_S_MAX:g} s"
        except (SkerryError, OSError) as error:
            return "" if isinstance(error.__cause__, _NOT_THERE) else str(error)
        if answer.status < 300:
            return ""
        try:
            refusal = msgspec.json.decode(answer.body, type=ErrorDocument)
        except msgspec.DecodeError:
            return f"it answered {answer.status}"
        return "" if refusal.code == NotReadyError.code else refusal.error

    async def _call(
        self, index: int, method: str, path: str, body: bytes, *, limit_s: float
    ) -> Answer:
        with socket_address(self._controls[index]) as address:
            return await self._client.call(
                Address(f"worker-{index}", 0, socket=address),
                method,
                path,
                body=(body,),
                deadline_s=limit_s,
            )

    def _others(self) -> list[int]:
        return [index for index in range(len(self._controls)) if index != self._index]

    def _made(self, change: "asyncio.Task[object]") -> None:
        self._changes.discard(change)
        if not change.cancelled():
            change.exception()  # whoever asked has it, if anybody still waits


def works_everywhere(works: Mapping[str, Work], siblings: Siblings) -> dict[str, Work]:
    """Return the works that change a server, each done by every worker."""

    async def everywhere(method: str, work: Work, data: Buffer, call: Call) -> list[Buffer]:
        here = partial(work, data, call)
        if not _CHANGES[method](data):
            return await here()
        return await siblings.everywhere(RPC + method, data, here)

    return {method: partial(everywhere, method, works[method]) for method in _CHANGES}


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
