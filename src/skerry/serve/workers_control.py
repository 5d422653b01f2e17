"""The control door of a worker: what its parent and its siblings ask of it.

It listens on a Unix socket in a folder that only this user can enter. It answers every
path of the HTTP door for this worker alone, and beside them

    GET  /metrics        the worker's own numbers
    POST /rpc/<method>   the message of a gRPC call that changes something
    GET  /state          what was changed since the start, for a worker that joins
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from skerry.base.clock import SystemClock
from skerry.base.processes import is_alive
from skerry.base.sockets import socket_address
from skerry.schema.oip import InferFunction
from skerry.schema.oip_documents import RegionStatus
from skerry.serve.errors import HttpError, NotReadyError, ServeError
from skerry.serve.grpc_call import Call, Work
from skerry.serve.grpc_works import GrpcWorks
from skerry.serve.http_door import HttpDoor
from skerry.serve.http_message import HttpReply, HttpRequest, json_reply, need_method
from skerry.serve.listening import Listener
from skerry.serve.log_settings import LOGGER, Setting
from skerry.serve.oip_paths import MetricsPage, OipPaths
from skerry.serve.service import Service
from skerry.serve.workers_plan import WorkerPlan
from skerry.serve.workers_siblings import RPC, Siblings, works_everywhere

STATE = "/state"


class WorkerState(msgspec.Struct, kw_only=True):
    """What clients may have changed of a server since it started."""

    folders: dict[str, dict[str, str]]
    """Model to version to the folder that it was loaded from."""
    regions: list[RegionStatus]
    logs: dict[str, Setting]
    traces: dict[str, str | list[str]]


class ControlPaths:
    """The handler of the control door."""

    def __init__(self, service: Service, infer: InferFunction) -> None:
        self._service = service
        self._oip = OipPaths(service, infer)
        self._works = GrpcWorks(service, infer)
        self._metrics = MetricsPage(service)

    async def __call__(self, request: HttpRequest) -> HttpReply:
        """Answer one request."""
        path = request.path
        if path == "/metrics":
            return await self._metrics(request)
        if path == STATE:
            need_method(request, "GET")
            if not self._service.accepting:
                raise NotReadyError("starting, or stopping")
            return json_reply(state_of(self._service))
        if request.method == "POST" and not self._service.accepting:
            raise NotReadyError("starting, or stopping")  # it takes over the change when it joins
        if path.startswith(RPC):
            need_method(request, "POST")
            work = self._works.unary.get(path.removeprefix(RPC))
            if work is None:
                raise HttpError(404, f"there is no {path[:200]}")
            call = Call(metadata={}, received_s=request.received_s, admin=True)
            return HttpReply(body=await work(request.body, call))
        return await self._oip(request)


def state_of(service: Service) -> WorkerState:
    """Return what clients may have changed."""
    traces = service.trace_settings()
    traces.pop("trace_file", None)
    return WorkerState(
        folders=service.repository.folders(),
        regions=service.regions.status(),
        logs=service.logs.values(),
        traces=traces,
    )


class Control:
    """What makes a server one worker of several: its control door, and its siblings."""

    def __init__(self, plan: WorkerPlan, service: Service, infer: InferFunction) -> None:
        self.siblings = Siblings(plan.index, plan.controls)
        self._plan, self._service = plan, service
        self._path = Path(plan.controls[plan.index])
        self._door = HttpDoor(ControlPaths(service, infer), clock=SystemClock())
        self._held = ExitStack()

    async def open(self) -> None:
        """Open the control door."""
        address = self._held.enter_context(socket_address(self._path))
        await self._door.listen(Listener(uds=address, admin=True))

    async def join(self) -> None:
        """Begin to be ready, with all that siblings were told while this worker was not there."""
        async with self.siblings.turn():
            await catch_up(self._service, self.siblings)
            self._service.open()

    def everywhere(self, works: Mapping[str, Work]) -> dict[str, Work]:
        """Return the RPCs that change a server, each done by every worker."""
        return works_everywhere(works, self.siblings)

    async def close(self) -> None:
        """Close the control door; where the parent is gone, the last worker clears up."""
        self.siblings.close()
        await self._door.stop(0)
        self._held.close()
        if not is_alive(self._plan.parent_pid):
            with suppress(OSError):  # others still use the folder
                self._path.parent.rmdir()


async def catch_up(service: Service, siblings: Siblings) -> None:
    """Bring a worker that starts to where its siblings are; to be called in its turn.

    What cannot be taken over is logged, and left out: a worker that serves less is better
    than one that does not start.
    """
    found = await siblings.ask_any(STATE)
    if found is None:
        return
    theirs = msgspec.json.decode(found, type=WorkerState)
    mine = service.repository.folders()
    for model in mine.keys() - theirs.folders.keys():
        await service.unload(model)
    for model, versions in theirs.folders.items():
        if mine.get(model) == versions or len(versions) != 1:
            continue
        try:
            await service.load(model, Path(*versions.values()))
        except ServeError as error:
            LOGGER.warning("a worker that joined lacks a model: %s", error)
    for region in theirs.regions:
        try:
            service.regions.register(region.name, region.key, region.offset, region.byte_size)
        except ServeError as error:
            LOGGER.warning("a worker that joined lacks shared memory: %s", error)
    logs = {name: value for name, value in theirs.logs.items() if name != "log_file"}
    if logs.items() - service.logs.values().items():
        service.logs.change(logs)
    service.change_trace_settings(theirs.traces)
