"""Keeps a set of processes running: starts, watches, restarts with back-off, stops.

Each child writes one line of JSON with `"ready": true` to its standard output once it
really is, and everything it writes after that goes to its log, which is bounded. A child
that ends without being asked is started again, at once the first time and then ever more
slowly.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import anyio.abc
import msgspec

from skerry.base.files import private_folder
from skerry.local.errors import ChildError

READY_LINE_BYTES_MAX = 64 * 1024
BACKOFF_S_FIRST = 0.1
BACKOFF_S_MAX = 5.0
STEADY_S = 10.0
"""A child that lived this long starts again without back-off."""
STOP_S = 8.0
LAST_LINES = 20
LAST_LINES_BYTES_MAX = 64 * 1024
LOG_BYTES_MAX = 8 * 1024 * 1024
"""A log that grew beyond this moves aside, so two of them are what a child costs at most."""
LOG_LOOK_S = 5.0
ORDERLY_S_MAX = 3 * STOP_S
"""A cancelled group leaves its children this long to whoever stops them in order."""
DRAIN_S = 1.0
"""How long what a child's own children still hold of its output is waited for."""


@dataclass(slots=True)
class Child:
    """One process and what is known of it. `ready` is its ready line, decoded."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    wanted: bool = True
    pid: int = 0
    starts: int = 0
    ready: dict[str, Any] = field(default_factory=dict)
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, whenever a life ends, the child is ready or is to stop."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody keeps it any more."""
    ends: int = 0
    """Lives that have ended."""
    failure: str = ""

    def change(self) -> None:
        """Wake whoever waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()

    def last_lines(self) -> str:
        """Return the end of the child's log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LAST_LINES_BYTES_MAX))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-LAST_LINES:])


class Supervisor:
    """Owns child processes for as long as its task group lives."""

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        logs: Path,
        *,
        on_change: Callable[[Child], None] = lambda _: None,
    ) -> None:
        self._tasks = tasks
        self._logs = private_folder(logs)
        self._on_change = on_change
        self.children: dict[str, Child] = {}

    async def start(
        self,
        name: str,
        arguments: list[str],
        *,
        ready_s_max: float,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a child and wait until it says that it is ready.

        Raises `ChildError` if it ends first or takes longer than `ready_s_max`.
        """
        child = self.launch(name, arguments, environment=environment)
        await self.wait_ready(name, ready_s_max=ready_s_max)
        return child

    def launch(
        self, name: str, arguments: list[str], *, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a child without waiting for it."""
        log = self._logs / f"{name.replace('/', '-')}.log"
        child = Child(name, arguments, {**os.environ, **(environment or {})}, log)
        self.children[name] = child
        self._tasks.start_soon(self._keep, child)
        return child

    async def wait_ready(self, name: str, *, ready_s_max: float) -> Child:
        """Wait until a child is ready; raises `ChildError` at its first failure."""
        child = self.children[name]
        ends = child.ends
        what = f"was not ready in {ready_s_max:g} s"
        with anyio.move_on_after(ready_s_max):
            while not child.is_ready.is_set():
                if child.ends > ends or child.gone.is_set():
                    what = child.failure or "ended at once"
                    break
                await child.changed.wait()
        if child.is_ready.is_set():
            return child
        self._give_up(child)
        self._signal(child, signal.SIGKILL)
        raise ChildError(name, what, child.last_lines())

    async def stop(self, *names: str) -> None:
        """Ask children to end and wait for it; those that do not end in time are killed."""
        children = [self.children[name] for name in names]
        for child in children:
            self._give_up(child)
            self._signal(child, signal.SIGTERM)
        with anyio.move_on_after(STOP_S):
            for child in children:
                await child.gone.wait()
        for child in children:
            if not child.gone.is_set():
                self._signal(child, signal.SIGKILL)
                with anyio.CancelScope(shield=True):
                    await child.gone.wait()

    def relaunch(self, name: str) -> Child:
        """Start a child that was stopped, as it was started before."""
        child = self.children[name]
        if child.wanted:
            return child
        child.wanted = True
        if child.gone.is_set():  # else its keeper goes on with it
            child.gone.clear()
            self._tasks.start_soon(self._keep, child)
        return child

    def kill(self, name: str) -> None:
        """End a child without warning, as a crash would; it is started again."""
        child = self.children[name]
        child.is_ready.clear()
        self._signal(child, signal.SIGKILL)

    @staticmethod
    def _give_up(child: Child) -> None:
        """Do not start it again."""
        child.wanted = False
        child.change()

    def _signal(self, child: Child, number: signal.Signals) -> None:
        if child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    async def _keep(self, child: Child) -> None:
        backoff_s = 0.0
        loop = asyncio.get_running_loop()
        try:
            while child.wanted:
                began_s = loop.time()
                await self._live(child)
                if loop.time() - began_s > STEADY_S:
                    backoff_s = 0.0
                self._on_change(child)
                with anyio.move_on_after(backoff_s):
                    while child.wanted:
                        await child.changed.wait()
                backoff_s = min(max(BACKOFF_S_FIRST, backoff_s * 2), BACKOFF_S_MAX)
        finally:
            child.pid = 0
            child.gone.set()
            child.change()

    async def _live(self, child: Child) -> None:
        """Run one life of a child, from its start to its end."""
        try:
            code = await self._run(child)
            child.failure = f"ended with code {code}"
        except OSError as error:  # no such program, or no more processes
            child.failure = f"could not be started: {error}"
        finally:
            child.pid = 0
            child.is_ready.clear()
            child.ends += 1
            child.change()

    async def _run(self, child: Child) -> int:
        _bound(child.log)
        # A pipe of our own: asyncio's would hold back the word that the child has ended for as
        # long as a child of the child keeps it open.
        ours, theirs = os.pipe()
        with child.log.open("ab") as log, os.fdopen(ours, "rb") as said:
            reader = asyncio.StreamReader(limit=READY_LINE_BYTES_MAX)
            try:
                transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                    lambda: asyncio.StreamReaderProtocol(reader), said
                )
                process = await asyncio.create_subprocess_exec(
                    *child.arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=theirs,
                    stderr=log,
                    env=child.environment,
                )
            finally:
                os.close(theirs)
            child.pid = process.pid
            child.starts += 1
            if not child.wanted:  # stopped while it was being started
                self._signal(child, signal.SIGTERM)
            output = asyncio.create_task(self._read(child, reader, log))
            ended = asyncio.create_task(process.wait())
            try:
                while not ended.done():
                    await asyncio.wait({ended}, timeout=LOG_LOOK_S)
                    _bound(child.log)
                await asyncio.wait({output}, timeout=DRAIN_S)
                return ended.result()
            except asyncio.CancelledError:
                # Whoever starts children stops them, one group after the other, and is
                # being cancelled too: killed now, they would not end as they should.
                with anyio.move_on_after(ORDERLY_S_MAX, shield=True):
                    await asyncio.wait({ended})
                raise
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                with anyio.CancelScope(shield=True):
                    await ended
                output.cancel()
                transport.close()

    async def _read(self, child: Child, output: asyncio.StreamReader, log: BinaryIO) -> None:
        """Find the ready line; all else that a child says goes to its log."""
        while True:
            try:
                line = await output.readline()
            except ValueError:  # longer than any ready line; the reader has let go of it
                continue
            if not line:
                return
            if not child.is_ready.is_set() and self._read_ready(child, line):
                child.change()
                self._on_change(child)
            else:
                log.write(line)
                log.flush()

    @staticmethod
    def _read_ready(child: Child, line: bytes) -> bool:
        try:
            document = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            return False
        if document.get("ready") is not True:
            return False
        child.ready = document
        child.is_ready.set()
        return True


def _bound(log: Path) -> None:
    """Move a log that is too long aside. Whoever writes to it appends, and so goes on at 0."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
