"""One server: repository, service and doors, started and stopped together.

`skerry serve` runs it as it is; a node's worker puts its router in front of the service
(`wrap`) and adds listeners of its own for peers.

Units:   seconds.
Errors:  PortBusyError, RepositoryError; a model that cannot be served does not stop the
         others: it is in `refused` and in the repository index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from skerry.base.clock import Clock, SystemClock
from skerry.base.ports import is_loopback
from skerry.schema.oip import InferFunction
from skerry.serve.door_tls import DoorTls
from skerry.serve.errors import ServeError
from skerry.serve.grpc_door import GrpcDoor
from skerry.serve.grpc_works import GrpcWorks
from skerry.serve.http_door import HttpDoor
from skerry.serve.http_message import HttpLimits
from skerry.serve.listening import Listener
from skerry.serve.oip_paths import MetricsPage, OipPaths
from skerry.serve.repository import Repository
from skerry.serve.service import Service
from skerry.serve.upstreams import Upstreams

if TYPE_CHECKING:
    from skerry.serve.grpcio_door import GrpcioDoor

Wrap = Callable[[InferFunction], InferFunction]


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server needs to know. Ports: 0 takes any free one, None leaves the door out."""

    repository: str
    """The model repository, a folder."""
    host: str = "127.0.0.1"
    """The address of every TCP door."""
    http_port: int = 8000
    grpc_port: int | None = 8001
    metrics_port: int | None = 8002
    uds: str | None = None
    """Path of a Unix socket for the HTTP door, beside its port."""
    grpc_uds: str | None = None
    """The same for the gRPC door."""
    grpc_engine: Literal["own", "grpcio"] = "own"
    """What the gRPC door runs on: skerry's own HTTP/2, or the slower grpcio library."""
    tls_chain: str = ""
    """PEM file of a certificate and its issuers: the HTTP and gRPC ports then speak TLS."""
    tls_key: str = ""
    """PEM file of its private key."""
    tls_client_roots: str = ""
    """PEM file of authorities; clients must then show a certificate of theirs."""
    admin_over_tcp: bool = True
    """Whether loopback doors take repository commands; a Unix socket always does."""
    queue_len_max: int = 1024
    """Requests that may wait per model version, however short its runs are."""
    memory_bytes_max: int | None = None
    """Bound for the memory of all loaded models together; None for none."""
    providers: tuple[str, ...] = ()
    """Execution providers by preference, for models whose settings name none."""
    trace_file: str = ""
    """File for traces of requests; empty: none are made. What was in it goes."""
    drain_s: float = 10.0
    """Longest time that requests under way get when the server stops."""
    upstream_hosts: tuple[str, ...] = ()
    """Hosts other than loopback that the server behind a model may be at."""
    upstream_secrets: str = ""
    """Folder of the files that hold secrets for such servers; empty: none is read."""
    container_ports: str = ""
    """File that says at which ports a node's containers are; empty: there are none."""
    site: str = "local"
    node: str = "local/1"
    tier: str = "edge"


@dataclass(slots=True)
class Ports:
    """Where the doors listen, as opened; `extra` follows the listeners given."""

    http: int = 0
    grpc: int = 0
    metrics: int = 0
    extra: tuple[int, ...] = ()


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
        self._http = HttpDoor(OipPaths(self.service, self._infer), clock=self._clock, limits=limits)
        self._metrics = HttpDoor(MetricsPage(self.service), clock=self._clock)
        self._grpc: GrpcDoor | GrpcioDoor | None = None
        self._tls = (
            DoorTls(
                chain=settings.tls_chain,
                key=settings.tls_key,
                client_roots=settings.tls_client_roots,
            )
            if settings.tls_chain or settings.tls_key or settings.tls_client_roots
            else None
        )

    async def start(self) -> None:
        """Open every door, then load every model; ready when this returns.

        The doors come first, so that a port in use is said at once and health checks
        find a live server that is not ready yet.
        """
        try:
            await self._open_doors()
            self.refused = await self.service.repository.load_all()
        except BaseException:
            await self.stop(grace_s=0)
            raise
        self.service.open()

    async def stop(self, grace_s: float | None = None) -> None:
        """Stop being ready, answer what is under way, close every door."""
        self.service.close()
        grace_s = self.settings.drain_s if grace_s is None else grace_s
        await self._http.stop(grace_s)
        if self._grpc is not None:
            await self._grpc.stop(grace_s)
        await self._metrics.stop(0)
        await self.service.repository.drain()

    async def _open_doors(self) -> None:
        settings = self.settings
        host = settings.host
        admin = settings.admin_over_tcp and is_loopback(host)
        tls = self._tls
        public = Listener(
            host=host,
            port=settings.http_port,
            admin=admin,
            ssl=tls.context("http/1.1") if tls else None,
        )
        self.ports.http = await self._http.listen(public)
        if settings.uds is not None:  # only this user can open it, as on loopback
            await self._http.listen(Listener(uds=settings.uds, admin=True))
        self.ports.extra = tuple([await self._http.listen(one) for one in self._listeners])
        if settings.metrics_port is not None:
            self.ports.metrics = await self._metrics.listen(
                Listener(host=host, port=settings.metrics_port, option="metrics-port")
            )
        if settings.grpc_port is not None:
            public = Listener(host=host, port=settings.grpc_port, admin=admin, option="grpc-port")
            self.ports.grpc = await self._open_grpc(public)
            if settings.grpc_uds is not None and self._grpc is not None:
                await self._grpc.listen(Listener(uds=settings.grpc_uds, admin=True))

    async def _open_grpc(self, public: Listener) -> int:
        works, tls = GrpcWorks(self.service, self._infer), self._tls
        if self.settings.grpc_engine == "own":
            self._grpc = own = GrpcDoor(works, clock=self._clock)
            return await own.listen(replace(public, ssl=tls.context("h2") if tls else None))
        from skerry.serve.grpcio_door import GrpcioDoor, GrpcTls  # 20 MiB that not all need

        self._grpc = other = GrpcioDoor(works, clock=self._clock)
        return await other.listen(public, GrpcTls(**tls.pem()) if tls else None)
