"""Keeps a set of processes running: starts, watches, restarts with back-off, stops.

Each child writes one line of JSON with `"ready": true` to its standard output once it
really is, and everything it writes after that goes to its log. A child that ends
without being asked is started again, at once the first time and then ever more slowly.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str = ""

    def last_lines(self) -> str:
        """Return the end of the child's log."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
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
        with anyio.move_on_after(ready_s_max):
            while not child.is_ready.is_set():
                waits = [asyncio.create_task(e.wait()) for e in (child.is_ready, child.gone)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
                if child.gone.is_set() and not child.is_ready.is_set():
                    child.wanted = False
                    raise ChildError(name, child.failure or "ended at once", child.last_lines())
        if not child.is_ready.is_set():
            child.wanted = False
            self._signal(child, signal.SIGKILL)
            raise ChildError(name, f"was not ready in {ready_s_max:g} s", child.last_lines())
        return child

    async def stop(self, *names: str) -> None:
        """Ask children to end and wait for it; those that do not end in time are killed."""
        children = [self.children[name] for name in names]
        for child in children:
            child.wanted = False
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
        child.gone.clear()
        self._tasks.start_soon(self._keep, child)
        return child

    def kill(self, name: str) -> None:
        """End a child without warning, as a crash would; it is started again."""
        child = self.children[name]
        child.is_ready.clear()
        self._signal(child, signal.SIGKILL)

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
                if child.wanted:
                    await anyio.sleep(backoff_s)
                backoff_s = min(max(BACKOFF_S_FIRST, backoff_s * 2), BACKOFF_S_MAX)
        finally:
            child.pid = 0
            child.gone.set()

    async def _live(self, child: Child) -> None:
        """Run one life of a child, from its start to its end."""
        child.gone.clear()
        with child.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *child.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=child.environment,
                limit=READY_LINE_BYTES_MAX,
            )
            child.pid = process.pid
            child.starts += 1
            try:
                assert process.stdout is not None  # noqa: S101 - asked for just above
                async for line in process.stdout:
                    if not child.is_ready.is_set() and self._read_ready(child, line):
                        self._on_change(child)
                    else:
                        log.write(line)
                        log.flush()
                code = await process.wait()
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                with anyio.CancelScope(shield=True):
                    await process.wait()
                raise
        child.pid = 0
        child.is_ready.clear()
        child.failure = f"ended with code {code}"
        child.gone.set()

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
