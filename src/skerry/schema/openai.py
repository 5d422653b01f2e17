"""The OpenAI API's requests and answers, as far as a door must know them.

A request is held against its bounds, its model's name is read and replaced, and the rest
travels as it came: servers differ in what they take, and know it best. It rides through
the house as an inference request of two inputs, `path` and `request`, and comes back as
`answer` and `usage`, so routing, residency and records are those of every model.

Shapes:  `path`, `request`, `answer` are BYTES [1]; `usage` is INT64 [2], tokens in and out.
Errors:  OpenAiRequestError.
Source:  platform.openai.com/docs/api-reference; vLLM and llama.cpp for what differs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

from skerry.base.errors import SkerryError
from skerry.schema.model import TensorSpec
from skerry.schema.oip import InferReply, Tensor

CHAT, COMPLETIONS, EMBEDDINGS = "chat/completions", "completions", "embeddings"
PATHS = (CHAT, COMPLETIONS, EMBEDDINGS)
MESSAGES_MAX = 4096
REQUEST_BYTES_MAX = 16 * 1024**2
EVENT_BYTES_MAX = 1024**2
ERROR_CHARS_MAX = 400
EVENT_STREAM = "text/event-stream"

INPUTS = (
    TensorSpec(name="path", datatype="BYTES", shape=(1,)),
    TensorSpec(name="request", datatype="BYTES", shape=(1,)),
)
OUTPUTS = (
    TensorSpec(name="answer", datatype="BYTES", shape=(1,)),
    TensorSpec(name="usage", datatype="INT64", shape=(2,)),
)

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Many = Annotated[int, msgspec.Meta(ge=1, le=128)]
_Texts = Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MESSAGES_MAX * 16)]
_EVENT_END = re.compile(rb"\r?\n\r?\n")


class OpenAiRequestError(SkerryError):
    """A request to a `/v1` path that cannot be taken; the text names the field and its bounds.

    Fields that are not named in the reference are passed on to the server behind the model.
    """

    code = "E0161"
    http_status: ClassVar[int] = 400
    grpc_code: ClassVar[str] = "INVALID_ARGUMENT"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"not a request for this path: {self.why}"


class _Message(msgspec.Struct):
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Generates(msgspec.Struct):
    model: _Name
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: _Many | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None


class _Chat(_Generates, kw_only=True):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1, max_length=MESSAGES_MAX)]


class _Completion(_Generates, kw_only=True):
    prompt: str | _Texts


class _Embedding(msgspec.Struct):
    model: _Name
    input: str | _Texts


_KINDS: dict[str, type[msgspec.Struct]] = {
    CHAT: _Chat,
    COMPLETIONS: _Completion,
    EMBEDDINGS: _Embedding,
}


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    usage: _Usage | None = None
    choices: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True)
class OpenAiAsk:
    """A request: whom it is for, whether its answer comes piece by piece, and its fields."""

    path: str
    model: str
    stream: bool
    wants_usage: bool
    """Whether a stream shall end with its usage; else that event is for us alone."""
    fields: dict[str, msgspec.Raw]

    def body_for(self, model: str) -> bytes:
        """Return the request as the server behind gets it; a stream always tells its usage."""
        fields: dict[str, Any] = {**self.fields, "model": model}
        if self.stream:
            options = msgspec.json.decode(self.fields.get("stream_options", b"{}")) or {}
            fields["stream_options"] = {**options, "include_usage": True}
        return msgspec.json.encode(fields)


def read_ask(path: str, body: bytes | bytearray | memoryview) -> OpenAiAsk:
    """Hold a request against its bounds."""
    kind = _KINDS.get(path)
    if kind is None:
        raise OpenAiRequestError(f"path is {path[:80]!r}, wanted one of {', '.join(PATHS)}")
    if len(body) > REQUEST_BYTES_MAX:
        raise OpenAiRequestError(f"{len(body)} bytes, wanted at most {REQUEST_BYTES_MAX}")
    try:
        found: Any = msgspec.json.decode(body, type=kind)
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OpenAiRequestError(str(error)) from error
    options = getattr(found, "stream_options", None)
    return OpenAiAsk(
        path=path,
        model=found.model,
        stream=getattr(found, "stream", None) is True,
        wants_usage=options is not None and options.include_usage is True,
        # Raw values alias the body, which is gone before a queue has moved.
        fields={name: msgspec.Raw(bytes(value)) for name, value in fields.items()},
    )


def text_tensor(name: str, value: bytes) -> Tensor:
    """Return one text as BYTES [1]."""
    data = np.empty(1, dtype=np.object_)
    data[0] = value
    return Tensor(name, "BYTES", (1,), data)


def usage_in(answer: bytes | bytearray) -> tuple[int, int]:
    """Return the tokens in and out that an answer states, whole or as events; 0 if it does not."""
    if answer.lstrip()[:1] == b"{":
        usage, _ = _usage_of(bytes(answer))
        return usage or (0, 0)
    last = (0, 0)
    for event in Events().feed(bytes(answer)):
        last = usage_of_event(event)[0] or last
    return last


def usage_of_event(event: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Return the usage that an event states, and whether it states nothing else."""
    if b'"usage"' not in event:
        return None, False
    lines = event.splitlines()
    data = b"\n".join(line[5:].lstrip() for line in lines if line.startswith(b"data:"))
    return _usage_of(data)


def tokens_of(reply: InferReply) -> tuple[int, int]:
    """Return the tokens in and out of an answer that states them; 0 of any other."""
    if reply.stream is not None:
        return reply.stream.tokens_in, reply.stream.tokens_out
    last = reply.outputs[-1] if reply.outputs else None
    if last is None or last.name != "usage" or last.datatype != "INT64" or last.shape != (2,):
        return 0, 0
    return int(last.data[0]), int(last.data[1])


class Events:
    """Cuts a stream of bytes into server-sent events, each with the empty line that ends it."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the events that a piece completes."""
        self.rest += piece
        at = 0
        for end in _EVENT_END.finditer(self.rest):
            yield self.rest[at : end.end()]
            at = end.end()
        self.rest = self.rest[at:]
        if len(self.rest) > EVENT_BYTES_MAX:
            raise ValueError(f"an event of over {EVENT_BYTES_MAX} bytes")


def error_document(text: str, kind: str, code: str, hint: str) -> dict[str, dict[str, str | None]]:
    """Return an error in the API's own shape, with our code and what to do."""
    return {
        "error": {"message": text, "type": kind, "param": None, "code": code or None, "hint": hint}
    }


def error_text(body: bytes) -> str:
    """Return the words of an error answer: `error`, `error.message`, `message` or `detail`."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body[:ERROR_CHARS_MAX].decode("utf-8", "replace").strip()
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return (found if isinstance(found, str) else str(found))[:ERROR_CHARS_MAX]


def error_kind(status: int) -> str:
    """Return the API's word for a status."""
    return _ERROR_KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")


_ERROR_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _usage_of(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    try:
        found = msgspec.json.decode(data, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, False
    if found.usage is None:
        return None, False
    return (found.usage.prompt_tokens, found.usage.completion_tokens), not found.choices
