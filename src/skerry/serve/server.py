"""One server: repository, service and doors, started and stopped together.

`skerry serve` runs it as it is; a node's worker puts its router in front of the service
(`wrap`) and adds listeners of its own for peers.

Units:   seconds.
Errors:  PortBusyError, RepositoryError; a model that cannot be served does not stop the
         others: it is in `refused` and in the repository index.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.base.clock import Clock, SystemClock
from skerry.base.ports import is_loopback
from skerry.schema.oip import InferFunction
from skerry.serve.client_gate import Clients
from skerry.serve.door_tls import clients_of, door_tls
from skerry.serve.errors import ServeError
from skerry.serve.grpc_door import GrpcDoor
from skerry.serve.grpc_works import GrpcWorks
from skerry.serve.http_door import HttpDoor
from skerry.serve.http_message import HttpLimits
from skerry.serve.listening import Listener
from skerry.serve.oip_paths import MetricsPage, OipPaths
from skerry.serve.repository import Repository
from skerry.serve.service import Service
from skerry.serve.settings import Ports, ServeSettings
from skerry.serve.upstreams import Upstreams

if TYPE_CHECKING:
    from skerry.serve.grpcio_door import GrpcioDoor
    from skerry.serve.workers_control import Control
    from skerry.serve.workers_plan import WorkerPlan

Wrap = Callable[[InferFunction], InferFunction]


class Server:
    """A repository behind doors."""

    def __init__(
        self,
        settings: ServeSettings,
        *,
        clock: Clock | None = None,
        wrap: Wrap | None = None,
        listeners: Sequence[Listener] = (),
        limits: HttpLimits | None = None,
        worker: "WorkerPlan | None" = None,
        clients: Clients | None = None,
    ) -> None:
        self.settings = settings
        self.ports = Ports()
        self.refused: list[ServeError] = []
        """Why models of the repository are not served, as found by `start`."""
        self._clock = clock or SystemClock()
        upstreams = Upstreams(
            clock=self._clock,
            hosts=settings.upstream_hosts,
            secrets=Path(settings.upstream_secrets) if settings.upstream_secrets else None,
            ports=Path(settings.container_ports) if settings.container_ports else None,
        )
        repository = Repository(
            Path(settings.repository),
            queue_len_max=settings.queue_len_max,
            clock=self._clock,
            memory_bytes_max=settings.memory_bytes_max,
            providers=settings.providers,
            upstreams=upstreams,
        )
        self.service = Service(
            repository,
            clock=self._clock,
            site=settings.site,
            node=settings.node,
            tier=settings.tier,
            trace_file=Path(settings.trace_file) if settings.trace_file else None,
        )
        upstreams.spent = self.service.metrics.spent
        self._infer = wrap(self.service.infer) if wrap is not None else self.service.infer
        self._listeners = listeners
        self._worker, self._control = worker, _control(worker, self.service, self._infer)
        siblings = self._control.siblings if self._control is not None else None
        paths = OipPaths(self.service, self._infer, siblings)
        self._http = HttpDoor(paths, clock=self._clock, limits=limits)
        self._metrics = HttpDoor(MetricsPage(self.service), clock=self._clock)
        self._grpc: GrpcDoor | GrpcioDoor | None = None
        self._tls = door_tls(settings)
        self._clients = clients or clients_of(settings, self._tls)
        self._public: dict[str, Listener] = {}

    async def start(self) -> None:
        """Open every door, then load every model; ready when this returns.

        The doors come first, so that a port in use is said at once and health checks
        find a live server that is not ready yet. Of several workers, which their parent
        keeps the ports for, none takes requests before it can answer them.
        """
        try:
            if self._control is None:
                await self._open_doors()
                self.refused = await self.service.repository.load_all()
                self.service.open()
            else:
                await self._control.open()
                self.refused = await self.service.repository.load_all()
                await self._control.join()
                await self._open_doors()
        except BaseException:
            await self.stop(grace_s=0)
            raise

    async def stop(self, grace_s: float | None = None) -> None:
        """Stop being ready, answer what is under way, close every door."""
        self.service.close()
        grace_s = self.settings.drain_s if grace_s is None else grace_s
        await self._http.stop(grace_s)
        if self._grpc is not None:
            await self._grpc.stop(grace_s)
        await self._metrics.stop(0)
        if self._control is not None:
            await self._control.close()
        await self.service.repository.drain()

    async def admit(self, clients: Clients) -> None:
        """Open the public doors under other terms, on the same ports; nothing under way is lost."""
        self._clients = clients
        for name, tls in (("http", clients.http_tls), ("grpc", clients.grpc_tls)):
            old = self._public.get(name)
            door = self._http if name == "http" else self._grpc
            if old is None or not isinstance(door, HttpDoor | GrpcDoor):
                continue
            new = self._public[name] = replace(
                old,
                port=getattr(self.ports, name),
                ssl=tls,
                gate=clients.gate,
                loopback_only=clients.loopback_only,
            )
            await door.reopen(old, new)

    def recheck(self) -> None:
        """Cut connections whose peers may no longer be here, as their listeners say."""
        self._http.recheck()

    async def _open_doors(self) -> None:
        settings = self.settings
        host = settings.host
        admin = settings.admin_over_tcp and is_loopback(host)
        clients, worker = self._clients, self._worker
        public = self._public["http"] = Listener(
            host=host,
            port=settings.http_port,
            admin=admin,
            ssl=clients.http_tls,
            reuse_port=worker is not None,
            gate=clients.gate,
            loopback_only=clients.loopback_only,
        )
        self.ports.http = await self._http.listen(public)
        if settings.uds is not None:  # only this user can open it, as on loopback
            handle = worker.uds_handle if worker is not None else None
            await self._http.listen(Listener(uds=settings.uds, admin=True, handle=handle))
        self.ports.extra = tuple([await self._http.listen(one) for one in self._listeners])
        if settings.metrics_port is not None:
            self.ports.metrics = await self._metrics.listen(
                Listener(host=host, port=settings.metrics_port, option="metrics-port")
            )
        if settings.grpc_port is not None:
            public = Listener(
                host=host,
                port=settings.grpc_port,
                admin=admin,
                option="grpc-port",
                ssl=clients.grpc_tls,
                reuse_port=worker is not None,
                gate=clients.gate,
                loopback_only=clients.loopback_only,
            )
            self._public["grpc"] = public
            self.ports.grpc = await self._open_grpc(public)
            if settings.grpc_uds is not None and self._grpc is not None:
                handle = worker.grpc_uds_handle if worker is not None else None
                await self._grpc.listen(Listener(uds=settings.grpc_uds, admin=True, handle=handle))

    async def _open_grpc(self, public: Listener) -> int:
        works, tls = GrpcWorks(self.service, self._infer), self._tls
        if self._control is not None:
            works.unary.update(self._control.everywhere(works.unary))
        if self.settings.grpc_engine == "own":
            self._grpc = own = GrpcDoor(works, clock=self._clock)
            return await own.listen(public)
        from skerry.serve.grpcio_door import GrpcioDoor, GrpcTls  # 20 MiB that not all need

        self._grpc = other = GrpcioDoor(works, clock=self._clock)
        return await other.listen(public, GrpcTls(**tls.pem()) if tls else None)


def _control(
    worker: "WorkerPlan | None", service: Service, infer: InferFunction
) -> "Control | None":
    if worker is None:
        return None
    from skerry.serve.workers_control import Control

    return Control(worker, service, infer)
