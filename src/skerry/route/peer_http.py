"""Peers over HTTP, in the words of the OIP: one endpoint each, and the router's calls to them.

Requests travel with the binary tensor extension and skerry's facts as headers. The
node behind an https address must show a certificate with its own site's name.

Errors:  PeerUnreachableError, PeerAnsweredError, PeerBrokenError, TimeoutError.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from skerry.base.coding import CODINGS, CodingError, compress, decompress
from skerry.base.drive import in_task
from skerry.base.errors import UsageError
from skerry.base.http_client import ANSWER_BYTES_MAX, Address, Answer, HttpClient, Piece
from skerry.base.http_errors import PeerBrokenError
from skerry.base.http_stream import StreamedAnswer, open_stream
from skerry.route.endpoint import ModelStatistics, probe
from skerry.route.errors import PeerAnsweredError
from skerry.schema.answer_stream import AnswerStream
from skerry.schema.desired import Peer
from skerry.schema.oip import HEADER_SERVED_BY, InferReply, InferRequest
from skerry.schema.oip_documents import (
    PARAMETER_FOLDER,
    ErrorDocument,
    IndexRow,
    ModelMetadata,
    ServerMetadata,
)
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_facts import parse_served_by, write_facts
from skerry.schema.oip_http import (
    HEADER_JSON_LENGTH,
    decode_reply,
    encode_request,
    parse_json_length,
)
from skerry.schema.openai import error_text, read_ask
from skerry.schema.openai_stream import events_of

Document = TypeVar("Document")
Headers = Sequence[tuple[str, str]]

COMPRESS_FROM_BYTES: Final = 1024
ERROR_CHARS_MAX: Final = 400
ERROR_BYTES_MAX: Final = 64 * 1024
READY_PATH: Final = "/v2/health/ready"


def address_of(url: str, server_name: str = "") -> Address:
    """Read `http(s)://host[:port]` or `unix:///path`; raises `UsageError` for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme == "unix" and parts.path and not parts.netloc:
        return Address("localhost", 80, socket=parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise UsageError(f"{url!r} is not an inference address", "write http(s)://host:port")
    tls = parts.scheme == "https"
    return Address(parts.hostname, port or (443 if tls else 80), tls, server_name)


class HttpEndpoint:
    """One server's HTTP door; see `route.endpoint.Endpoint`. The client is not closed by it."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        address: Address,
        headers: Headers = (),
        compression: str = "",
    ) -> None:
        self.url = url
        self._client, self._address, self._headers = client, address, tuple(headers)
        self._accepts = (("accept-encoding", compression),) if compression else ()
        self._coding = compression

    async def infer(self, request: InferRequest, deadline_s: float) -> InferReply:
        """Send one inference request."""
        if request.streams:
            return await self._stream(request, deadline_s)
        json_length, body = encode_request(request)
        headers = [("content-type", "application/octet-stream"), *self._headers]
        if json_length is not None:
            headers.append((HEADER_JSON_LENGTH, str(json_length)))
        headers += write_facts(request, deadline_s).items()
        answer = await self._send(request, headers, body, deadline_s)
        if answer.status != 200:
            raise self._error_of(answer)
        try:
            reply = decode_reply(
                answer.body, parse_json_length(answer.headers.get(HEADER_JSON_LENGTH))
            )
            served = answer.headers.get(HEADER_SERVED_BY)
            reply.served_by = parse_served_by(served) if served else None
        except OipError as error:
            raise PeerBrokenError(self.url, str(error)) from error
        return reply

    async def _stream(self, request: InferRequest, deadline_s: float) -> InferReply:
        """Ask at the OpenAI API's paths, where an answer comes piece by piece."""
        await in_task()
        texts = {tensor.name: bytes(tensor.data.flat[0]) for tensor in request.inputs}
        ask = read_ask(texts["path"].decode(), texts["request"])
        answer = await self.open(
            f"/v1/{ask.path}",
            msgspec.Raw(ask.body_for(request.model)),
            write_facts(request, deadline_s),
            deadline_s,
        )
        stream = events_of(answer, ask, lambda why: PeerBrokenError(self.url, why))
        late = asyncio.get_running_loop().call_later(deadline_s, stream.cut)

        def ended(_: AnswerStream) -> None:
            late.cancel()
            answer.close()

        stream.when_ended(ended)
        told = answer.headers.get(HEADER_SERVED_BY)
        served = parse_served_by(told) if told else None
        return InferReply(
            model=served.model if served else request.model,
            version=served.version if served else request.version,
            id=request.id,
            outputs=[],
            stream=stream,
            served_by=served,
        )

    async def _send(
        self, request: InferRequest, headers: Headers, body: Sequence[Piece], deadline_s: float
    ) -> Answer:
        """Send a request, compressed where that was asked for and the server takes it."""
        path = _path(request.model, request.version) + "/infer"
        if not self._accepts:
            return await self._client.call(
                self._address, "POST", path, headers=headers, body=body, deadline_s=deadline_s
            )
        started_s = time.monotonic()
        sent, told = body, [*headers, *self._accepts]
        if self._coding and sum(map(len, body)) >= COMPRESS_FROM_BYTES:
            sent = (await asyncio.to_thread(compress, body, self._coding),)
            told.append(("content-encoding", self._coding))
        while True:
            answer = await self._client.call(
                self._address,
                "POST",
                path,
                headers=told,
                body=sent,
                deadline_s=deadline_s - (time.monotonic() - started_s),
            )
            if answer.status != 415 or sent is body:
                return self._plain(answer)
            self._coding = ""  # this server does not know it: from now on bytes go as they are
            sent, told = body, [*headers, *self._accepts]

    def _plain(self, answer: Answer) -> Answer:
        """Return an answer with its body decompressed."""
        coding = answer.headers.get("content-encoding", "identity")
        if coding == "identity":
            return answer
        if coding not in CODINGS:
            raise PeerBrokenError(
                self.url, f"content coding {coding[:40]!r}, which nobody asked for"
            )
        try:
            body = decompress(answer.body, coding, bytes_max=ANSWER_BYTES_MAX)
        except CodingError as error:
            raise PeerBrokenError(self.url, f"its body is not {coding}: {error}") from error
        return Answer(answer.status, answer.headers, bytearray(body))

    async def ready(self, model: str, version: str, deadline_s: float) -> bool:
        """Say whether it would answer."""
        path = _path(model, version) + "/ready" if model else READY_PATH
        return (await self._exchange("GET", path, deadline_s)).status == 200

    async def server(self, deadline_s: float) -> ServerMetadata:
        """Say who answers there."""
        return self._read(await self._ask("GET", "/v2", deadline_s), ServerMetadata)

    async def metadata(self, model: str, version: str, deadline_s: float) -> ModelMetadata:
        """Describe a model."""
        return self._read(await self._ask("GET", _path(model, version), deadline_s), ModelMetadata)

    async def models(self, deadline_s: float) -> list[IndexRow]:
        """List its model versions."""
        answer = await self._ask("POST", "/v2/repository/index", deadline_s, b"{}")
        return self._read(answer, list[IndexRow])

    async def statistics(
        self, model: str, version: str, deadline_s: float
    ) -> list[ModelStatistics]:
        """Count what its models did."""
        path = _path(model, version) if model else "/v2/models"
        answer = await self._ask("GET", f"{path}/stats", deadline_s)
        return self._read(answer, _Statistics).model_stats

    async def load(self, model: str, folder: str, deadline_s: float) -> None:
        """Load or swap a model."""
        await self._command(model, "load", {PARAMETER_FOLDER: folder} if folder else {}, deadline_s)

    async def unload(self, model: str, deadline_s: float) -> None:
        """Take a model out of service."""
        await self._command(model, "unload", {}, deadline_s)

    async def register(self, name: str, key: str, byte_size: int, deadline_s: float) -> None:
        """Tell it of a shared memory region of this machine."""
        wanted = {"key": key, "offset": 0, "byte_size": byte_size}
        await self.document(f"{_region(name)}/register", wanted, deadline_s)

    async def unregister(self, name: str, deadline_s: float) -> None:
        """Have it forget a region."""
        await self.document(f"{_region(name)}/unregister", {}, deadline_s)

    async def document(self, path: str, body: object, deadline_s: float) -> Any:
        """Ask one of its own paths: GET, or POST where there is a body; JSON both ways."""
        if body is None:
            answer = await self._ask("GET", path, deadline_s)
        else:
            answer = await self._ask("POST", path, deadline_s, msgspec.json.encode(body))
        return self._read(answer, object) if answer.body else None

    async def open(
        self, path: str, body: object, facts: Mapping[str, str], deadline_s: float
    ) -> StreamedAnswer:
        """Ask one of its own paths for an answer that is read as it comes; JSON goes in."""
        answer = await open_stream(
            self._address,
            "POST",
            path,
            headers=[("content-type", "application/json"), *self._headers, *facts.items()],
            body=(msgspec.json.encode(body),),
            tls=self._client.tls,
            begin_s_max=deadline_s,
        )
        if answer.status != 200:
            async with asyncio.timeout(deadline_s):
                told = await answer.read(ERROR_BYTES_MAX)
            raise self._error_of(Answer(answer.status, answer.headers, bytearray(told)))
        return answer

    async def aclose(self) -> None:
        """Do nothing: connections belong to the client."""

    async def _command(
        self, model: str, verb: str, parameters: Mapping[str, str], deadline_s: float
    ) -> None:
        path = f"/v2/repository/models/{quote(model, safe='')}/{verb}"
        body = msgspec.json.encode({"parameters": parameters})
        await self._ask("POST", path, deadline_s, body)

    async def _ask(self, method: str, path: str, deadline_s: float, body: bytes = b"") -> Answer:
        answer = await self._exchange(method, path, deadline_s, body)
        if answer.status != 200:
            raise self._error_of(answer)
        return answer

    async def _exchange(
        self, method: str, path: str, deadline_s: float, body: bytes = b""
    ) -> Answer:
        return await self._client.call(
            self._address,
            method,
            path,
            headers=self._headers,
            body=(body,) if body else (),
            deadline_s=deadline_s,
        )

    def _read(self, answer: Answer, kind: type[Document]) -> Document:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PeerBrokenError(self.url, str(error)) from error

    def _error_of(self, answer: Answer) -> PeerAnsweredError:
        try:
            told = msgspec.json.decode(answer.body, type=ErrorDocument)
        except (msgspec.DecodeError, UnicodeDecodeError):
            told = ErrorDocument(error=error_text(bytes(answer.body))[:ERROR_CHARS_MAX])
        after = answer.headers.get("retry-after", "")
        after_s = float(after) if after.isascii() and after.isdigit() and len(after) < 6 else None
        return PeerAnsweredError(
            self.url, answer.status, told.error[:ERROR_CHARS_MAX], after_s, told.code
        )


class HttpPeers:
    """Calls peers by their URL, or by `dial` (node to host:port) where one is given.

    `server_name` gives the name that a peer's certificate must carry.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        server_name: Callable[[Peer], str] = lambda peer: "",
        dial: Mapping[str, str] | None = None,
    ) -> None:
        self._client, self._server_name = client, server_name
        self._dial = dict(dial or {})
        self._endpoints: dict[tuple[str, str], HttpEndpoint] = {}

    async def call(self, peer: Peer, request: InferRequest, deadline_s: float) -> InferReply:
        """Send one inference request; see `route.router.CallPeer`."""
        return await self.endpoint(peer).infer(request, deadline_s)

    async def probe(self, peer: Peer) -> None:
        """Ask whether a peer is ready."""
        await probe(self.endpoint(peer))

    def endpoint(self, peer: Peer) -> HttpEndpoint:
        """Return the endpoint of a peer; the same one for the same peer."""
        key = (peer.node, peer.url)
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            address = address_of(peer.url, self._server_name(peer))
            if peer.node in self._dial:
                host, _, port = self._dial[peer.node].rpartition(":")
                name = address.server_name or address.host
                address = Address(host.strip("[]"), int(port), address.tls, name)
            endpoint = self._endpoints[key] = HttpEndpoint(self._client, peer.url, address)
        return endpoint


class _Statistics(msgspec.Struct, frozen=True, kw_only=True):
    model_stats: list[ModelStatistics]


def _path(model: str, version: str) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _region(name: str) -> str:
    return f"/v2/systemsharedmemory/region/{quote(name, safe='')}"
