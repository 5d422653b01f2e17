"""The HTTP door's handler: inference by the shortest way, every other path from the table.

Load, unload and whatever else changes the server work on admin listeners only, and never
for a web page: a browser on this machine reaches loopback too.
"""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from skerry.schema.oip import HEADER_SERVED_BY, InferFunction, InferRequest
from skerry.schema.oip_facts import read_facts
from skerry.schema.oip_forms import FORM_BYTES_MAX, decode, encode
from skerry.schema.oip_http import HEADER_JSON_LENGTH, parse_json_length
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import HttpError, MethodError
from skerry.serve.extension_paths import all_paths
from skerry.serve.http_head import Head
from skerry.serve.http_message import (
    HttpReply,
    HttpRequest,
    head_lines,
    length_line,
    need_method,
)
from skerry.serve.openai_paths import OpenAiPaths
from skerry.serve.service import Service

if TYPE_CHECKING:
    from skerry.serve.workers_siblings import Siblings

_BINARY = "application/octet-stream"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


_LINES_MAX = 256


class _Inference:
    """What the head of an inference request says."""

    __slots__ = ("_facts", "has_facts", "json_length", "model", "version")

    def __init__(self, head: Head, model: str, version: str) -> None:
        if head.method != "POST":
            raise MethodError(head.path, head.method, ("POST",))
        self.model, self.version = model, version
        self.json_length = parse_json_length(head.headers.get(HEADER_JSON_LENGTH))
        self._facts = InferRequest(model=model, inputs=[])
        read_facts(self._facts, head.headers.get)
        self.has_facts = self._facts != InferRequest(model=model, inputs=[])

    def give_facts(self, request: InferRequest) -> None:
        """Put skerry's own facts into a request that states none itself."""
        facts = self._facts
        request.data_class, request.deadline_s = facts.data_class, facts.deadline_s
        request.traceparent, request.priority = facts.traceparent, facts.priority
        if facts.parameters:
            request.parameters = facts.parameters


class OipPaths:
    """The handler of an inference door."""

    def __init__(
        self, service: Service, infer: InferFunction, siblings: "Siblings | None" = None
    ) -> None:
        self._siblings = siblings
        self._service = service
        self._infer = infer
        self._lines: dict[Buffer, tuple[int, bytes, int]] = {}
        self._openai = OpenAiPaths(service, infer)

    def __call__(self, request: HttpRequest) -> Coroutine[Any, Any, HttpReply]:
        """Answer one request."""
        plan = request.head.plan
        if type(plan) is _Inference:
            return self._answer(request, plan)
        return self._find_answer(request)

    async def _find_answer(self, request: HttpRequest) -> HttpReply:
        plan = request.head.plan
        if plan is None:
            plan = request.head.plan = self._plan(request.head)
        if type(plan) is _Inference:
            return await self._answer(request, plan)
        parts: list[str] = plan
        if parts[0] == "v1":
            return await self._openai.answer(request, parts[1:])
        reply = await all_paths.answer(self._service, request, parts, self._siblings)
        if reply is None:
            raise HttpError(404, f"there is nothing at {request.path[:200]}")
        return reply

    def _plan(self, head: Head) -> "_Inference | list[str]":
        """Settle what a head asks for, once for every request that has the same head."""
        parts = [unquote(part) for part in head.path.strip("/").split("/")]
        match parts:
            case ["v2", "models", model, "infer"]:
                return _Inference(head, model, "")
            case ["v2", "models", model, "versions", version, "infer"]:
                return _Inference(head, model, version)
            case ["v1", *_]:
                head.ends_with_client = True
        return parts

    async def _answer(self, request: HttpRequest, plan: "_Inference") -> HttpReply:
        regions = self._service.regions.read if request.admin else None
        call = decode(plan.model, plan.version, request.body, plan.json_length, regions)
        wanted = call.request
        if wanted.wishes:
            self._service.regions.check(wanted.wishes)
        wanted.received_s, wanted.client = request.received_s, request.client
        if wanted.parameters or request.peer_site is not None:
            read_facts(wanted, request.headers.get, peer_site=request.peer_site)
        elif plan.has_facts:
            plan.give_facts(wanted)
        reply = await self._infer(wanted)
        if wanted.wishes:
            self._service.fulfil(wanted, reply)
        served = ""
        if reply.served_by is not None:
            served = reply.parameters[HEADER_SERVED_BY] = reply.served_by.text
        json_length, body = encode(reply, call)
        if json_length is None or request.head.reply_coding:
            return _reply(json_length, served, body)
        # Where every tensor is raw, the JSON says how long they are, and who served.
        known = self._lines.get(body[0])
        if known is not None and known[0] == len(body):
            return HttpReply(lines=known[1], body=body, size=known[2])
        lines = head_lines(_reply(json_length, served, body), length_line(body))
        if len(body) - 1 == len(reply.outputs) and len(body[0]) <= FORM_BYTES_MAX:
            if len(self._lines) >= _LINES_MAX:
                self._lines.clear()
            self._lines[bytes(body[0])] = (len(body), lines, sum(map(len, body)))
        return HttpReply(lines=lines, body=body)


class MetricsPage:
    """The handler of the metrics door: `GET /metrics`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, request: HttpRequest) -> HttpReply:
        """Answer one scrape."""
        if request.path != "/metrics":
            raise HttpError(404, "metrics are at /metrics")
        need_method(request, "GET")
        return HttpReply(content_type=_PROMETHEUS, body=[self._service.metrics_text()])


def _reply(json_length: int | None, served: str, body: list[Buffer]) -> HttpReply:
    reply = HttpReply(body=body)
    if served:
        reply.headers.append((HEADER_SERVED_BY, served))
    if json_length is not None:
        reply.content_type = _BINARY
        reply.headers.append((HEADER_JSON_LENGTH, str(json_length)))
    return reply
