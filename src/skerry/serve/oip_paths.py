"""The Open Inference Protocol's HTTP paths, on top of a service and an infer function.

    GET  /v2                               POST /v2/models/M[/versions/V]/infer
    GET  /v2/health/live|ready             POST /v2/repository/index
    GET  /v2/models/M[/versions/V][/ready] POST /v2/repository/models/M/load|unload

Load takes one parameter of ours, `skerry-folder`: the absolute path of a version folder
to put into service in place of what serves now. Load and unload work on admin
listeners only, and never for a web page: a browser on this machine reaches loopback too.
"""

from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

import msgspec

from skerry.schema.oip import HEADER_SERVED_BY, InferFunction
from skerry.schema.oip_documents import PARAMETER_FOLDER, IndexRequest, LoadRequest
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_facts import format_served_by, read_facts
from skerry.schema.oip_http import (
    HEADER_JSON_LENGTH,
    decode_request,
    encode_reply,
    parse_json_length,
)
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import HttpError, NotAdminError
from skerry.serve.extension_paths import extension_paths
from skerry.serve.http_message import JSON, HttpReply, HttpRequest, json_reply
from skerry.serve.model_config import refuse_overrides
from skerry.serve.service import Service

Document = TypeVar("Document")

_BINARY = "application/octet-stream"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class OipPaths:
    """The handler of an inference door."""

    def __init__(self, service: Service, infer: InferFunction) -> None:
        self._service = service
        self._infer = infer

    async def __call__(self, request: HttpRequest) -> HttpReply:
        """Answer one request."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match parts:
            case ["v2", "models", model, "infer"]:
                return await self._answer(request, model, "")
            case ["v2", "models", model, "versions", version, "infer"]:
                return await self._answer(request, model, version)
            case ["v2", "repository", "index"]:
                return self._index(request)
            case ["v2", "repository", "models", model, "load" | "unload" as verb]:
                return await self._command(request, model, verb)
        reply = self._look(parts)
        if reply is None:
            reply = await extension_paths.answer(self._service, request, parts)
            if reply is not None:
                return reply
            raise HttpError(404, f"there is nothing at {request.path[:200]}")
        _need(request, "GET")
        return reply

    def _look(self, parts: list[str]) -> HttpReply | None:
        match parts:
            case ["v2"]:
                return json_reply(self._service.server_metadata())
            case ["v2", "health", "live"]:
                return HttpReply()
            case ["v2", "health", "ready"]:
                return _ready(self._service.ready())
            case ["v2", "models", model]:
                return json_reply(self._service.metadata(model))
            case ["v2", "models", model, "runtime"]:
                return json_reply(self._service.runtime(model))
            case ["v2", "models", model, "ready"]:
                return _ready(self._service.model_ready(model))
            case ["v2", "models", model, "versions", version]:
                return json_reply(self._service.metadata(model, version))
            case ["v2", "models", model, "versions", version, "ready"]:
                return _ready(self._service.model_ready(model, version))
        return None

    async def _answer(self, request: HttpRequest, model: str, version: str) -> HttpReply:
        _need(request, "POST")
        headers = request.headers
        length = parse_json_length(headers.get(HEADER_JSON_LENGTH))
        regions = self._service.regions
        read = regions.read if request.admin else None
        call = decode_request(model, version, request.body, length, read)
        if call.request.wishes:
            regions.check(call.request.wishes)
        call.request.received_s = request.received_s
        read_facts(call.request, headers.get, peer_site=request.peer_site)
        reply = await self._infer(call.request)
        if call.request.wishes:
            self._service.fulfil(call.request, reply)
        answer = HttpReply()
        if reply.served_by is not None:
            served = format_served_by(reply.served_by)
            reply.parameters[HEADER_SERVED_BY] = served
            answer.headers.append((HEADER_SERVED_BY, served))
        json_length, answer.body = encode_reply(reply, call)
        if json_length is not None:
            answer.content_type = _BINARY
            answer.headers.append((HEADER_JSON_LENGTH, str(json_length)))
        return answer

    def _index(self, request: HttpRequest) -> HttpReply:
        _need(request, "POST")
        wanted = _decoded(request.body or b"{}", IndexRequest)
        return json_reply(self._service.index(ready_only=wanted.ready))

    async def _command(self, request: HttpRequest, model: str, verb: str) -> HttpReply:
        _need(request, "POST")
        if not request.admin or "origin" in request.headers or "sec-fetch-site" in request.headers:
            raise NotAdminError(f"{verb} of a model")
        parameters = _decoded(request.body or b"{}", LoadRequest).parameters
        if verb == "unload":
            await self._service.unload(model)
            return HttpReply()
        refuse_overrides(list(parameters))
        folder = parameters.get(PARAMETER_FOLDER)
        path = None if folder is None else Path(_decoded(bytes(folder), str))
        await self._service.load(model, path)
        return HttpReply()


class MetricsPage:
    """The handler of the metrics door: `GET /metrics`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, request: HttpRequest) -> HttpReply:
        """Answer one scrape."""
        if request.path != "/metrics":
            raise HttpError(404, "metrics are at /metrics")
        _need(request, "GET")
        return HttpReply(content_type=_PROMETHEUS, body=[self._service.metrics_text()])


def _need(request: HttpRequest, method: str) -> None:
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise HttpError(405, f"{request.path[:200]} takes {method}, not {request.method}")


def _ready(ready: bool) -> HttpReply:
    return HttpReply(status=200 if ready else 503, content_type=JSON)


def _decoded(body: Buffer, kind: type[Document]) -> Document:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OipError("request body", f"not what this path takes ({error})", "JSON") from error
