"""The OpenAI API's HTTP paths, on top of a service and an infer function.

    POST /v1/chat/completions   /v1/completions   /v1/embeddings
    GET  /v1/models             /v1/models/M

They are the same door as the Open Inference Protocol's: data class, deadline and trace come
as the same headers, and `skerry-served-by` goes out. Errors have the API's own shape, with
our code and what to do about it.
"""

from skerry.base.errors import SkerryError
from skerry.schema.oip import HEADER_SERVED_BY, InferFunction, InferReply, InferRequest
from skerry.schema.oip_facts import read_facts
from skerry.schema.openai import (
    EVENT_STREAM,
    INPUTS,
    PATHS,
    error_document,
    error_kind,
    read_ask,
    text_tensor,
)
from skerry.serve.errors import HttpError, UnknownModelError, facts_of
from skerry.serve.http_message import (
    HttpReply,
    HttpRequest,
    error_reply,
    json_reply,
    need_method,
)
from skerry.serve.service import Service

DEADLINE_S_DEFAULT = 300.0
"""Time for an answer where the client names none: language models take theirs."""


class OpenAiPaths:
    """The handler of everything below `/v1`."""

    def __init__(self, service: Service, infer: InferFunction) -> None:
        self._service = service
        self._infer = infer

    async def answer(self, request: HttpRequest, parts: list[str]) -> HttpReply:
        """Answer one request; `parts` is the path below `/v1`."""
        try:
            path = "/".join(parts)
            if path in PATHS:
                need_method(request, "POST")
                return await self._ask(request, path)
            if parts[:1] == ["models"] and len(parts) <= 2:
                need_method(request, "GET")
                return self._models(*parts[1:])
            raise HttpError(404, f"there is nothing at {request.path[:200]}")
        except SkerryError as error:
            return _error_reply(error)

    async def _ask(self, request: HttpRequest, path: str) -> HttpReply:
        ask = read_ask(path, request.body)
        asked = InferRequest(
            model=ask.model,
            inputs=[
                text_tensor("path", path.encode()),
                text_tensor("request", bytes(request.body)),
            ],
            deadline_s=DEADLINE_S_DEFAULT,
            received_s=request.received_s,
            body_bytes=len(request.body),
            client=request.client,
            streams=ask.stream,
        )
        read_facts(asked, request.headers.get, peer_site=request.peer_site)
        reply = await self._infer(asked)
        answer = HttpReply()
        if ask.stream:
            answer.content_type = EVENT_STREAM
            answer.headers.append(("cache-control", "no-cache"))
        if reply.served_by is not None:
            answer.headers.append((HEADER_SERVED_BY, reply.served_by.text))
        if reply.stream is not None:
            answer.stream = reply.stream
        else:  # from another node a stream comes whole, with all its events
            answer.body = [_text_of(reply)]
        return answer

    def _models(self, name: str = "") -> HttpReply:
        rows = [
            {"id": slot.name, "object": "model", "created": 0, "owned_by": "skerry"}
            for slot in self._service.repository.serving()
            if not slot.why_not and slot.model.inputs == INPUTS
        ]
        if not name:
            return json_reply({"object": "list", "data": rows})
        for row in rows:
            if row["id"] == name:
                return json_reply(row)
        raise UnknownModelError(name)


def _text_of(reply: InferReply) -> bytes:
    for output in reply.outputs:
        if output.name == "answer" and output.datatype == "BYTES" and output.data.size == 1:
            return bytes(output.data.flat[0])
    raise HttpError(502, f"model {reply.model} gave no answer of a language model")


def _error_reply(error: SkerryError) -> HttpReply:
    status, _, _ = facts_of(error)
    document = error_document(str(error), error_kind(status), error.code, error.hint)
    reply = json_reply(document, status)
    reply.headers += error_reply(error).headers
    return reply
