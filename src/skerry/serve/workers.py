"""Several processes behind one server's ports, one per core: `skerry serve --workers`.

The parent answers no inference. It holds the ports, starts the workers and starts again
what ends by itself, adds up their numbers behind the metrics door, and ends them all.
Each worker is a whole server of one event loop; the kernel spreads connections.

    parent: ports, Unix sockets, metrics
      worker 0..N-1: HTTP and gRPC on the shared ports, a control door in a private folder

Units:   seconds.
Errors:  PortBusyError; WorkerError, which carries what a worker said that could not start.
"""

import asyncio
import contextlib
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.base.clock import SystemClock
from skerry.base.errors import Exit
from skerry.base.http_client import Address, HttpClient
from skerry.base.sockets import socket_address
from skerry.serve.errors import ServeError
from skerry.serve.listening import Listener
from skerry.serve.settings import Ports, ServeSettings
from skerry.serve.workers_plan import Asked, Failed, Started, WorkerPlan, plans_of
from skerry.serve.workers_sockets import reserved, shared_unix_socket

if TYPE_CHECKING:
    from skerry.serve.http_door import HttpDoor

SAID_BYTES_MAX = 4 * 1024 * 1024
PAUSE_S_FIRST = 0.1
PAUSE_S_MAX = 10.0
STEADY_S = 10.0
"""A worker that lived this long starts again without a pause."""
STOP_S_MORE = 5.0
"""How long beyond its drain a worker has to end before it is killed."""
SCRAPE_S_MAX = 2.0


class WorkerError(ServeError):
    """A worker process ended before it served, so the server does not start.

    The code, the text and the help are those of the worker, where it could say why.
    """

    code = "E0452"

    def __init__(self, index: int, said: Failed | None, how: str) -> None:
        super().__init__(index, said, how)
        self.index, self.said, self.how = index, said, how
        if said is not None:
            self.code = said.code  # type: ignore[misc]
            self.exit_code = Exit(said.exit_code)

    def __str__(self) -> str:
        return self.said.text if self.said else f"worker {self.index} {self.how} before it served"

    @property
    def hint(self) -> str:
        """Pass on the worker's."""
        return self.said.hint if self.said else "what it wrote above says why"


@dataclass(slots=True)
class _Worker:
    """One worker's number, and its process as it is now."""

    plan: WorkerPlan
    ready: "asyncio.Future[Started]"
    life: int = 0
    process: Process | None = None
    said: Failed | None = field(default=None)


class Workers:
    """The workers of one server."""

    def __init__(
        self,
        settings: ServeSettings,
        count: int,
        *,
        command: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        """`command` with a worker's number at its end starts one; `say` tells people words."""
        self._settings, self._count = settings, count
        self._command, self._say = command, say
        self.ports = Ports()
        self._held = ExitStack()
        self._handles: list[int] = []
        self._workers: list[_Worker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._client = HttpClient()
        self._metrics: HttpDoor | None = None

    async def start(self) -> Started:
        """Hold the ports, start every worker, and return what the first says once all serve."""
        try:
            plans = self._plans()
            loop = asyncio.get_running_loop()
            self._workers = [_Worker(plan, loop.create_future()) for plan in plans]
            self._tasks = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
            metrics = asyncio.create_task(self._open_metrics())  # its turn comes after theirs
            started = await asyncio.gather(*(worker.ready for worker in self._workers))
            await metrics
        except BaseException:
            for worker in self._workers:
                worker.ready.cancel()
            await self.stop()
            raise
        return started[0]

    async def stop(self) -> None:
        """Have every worker answer what is under way and end; what does not is killed."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.drain_s + STOP_S_MORE)
            self._signal(signal.SIGKILL)
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._metrics is not None:
            await self._metrics.stop(0)
        self._client.close()
        self._held.close()

    def _plans(self) -> list[WorkerPlan]:
        """Open what workers share, and say to each what it is to do."""
        settings, held, host = self._settings, self._held, self._settings.host
        self.ports.http = reserved(held, host, settings.http_port, option="http-port")
        if settings.grpc_port is not None:
            self.ports.grpc = reserved(held, host, settings.grpc_port, option="grpc-port")
        if settings.metrics_port is not None:
            option = "metrics-port"
            self.ports.metrics = reserved(held, host, settings.metrics_port, option=option)
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="skerry-")))
        uds, grpc_uds = (self._inherited(path) for path in (settings.uds, settings.grpc_uds))
        return plans_of(
            settings,
            self._count,
            ports=self.ports,
            folder=folder,
            uds_handle=uds,
            grpc_uds_handle=grpc_uds,
        )

    async def _open_metrics(self) -> None:
        if self._settings.metrics_port is None:
            return
        # Loaded while the workers load what they need, which takes longer.
        from skerry.serve.http_door import HttpDoor
        from skerry.serve.workers_metrics import WorkersPage

        self._metrics = HttpDoor(WorkersPage(self._asked), clock=SystemClock())
        port, host = self.ports.metrics, self._settings.host
        await self._metrics.listen(
            Listener(host=host, port=port, option="metrics-port", reuse_port=True)
        )

    def _inherited(self, path: str | None) -> int | None:
        if path is None:
            return None
        handle = shared_unix_socket(self._held, path).fileno()
        self._handles.append(handle)
        return handle

    def _asked(self) -> list[Asked]:
        return [
            Asked(worker.plan.index, worker.life, partial(self._page, worker))
            for worker in self._workers
        ]

    async def _page(self, worker: _Worker) -> bytes:
        index = worker.plan.index
        with socket_address(Path(worker.plan.controls[index])) as address:
            answer = await self._client.call(
                Address(f"worker-{index}", 0, socket=address),
                "GET",
                "/metrics",
                deadline_s=SCRAPE_S_MAX,
            )
        return bytes(answer.body)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process is not None and worker.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(number)

    async def _keep(self, worker: _Worker) -> None:
        """Run one life of a worker after the other, until the server stops."""
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while not self._stopping.is_set():
            began_s = loop.time()
            how = await self._live(worker)
            if self._stopping.is_set():
                return
            if not worker.ready.done():
                worker.ready.set_exception(WorkerError(worker.plan.index, worker.said, how))
                return
            if loop.time() - began_s > STEADY_S:
                pause_s = 0.0
            when = f"in {pause_s:g} s" if pause_s else "at once"
            why = f": {worker.said.text}" if worker.said else ""
            self._say(f"warning: worker {worker.plan.index} {how}{why}; it starts again {when}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            pause_s = min(max(PAUSE_S_FIRST, pause_s * 2), PAUSE_S_MAX)

    async def _live(self, worker: _Worker) -> str:
        """Run one life of a worker; return how it ended."""
        worker.said = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(worker.plan.index),
                stdin=PIPE,
                stdout=PIPE,
                pass_fds=self._handles,
                limit=SAID_BYTES_MAX,
            )
        except OSError as error:
            return f"could not be started ({error.strerror or error})"
        worker.process = process
        worker.life += 1
        try:
            if self._stopping.is_set():  # stopped while it was being started
                self._signal(signal.SIGTERM)
            return await self._watch(worker, process, msgspec.json.encode(worker.plan))
        finally:
            worker.process = None
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def _watch(self, worker: _Worker, process: Process, plan: bytes) -> str:
        """Tell a worker its plan, hear what it says, and wait for its end."""
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        process.stdin.write(plan)
        process.stdin.close()
        with contextlib.suppress(ValueError, msgspec.DecodeError):  # it ended: its code tells
            said = msgspec.json.decode(await process.stdout.readline(), type=Started | Failed)
            if isinstance(said, Failed):
                worker.said = said
            elif not worker.ready.done():
                worker.ready.set_result(said)
            elif not self._stopping.is_set():
                self._say(f"worker {worker.plan.index} serves again")
        while await process.stdout.read(65_536):
            pass
        code = await process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
