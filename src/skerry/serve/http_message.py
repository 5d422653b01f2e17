"""An HTTP request and a reply, as the door and its handlers exchange them, and the limits."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from skerry.base.errors import SkerryError
from skerry.schema.oip_documents import ErrorDocument
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import facts_of

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one door gives to its clients; each bound is there against a kind of attack."""

    head_bytes_max: int = 16 * 1024
    headers_max: int = 64
    body_bytes_max: int = 64 * 1024**2
    held_bytes_max: int = 512 * 1024**2
    """All bodies of all connections together."""
    connections_max: int = 1024
    pipeline_max: int = 16
    """Requests of one connection that may wait for their turn; then reading stops."""
    idle_s: float = 75.0
    head_s: float = 10.0
    body_pause_s: float = 10.0
    """Longest silence within a body."""
    body_s: float = 120.0
    write_s: float = 30.0
    """Longest time a client may leave its answers unread."""
    linger_s: float = 2.0
    """How long what a refused client still sends is read and thrown away."""


@dataclass(slots=True, kw_only=True)
class HttpRequest:
    """One request; header names are in lower case. `received_s` is monotonic."""

    method: str
    path: str
    headers: dict[str, str]
    body: Buffer
    received_s: float
    admin: bool
    """Whether the listener it came through takes repository commands."""
    peer_site: str | None = None
    """The site of the node that forwarded it, from its certificate; None for a client."""
    keep_alive: bool = True


@dataclass(slots=True, kw_only=True)
class HttpReply:
    """One reply; the body is sent piece by piece, without joining.

    With `stream` the pieces that it yields follow, as they come, in chunks.
    """

    status: int = 200
    content_type: str = JSON
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: list[Buffer] = field(default_factory=list)
    stream: AsyncIterator[Buffer] | None = None


Handler = Callable[[HttpRequest], Awaitable[HttpReply]]

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def json_reply(document: object, status: int = 200) -> HttpReply:
    """Return a document as a JSON reply."""
    return HttpReply(status=status, body=[msgspec.json.encode(document)])


def error_reply(error: SkerryError) -> HttpReply:
    """Return an error as a reply that says what, why and what to do, and when to come back."""
    status, _, wait_s = facts_of(error)
    reply = json_reply(ErrorDocument(error=str(error), code=error.code, hint=error.hint), status)
    if wait_s is not None:
        reply.headers.append(("retry-after", str(max(1, math.ceil(wait_s)))))
    return reply


def encoded(reply: HttpReply, *, keep_alive: bool, head_only: bool) -> list[Buffer]:
    """Return a reply as pieces to write; small ones as a single piece."""
    size = sum(len(piece) for piece in reply.body)
    lines = [
        _STATUS_LINES.get(reply.status, _STATUS_LINES[500]),
        f"content-type: {reply.content_type}\r\ncontent-length: {size}\r\n".encode(),
    ]
    for name, value in reply.headers:
        # A line break in a value would let it write headers of its own.
        clean = value.replace("\r", " ").replace("\n", " ")
        lines.append(f"{name}: {clean}\r\n".encode("latin-1", "replace"))
    lines.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    head = b"".join(lines)
    if head_only:
        return [head]
    if size <= 65_536:
        return [b"".join((head, *reply.body))]
    return [head, *reply.body]
