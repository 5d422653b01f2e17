"""Peers over gRPC: the same calls, facts and errors as over HTTP, on grpcio.

Deadlines travel as gRPC's own and as metadata, skerry's facts as metadata. A channel
is opened with the first call and belongs to the event loop of that call.

Errors:  PeerUnreachableError, PeerAnsweredError, PeerBrokenError, TimeoutError.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
import grpc.aio

from skerry.base.errors import UsageError
from skerry.base.http_client import ANSWER_BYTES_MAX, CONNECT_S_MAX
from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError
from skerry.route.endpoint import Duration, ModelStatistics
from skerry.route.errors import PeerAnsweredError
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.model import TensorSpec
from skerry.schema.oip import HEADER_SERVED_BY, InferReply, InferRequest
from skerry.schema.oip_documents import PARAMETER_FOLDER, IndexRow, ModelMetadata, ServerMetadata
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_facts import parse_served_by, write_facts
from skerry.schema.oip_grpc import SERVICE, decode_reply, encode_request, parse

ERROR_CHARS_MAX: Final = 400
DEADLINE_S_MIN: Final = 0.001

_STATUS_OF: Final = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

_COMPRESSION: Final = {
    "": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
    "zstd": grpc.Compression.Gzip,  # gRPC has no zstd
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcRoots:
    """PEM bytes for `grpcs://`: whom to trust (None: the system's roots), and who one is."""

    roots: bytes | None = None
    key: bytes | None = None
    chain: bytes | None = None


class GrpcEndpoint:
    """One server's gRPC door; see `route.endpoint.Endpoint`."""

    def __init__(
        self,
        url: str,
        trust: GrpcRoots | None = None,
        *,
        connect_s_max: float = CONNECT_S_MAX,
        headers: Sequence[tuple[str, str]] = (),
        compression: str = "",
    ) -> None:
        self.url = url
        self._target, self._tls = _target(url)
        self._trust = trust or GrpcRoots()
        self._compression = _COMPRESSION[compression]
        self._metadata = tuple((name.lower(), value) for name, value in headers)
        self._connect_ms_max = round(connect_s_max * 1000)
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}

    async def infer(self, request: InferRequest, deadline_s: float) -> InferReply:
        """Send one inference request."""
        facts = list(write_facts(request, deadline_s).items())
        data, call = await self._call("ModelInfer", encode_request(request), deadline_s, facts)
        try:
            reply = decode_reply(data)
            served = reply.parameters.get(HEADER_SERVED_BY)
            if served is None:
                served = dict(await call.trailing_metadata() or ()).get(HEADER_SERVED_BY)
            reply.served_by = parse_served_by(str(served)) if served else None
        except OipError as error:
            raise PeerBrokenError(self.url, str(error)) from error
        return reply

    async def ready(self, model: str, version: str, deadline_s: float) -> bool:
        """Say whether it would answer."""
        try:
            if model:
                asked: Any = pb.ModelReadyRequest(name=model, version=version)
                answer = await self._ask("ModelReady", asked, pb.ModelReadyResponse(), deadline_s)
            else:
                answer = await self._ask(
                    "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse(), deadline_s
                )
        except PeerAnsweredError:
            return False
        return bool(answer.ready)

    async def server(self, deadline_s: float) -> ServerMetadata:
        """Say who answers there."""
        found = await self._ask(
            "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse(), deadline_s
        )
        return ServerMetadata(
            name=found.name, version=found.version, extensions=tuple(found.extensions)
        )

    async def metadata(self, model: str, version: str, deadline_s: float) -> ModelMetadata:
        """Describe a model."""
        asked = pb.ModelMetadataRequest(name=model, version=version)
        found = await self._ask("ModelMetadata", asked, pb.ModelMetadataResponse(), deadline_s)
        return ModelMetadata(
            name=found.name,
            versions=tuple(found.versions),
            platform=found.platform,
            inputs=_specs(found.inputs),
            outputs=_specs(found.outputs),
        )

    async def models(self, deadline_s: float) -> list[IndexRow]:
        """List its model versions."""
        found = await self._ask(
            "RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse(), deadline_s
        )
        return [
            IndexRow(name=row.name, version=row.version, state=row.state, reason=row.reason)
            for row in found.models
        ]

    async def statistics(
        self, model: str, version: str, deadline_s: float
    ) -> list[ModelStatistics]:
        """Count what its models did."""
        asked = pb.ModelStatisticsRequest(name=model, version=version)
        found = await self._ask("ModelStatistics", asked, pb.ModelStatisticsResponse(), deadline_s)
        return [
            ModelStatistics(
                name=row.name,
                version=row.version,
                last_inference=row.last_inference,
                inference_count=row.inference_count,
                execution_count=row.execution_count,
                inference_stats={
                    field.name: Duration(count=value.count, ns=value.ns)
                    for field, value in row.inference_stats.ListFields()
                },
            )
            for row in found.model_stats
        ]

    async def load(self, model: str, folder: str, deadline_s: float) -> None:
        """Load or swap a model."""
        asked = pb.RepositoryModelLoadRequest(model_name=model)
        if folder:
            asked.parameters[PARAMETER_FOLDER].string_param = folder
        await self._ask("RepositoryModelLoad", asked, pb.RepositoryModelLoadResponse(), deadline_s)

    async def unload(self, model: str, deadline_s: float) -> None:
        """Take a model out of service."""
        asked = pb.RepositoryModelUnloadRequest(model_name=model)
        await self._ask(
            "RepositoryModelUnload", asked, pb.RepositoryModelUnloadResponse(), deadline_s
        )

    async def register(self, name: str, key: str, byte_size: int, deadline_s: float) -> None:
        """Tell it of a shared memory region of this machine."""
        asked = pb.SystemSharedMemoryRegisterRequest(name=name, key=key, byte_size=byte_size)
        told = pb.SystemSharedMemoryRegisterResponse()
        await self._ask("SystemSharedMemoryRegister", asked, told, deadline_s)

    async def unregister(self, name: str, deadline_s: float) -> None:
        """Have it forget a region."""
        asked = pb.SystemSharedMemoryUnregisterRequest(name=name)
        told = pb.SystemSharedMemoryUnregisterResponse()
        await self._ask("SystemSharedMemoryUnregister", asked, told, deadline_s)

    async def aclose(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _ask(self, method: str, asked: Any, answer: Any, deadline_s: float) -> Any:
        data, _ = await self._call(method, asked.SerializeToString(), deadline_s, ())
        try:
            return parse(answer, data)
        except OipError as error:
            raise PeerBrokenError(self.url, str(error)) from error

    async def _call(
        self, method: str, data: bytes, deadline_s: float, facts: Sequence[tuple[str, str]]
    ) -> tuple[bytes, Any]:
        """Return the answer's bytes, and the call for what else it said."""
        call = self._method(method)(
            data, timeout=max(deadline_s, DEADLINE_S_MIN), metadata=(*self._metadata, *facts)
        )
        # grpcio raises a cancellation of its own in place of the one that hit the caller, and
        # whoever asked for that one would not know it again: so a future of ours is awaited.
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call.add_done_callback(lambda _: None if done.done() else done.set_result(None))
        try:
            await done
        finally:
            call.cancel()  # does nothing to a call that is over
        try:
            return await call, call
        except grpc.aio.AioRpcError as error:
            raise self._error_of(error) from error

    def _method(self, name: str) -> Any:
        known = self._methods.get(name)
        if known is None:
            if self._channel is None:
                self._channel = self._open()
            path = f"/{SERVICE}/{name}"
            known = self._methods[name] = self._channel.unary_unary(path)
        return known

    def _open(self) -> grpc.aio.Channel:
        options = (
            ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),  # the router alone decides who is asked again
            ("grpc.min_reconnect_backoff_ms", self._connect_ms_max),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.use_local_subchannel_pool", 1),
        )
        if not self._tls:
            return grpc.aio.insecure_channel(self._target, options, self._compression)
        trust = self._trust
        credentials = grpc.ssl_channel_credentials(trust.roots, trust.key, trust.chain)
        return grpc.aio.secure_channel(self._target, credentials, options, self._compression)

    def _error_of(self, error: grpc.aio.AioRpcError) -> Exception:
        name, text = error.code().name, (error.details() or "")[:ERROR_CHARS_MAX]
        trailing = dict(error.trailing_metadata() or ())
        told = str(trailing.get("skerry-error-code", ""))
        if not told and name == "DEADLINE_EXCEEDED":
            return TimeoutError(f"{self.url}: no answer in time")
        if not told and name == "UNAVAILABLE":
            return PeerUnreachableError(self.url, text)
        status = 400 if told and name == "UNIMPLEMENTED" else _STATUS_OF.get(name, 500)
        pushback = str(trailing.get("grpc-retry-pushback-ms", ""))
        after_s = int(pushback) / 1000 if pushback.isdigit() and len(pushback) < 9 else None
        return PeerAnsweredError(self.url, status, text, after_s, told)


def _target(url: str) -> tuple[str, bool]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("grpc", "grpcs") or not parts.hostname or parts.path.strip("/"):
        raise UsageError(f"{url!r} is not an inference address", "write grpc(s)://host:port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    tls = parts.scheme == "grpcs"
    return f"{host}:{port or (443 if tls else 8001)}", tls


def _specs(found: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=one.name, datatype=one.datatype, shape=tuple(one.shape)) for one in found
    )
