"""The processes of `skerry serve`: one server alone, a worker of several, or their parent.

What a server needs is loaded by the processes that serve: the parent of several stays small.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.base.errors import Exit, SkerryError
from skerry.base.processes import end_with_parent, settle
from skerry.cli.output import print_json, print_table, say, say_next
from skerry.serve.settings import Ports, ServeSettings
from skerry.serve.workers_plan import Failed, Started, WorkerPlan

if TYPE_CHECKING:
    from skerry.schema.model import Card
    from skerry.schema.oip import InferFunction
    from skerry.serve.server import Server


def alone(settings: ServeSettings, *, as_json: bool) -> int:
    """Serve in this process."""
    server = make_server(settings)

    async def serve() -> None:
        stop = _asked_to_stop()
        await server.start()
        settle()
        _report(settings, server.ports, _started(server), workers=1, as_json=as_json)
        await stop.wait()
        say("stopping: answering what is under way")
        await server.stop()

    _run(serve())
    return Exit.DONE


def worker() -> int:
    """Be one worker of several: told what to do on stdin, saying on stdout that it is ready."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=WorkerPlan)
    end_with_parent(plan.parent_pid)
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    server = make_server(plan.settings, plan)

    async def serve() -> None:
        stop = _asked_to_stop()
        await server.start()
        settle()
        _say_to_parent(_started(server))
        await stop.wait()
        await server.stop()

    try:
        _run(serve())
    except SkerryError as error:
        exit_code = int(error.exit_code)
        _say_to_parent(
            Failed(code=error.code, text=str(error), hint=error.hint, exit_code=exit_code)
        )
        return exit_code
    return Exit.DONE


def several(settings: ServeSettings, count: int, *, as_json: bool) -> int:
    """Be the parent of several workers."""
    from skerry.serve.workers import Workers

    command = (
        sys.executable,
        "-m",
        "skerry",
        "serve",
        f"--repository={settings.repository}",
        "--worker",
    )
    workers = Workers(settings, count, command=command, say=say)

    async def serve() -> None:
        stop = _asked_to_stop()
        starting = asyncio.ensure_future(workers.start())
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            stopping.cancel()
            return
        _report(settings, workers.ports, starting.result(), workers=count, as_json=as_json)
        await stopping
        say("stopping: answering what is under way")
        await workers.stop()

    with asyncio.Runner() as runner:
        runner.run(serve())
    return Exit.DONE


def make_server(settings: ServeSettings, plan: WorkerPlan | None = None) -> "Server":
    """Return a server that takes files and explains, as a node does."""
    from skerry.base.clock import SystemClock
    from skerry.learn.explainer import Explainer
    from skerry.pipeline.front import wrap as with_front
    from skerry.serve.server import Server

    def wrap(infer: "InferFunction") -> "InferFunction":
        """Take files where a card says how, and explain what is asked for."""
        explainer = Explainer(
            infer,
            run=lambda request: server.service.run_apart(request),
            asked=lambda: server.service.count(),
            metadata=lambda *of: server.service.metadata(*of),
            cards=card,
            node=settings.node,
            clock=SystemClock(),
        )
        return with_front(explainer.infer, card)

    def card(model: str, version: str) -> "Card | None":
        return server.service.card(model, version)

    server = Server(settings, wrap=wrap, worker=plan)
    return server


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # no wheel for this machine: a little slower, otherwise the same
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _asked_to_stop() -> asyncio.Event:
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


def _started(server: "Server") -> Started:
    """Return what people are told of a server that serves."""
    from skerry.serve.model_runtime import providers_of

    runs_on = {
        (slot.name, slot.version_text): providers_of(slot)[0]
        for slot in server.service.repository.slots()
    }
    rows = server.service.index()
    return Started(
        models=rows,
        runs_on=[runs_on.get((row.name, row.version), "-") for row in rows],
        warnings=[f"warning[{error.code}]: {error}" for error in server.refused],
    )


def _say_to_parent(said: Started | Failed) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


def _report(
    settings: ServeSettings, ports: Ports, started: Started, *, workers: int, as_json: bool
) -> None:
    """Print where the doors are and what serves; data on stdout, words on stderr."""
    for warning in started.warnings:
        say(warning)
    if as_json:
        document = {
            "host": settings.host,
            "http_port": ports.http,
            "grpc_port": ports.grpc,
            "metrics_port": ports.metrics,
            "uds": settings.uds,
            "grpc_uds": settings.grpc_uds,
            "workers": workers,
            "models": started.models,
        }
        print_json("serve", document)
        return
    host = settings.host
    doors = [("http", ports.http), ("grpc", ports.grpc), ("metrics", ports.metrics)]
    table = [(door, f"{host}:{port}") for door, port in doors]
    if settings.uds:
        table.append(("uds", settings.uds))
    if settings.grpc_uds:
        table.append(("grpc uds", settings.grpc_uds))
    print_table(("DOOR", "ADDRESS"), table)
    if workers > 1:
        say(f"{workers} workers share these doors")
    models = [
        (row.name, row.version, row.state.lower(), runs_on)
        for row, runs_on in zip(started.models, started.runs_on, strict=True)
    ]
    if models:
        print_table(("MODEL", "VERSION", "STATE", "RUNS ON"), models)
    else:
        say(f"warning: {settings.repository} holds no models")
    scheme = "https" if settings.tls_chain else "http"
    say_next(f"curl {scheme}://{host}:{ports.http}/v2")
