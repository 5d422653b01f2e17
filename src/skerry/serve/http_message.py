"""An HTTP request and a reply, as the door and its handlers exchange them, and the limits."""

import math
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.base.errors import SkerryError
from skerry.schema.oip_documents import ErrorDocument
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import MethodError, facts_of

if TYPE_CHECKING:
    from skerry.serve.http_head import Head

JSON = "application/json"
CHUNKED = b"transfer-encoding: chunked\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one door gives to its clients; each bound is there against a kind of attack."""

    head_bytes_max: int = 16 * 1024
    headers_max: int = 64
    body_bytes_max: int = 64 * 1024**2
    held_bytes_max: int = 512 * 1024**2
    """All bodies of all connections together."""
    connections_max: int = 1024
    early_bytes_max: int = 16 * 1024
    """What one connection may send before its earlier requests are answered; then reading stops."""
    idle_s: float = 75.0
    head_s: float = 10.0
    body_pause_s: float = 10.0
    """Longest silence within a body."""
    body_s: float = 120.0
    write_s: float = 30.0
    """Longest time a client may leave its answers unread."""
    linger_s: float = 2.0
    """How long what a refused client still sends is read and thrown away."""


class HttpRequest(msgspec.Struct, gc=False):
    """One request. `received_s` is monotonic; `client` tells one connection from another."""

    head: "Head"
    body: Buffer
    received_s: float
    admin: bool
    """Whether the listener it came through takes repository commands."""
    peer_site: str | None = None
    """The site of the node that forwarded it, from its certificate; None for a client."""
    client: int = 0

    @property
    def method(self) -> str:
        """The method, in capitals."""
        return self.head.method

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.head.path

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        return self.head.headers


class HttpReply(msgspec.Struct, kw_only=True):
    """One reply; the body is sent piece by piece, without joining.

    With `stream` the pieces that it yields follow, as they come, in chunks. `lines` is the
    whole head as bytes, the empty line left out, where the handler has it ready.
    """

    status: int = 200
    content_type: str = JSON
    headers: list[tuple[str, str]] = []
    body: list[Buffer] = []
    stream: AsyncIterator[Buffer] | None = None
    lines: bytes = b""
    size: int = -1
    """Bytes of the body; -1 where nobody has counted them."""


Handler = Callable[[HttpRequest], Coroutine[Any, Any, HttpReply]]

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_JOINED_BYTES_MAX = 65_536


def json_reply(document: object, status: int = 200) -> HttpReply:
    """Return a document as a JSON reply."""
    return HttpReply(status=status, body=[msgspec.json.encode(document)])


def error_reply(error: SkerryError) -> HttpReply:
    """Return an error as a reply that says what, why and what to do, and when to come back."""
    status, _, wait_s = facts_of(error)
    reply = json_reply(ErrorDocument(error=str(error), code=error.code, hint=error.hint), status)
    if wait_s is not None:
        reply.headers.append(("retry-after", str(max(1, math.ceil(wait_s)))))
    if isinstance(error, MethodError):
        reply.headers.append(("allow", ", ".join(error.takes)))
    return reply


def need_method(request: HttpRequest, method: str) -> None:
    """Refuse a request with another method than its path takes; HEAD goes where GET does."""
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise MethodError(request.path, request.method, (method,))


def head_lines(reply: HttpReply, length: bytes) -> bytes:
    """Return a reply's head without its empty line; `length` is the line that frames the body."""
    lines = [
        _STATUS_LINES.get(reply.status, _STATUS_LINES[500]),
        f"content-type: {reply.content_type}\r\n".encode(),
        length,
    ]
    for name, value in reply.headers:
        # A line break in a value would let it write headers of its own.
        clean = value.replace("\r", " ").replace("\n", " ")
        lines.append(f"{name}: {clean}\r\n".encode("latin-1", "replace"))
    return b"".join(lines)


def length_line(body: list[Buffer]) -> bytes:
    """Return the Content-Length line of a body."""
    return b"content-length: %d\r\n" % sum(len(piece) for piece in body)


def encoded(reply: HttpReply, *, keep_alive: bool, head_only: bool) -> list[Buffer]:
    """Return a reply as pieces to write; small ones as a single piece."""
    lines = reply.lines or head_lines(reply, length_line(reply.body))
    end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
    if head_only:
        return [lines + end]
    size = reply.size
    if size < 0:
        size = sum(len(piece) for piece in reply.body)
    if size <= _JOINED_BYTES_MAX:
        return [b"".join((lines, end, *reply.body))]
    return [lines + end, *reply.body]
