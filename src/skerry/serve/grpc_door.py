"""The gRPC door: the Open Inference Protocol's service on grpcio.

The same answers, limits and facts as the HTTP door. Messages are taken as bytes and
decoded by `schema.oip_grpc`, so a malformed one gets a clear answer of ours.

Units:   bytes and seconds.
Errors:  PortBusyError, when the address cannot be listened on.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
import grpc.aio

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import HEADER_SERVED_BY, InferFunction
from skerry.schema.oip_documents import PARAMETER_FOLDER
from skerry.schema.oip_facts import format_served_by, read_facts
from skerry.schema.oip_grpc import SERVICE, decode_request, encode_reply, parse
from skerry.serve.errors import NotAdminError, PortBusyError, facts_of
from skerry.serve.http_door import bound_socket
from skerry.serve.service import Service

log = logging.getLogger("skerry.serve")

MESSAGE_BYTES_MAX = 64 * 1024**2
CALLS_MAX = 1024
_HEAD_BYTES_MAX = 16 * 1024

Work = Callable[[bytes, Any], Awaitable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcTls:
    """PEM bytes for a TLS listener; with `client_roots` clients must show a certificate."""

    key: bytes
    chain: bytes
    client_roots: bytes | None = None


class GrpcDoor:
    """One gRPC server on one or more addresses."""

    def __init__(
        self,
        service: Service,
        infer: InferFunction,
        *,
        clock: Clock,
        admin: bool,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self._service = service
        self._infer = infer
        self._now_s = clock.monotonic_s
        self._admin = admin
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=CALLS_MAX,
            options=[
                ("grpc.max_receive_message_length", message_bytes_max),
                ("grpc.max_send_message_length", message_bytes_max),
                ("grpc.max_metadata_size", _HEAD_BYTES_MAX),
                ("grpc.so_reuseport", 0),  # a port in use is an error, not a second server
            ],
        )
        works: dict[str, Work] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(_guarded(work))
            for name, work in works.items()
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )

    async def listen(self, host: str, port: int, tls: GrpcTls | None = None) -> int:
        """Open one address and return its port (0 asks for any free one); then `start`."""
        # grpcio does not say why it cannot bind, so a socket of our own asks first.
        bound_socket(host, port, option="grpc-port").close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                return int(self._server.add_insecure_port(address))
            credentials = grpc.ssl_server_credentials(
                [(tls.key, tls.chain)],
                root_certificates=tls.client_roots,
                require_client_auth=tls.client_roots is not None,
            )
            return int(self._server.add_secure_port(address, credentials))
        except RuntimeError as error:
            raise PortBusyError("grpc-port", address) from error

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take no new call, answer those under way, and close."""
        await self._server.stop(grace_s)

    async def _server_live(self, data: bytes, context: Any) -> bytes:
        return _bytes(pb.ServerLiveResponse(live=True))

    async def _server_ready(self, data: bytes, context: Any) -> bytes:
        return _bytes(pb.ServerReadyResponse(ready=self._service.ready()))

    async def _model_ready(self, data: bytes, context: Any) -> bytes:
        wanted = parse(pb.ModelReadyRequest(), data)
        ready = self._service.model_ready(wanted.name, wanted.version)
        return _bytes(pb.ModelReadyResponse(ready=ready))

    async def _server_metadata(self, data: bytes, context: Any) -> bytes:
        found = self._service.server_metadata()
        return _bytes(
            pb.ServerMetadataResponse(
                name=found.name, version=found.version, extensions=found.extensions
            )
        )

    async def _model_metadata(self, data: bytes, context: Any) -> bytes:
        wanted = parse(pb.ModelMetadataRequest(), data)
        found = self._service.metadata(wanted.name, wanted.version)
        message = pb.ModelMetadataResponse(
            name=found.name, versions=found.versions, platform=found.platform
        )
        for side, specs in ((message.inputs, found.inputs), (message.outputs, found.outputs)):
            for spec in specs:
                side.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return _bytes(message)

    async def _model_infer(self, data: bytes, context: Any) -> bytes:
        received_s = self._now_s()
        request = decode_request(data)
        request.received_s = received_s
        metadata = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        read_facts(request, metadata.get)
        left_s = context.time_remaining()
        if left_s is not None:
            stated_s = request.deadline_s
            request.deadline_s = left_s if stated_s is None else min(left_s, stated_s)
        reply = await self._infer(request)
        if reply.served_by is not None:
            served = format_served_by(reply.served_by)
            reply.parameters[HEADER_SERVED_BY] = served
            context.set_trailing_metadata(((HEADER_SERVED_BY, served),))
        return encode_reply(reply)

    async def _index(self, data: bytes, context: Any) -> bytes:
        wanted = parse(pb.RepositoryIndexRequest(), data)
        message = pb.RepositoryIndexResponse()
        for row in self._service.index(ready_only=wanted.ready):
            message.models.add(
                name=row.name, version=row.version, state=row.state, reason=row.reason
            )
        return _bytes(message)

    async def _load(self, data: bytes, context: Any) -> bytes:
        wanted = parse(pb.RepositoryModelLoadRequest(), data)
        self._need_admin("load")
        folder = wanted.parameters.get(PARAMETER_FOLDER)
        path = None if folder is None else Path(folder.string_param)
        await self._service.load(wanted.model_name, path)
        return _bytes(pb.RepositoryModelLoadResponse())

    async def _unload(self, data: bytes, context: Any) -> bytes:
        wanted = parse(pb.RepositoryModelUnloadRequest(), data)
        self._need_admin("unload")
        await self._service.unload(wanted.model_name)
        return _bytes(pb.RepositoryModelUnloadResponse())

    def _need_admin(self, verb: str) -> None:
        if not self._admin:
            raise NotAdminError(f"{verb} of a model")


def _guarded(work: Work) -> Work:
    """Turn errors into statuses, with the hint and the time to wait where there are any."""

    async def call(data: bytes, context: Any) -> bytes:
        try:
            return await work(data, context)
        except SkerryError as error:
            await _abort(context, error)
        except grpc.aio.AbortError:
            raise
        except Exception:
            log.exception("a gRPC call failed")
            await context.abort(
                grpc.StatusCode.INTERNAL, "the server failed on this request; its log says why"
            )
            raise  # never reached: abort raises

    return call


async def _abort(context: Any, error: SkerryError) -> NoReturn:
    _, name, wait_s = facts_of(error)
    trailing = [("skerry-error-code", error.code)]
    if wait_s is not None:  # the name that gRPC's own retry policies read
        trailing.append(("grpc-retry-pushback-ms", str(max(1, round(wait_s * 1000)))))
    code = getattr(grpc.StatusCode, name, grpc.StatusCode.INTERNAL)
    text = f"{error}; {error.hint}" if error.hint else str(error)
    await context.abort(code, text, tuple(trailing))
    raise AssertionError  # never reached: abort raises


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())
