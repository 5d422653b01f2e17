"""One HTTP/1.1 connection: heads by httptools, bodies in their own buffer, replies in order.

Requests may be pipelined; they are answered one after the other. Whatever is wrong
with a request is answered too, in its turn, and then the connection closes: after a
framing error nobody knows where the next request starts. What could be read in two ways
(two lengths, a length beside an encoding) is refused, as RFC 9112 section 6.3 wants.

Units:   bytes and seconds.
"""

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from skerry.base.errors import SkerryError
from skerry.serve.errors import HttpError, ServeError
from skerry.serve.http_message import HttpReply, HttpRequest, encoded, error_reply

if TYPE_CHECKING:
    from skerry.serve.http_door import HttpDoor, Listener

log = logging.getLogger("skerry.serve")

_ONCE = frozenset(
    {
        "content-length",
        "content-encoding",
        "expect",
        "host",
        "inference-header-content-length",
        "transfer-encoding",
    }
)
_IDLE, _HEAD, _BODY, _DONE = range(4)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpConnection(asyncio.Protocol):
    """Reads requests, hands them to the door's handler in order, writes the replies."""

    def __init__(self, door: "HttpDoor", listener: "Listener") -> None:
        self._door = door
        self._limits = door.limits
        self._listener = listener
        self._transport: Any = None
        self._parser = httptools.HttpRequestParser(self)
        self._phase = _IDLE
        self._since_s = self._moved_s = door.now_s()
        self._head_bytes = self._header_lines = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: bytes | bytearray = b""
        self._held_bytes = 0
        self._expects_continue = False
        self._fault: HttpError | None = None
        self._waiting: deque[HttpRequest | HttpError] = deque()
        self._task: asyncio.Task[None] | None = None
        self._peer_site: str | None = None
        self._reading_paused = False
        self._unread_since_s: float | None = None
        self._drained: asyncio.Future[None] | None = None
        self._lingers_until_s: float | None = None
        self._ended = False

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        """Take the connection, unless there are too many or its peer may not."""
        self._transport = transport
        refusal: SkerryError | None = None
        if not self._door.admit(self):
            refusal = HttpError(503, f"more than {self._limits.connections_max} connections")
        elif self._listener.authorize is not None:
            try:
                self._peer_site = self._listener.authorize(transport.get_extra_info("ssl_object"))
            except SkerryError as error:
                refusal = error
        if refusal is not None:
            self._phase = _DONE
            self._write(error_reply(refusal), keep_alive=False)
            self._linger()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; nobody reads its answers any more."""
        self._phase = _DONE
        self._door.forget(self)
        self._release(self._held_bytes)
        if self._task is not None:
            self._task.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what came; complete requests are queued by the parser's callbacks."""
        if self._phase == _DONE:
            return  # a refused client that still talks
        self._moved_s = self._door.now_s()
        in_head = self._phase == _HEAD
        if self._phase == _IDLE:
            self._phase, self._since_s = _HEAD, self._moved_s
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fault = self._fault or HttpError(501, "protocol upgrades are not offered")
        except httptools.HttpParserError as error:
            self._fault = self._fault or HttpError(400, f"not an HTTP request: {error}")
        if self._phase == _HEAD:
            # A line that is not complete is with the parser, so whole reads are counted.
            self._head_bytes = self._head_bytes + len(data) if in_head else 0
            self._check_head_bytes()
        if self._fault is not None:
            self._refuse(self._fault)

    def eof_received(self) -> bool:
        """Answer what is complete, refuse what is cut off, then close."""
        self._ended = True
        if self._phase in (_HEAD, _BODY):
            self._refuse(HttpError(400, "the request ended before it was complete"))
        elif self._task is None:
            return False
        self._phase = _DONE
        return self._listener.ssl is None  # a half-closed TLS stream cannot be written to

    def pause_writing(self) -> None:
        """Note that the client does not read its answers."""
        self._unread_since_s = self._door.now_s()

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._unread_since_s = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start a request."""
        self._phase, self._since_s = _HEAD, self._moved_s
        self._url, self._headers, self._body = b"", {}, b""
        self._head_bytes = self._header_lines = 0
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        """Take the target, or a part of it."""
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line."""
        self._head_bytes += len(name) + len(value) + 4
        key = name.decode("latin-1").lower()
        if key in self._headers and (key in _ONCE or key.startswith("skerry-")):
            self._blame(400, f"header {key} appears twice")
        self._header_lines += 1
        if self._header_lines > self._limits.headers_max:
            self._blame(431, f"more than {self._limits.headers_max} headers")
            return
        self._headers[key] = value.decode("latin-1").rstrip(" \t")

    def on_headers_complete(self) -> None:
        """Judge the head before any byte of the body is taken."""
        self._phase = _BODY
        self._check_head_bytes()
        headers = self._headers
        if self._parser.should_upgrade():
            self._blame(501, "protocol upgrades are not offered")
        if "host" not in headers and self._parser.get_http_version() == "1.1":
            self._blame(400, "a request without a Host header")
        if not self._url.startswith(b"/"):
            self._blame(400, "the request target is not a path")
        coding = headers.get("transfer-encoding")
        if coding is not None:
            if "content-length" in headers:
                self._blame(400, "both Content-Length and Transfer-Encoding")
            if coding.strip().lower() != "chunked":
                self._blame(501, "a Transfer-Encoding other than chunked")
        if headers.get("content-encoding", "identity") != "identity":
            self._blame(415, "compressed bodies are not taken")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            self._blame(400, "Content-Length is not a number")
        elif int(length[:20]) > self._limits.body_bytes_max:
            self._blame_size()
        expects = headers.get("expect")
        if expects is not None and self._fault is None:
            if expects.lower() != "100-continue":
                self._blame(417, "an expectation other than 100-continue")
            else:
                self._expects_continue = True
                self._say_continue()

    def on_body(self, piece: bytes) -> None:
        """Collect the body; one that came whole is not copied."""
        if self._fault is not None:
            return
        if len(self._body) + len(piece) > self._limits.body_bytes_max:
            self._blame_size()
            return
        if not self._door.hold(len(piece)):
            self._blame(503, "too many bodies at once")
            return
        self._held_bytes += len(piece)
        if not self._body:
            self._body = piece
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += piece

    def on_message_complete(self) -> None:
        """Queue the request for its turn."""
        if self._fault is not None or self._phase == _DONE:
            return
        path = self._url.partition(b"?")[0].decode("latin-1")
        keep_alive = self._parser.should_keep_alive() and not self._door.stopping
        self._queue(
            HttpRequest(
                method=self._parser.get_method().decode("latin-1"),
                path=path,
                headers=self._headers,
                body=self._body,
                received_s=self._since_s,
                admin=self._listener.admin,
                peer_site=self._peer_site,
                keep_alive=keep_alive,
            )
        )
        self._body = b""
        self._phase, self._since_s = (_IDLE if keep_alive else _DONE), self._moved_s

    # What the door calls.

    def sweep(self, now_s: float) -> None:
        """End what takes too long."""
        limits = self._limits
        if self._lingers_until_s is not None:
            if now_s >= self._lingers_until_s:
                self._transport.abort()
        elif self._unread_since_s is not None and now_s - self._unread_since_s > limits.write_s:
            self._transport.abort()
        elif self._phase == _HEAD and now_s - self._since_s > limits.head_s:
            self._refuse(HttpError(408, "the request head took too long"))
        elif self._phase == _BODY and now_s - self._moved_s > limits.body_pause_s:
            self._refuse(HttpError(408, "the request body stopped coming"))
        elif self._phase == _BODY and now_s - self._since_s > limits.body_s:
            self._refuse(HttpError(408, "the request body took too long"))
        elif self._phase == _IDLE and self._task is None and now_s - self._since_s > limits.idle_s:
            self._transport.close()

    def stop(self) -> None:
        """Close now if nothing is under way, else after the last reply."""
        if self._task is None and self._phase in (_IDLE, _DONE):
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()

    # The rest.

    def _queue(self, item: HttpRequest | HttpError) -> None:
        self._waiting.append(item)
        if len(self._waiting) >= self._limits.pipeline_max and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        if self._task is None:
            self._task = self._door.loop.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        """Answer what waits, in order; ends when nothing does."""
        keep_alive = True
        while self._waiting and keep_alive:
            item = self._waiting.popleft()
            if isinstance(item, HttpError):
                reply, keep_alive, head_only = error_reply(item), False, False
            else:
                reply = await self._answer(item)
                keep_alive = item.keep_alive and not self._door.stopping
                head_only = item.method == "HEAD"
                self._release(len(item.body))
            self._write(reply, keep_alive=keep_alive, head_only=head_only)
            del item
            if self._unread_since_s is not None:
                self._drained = self._door.loop.create_future()
                await self._drained
                self._drained = None
            if self._reading_paused and not self._waiting and keep_alive:
                self._reading_paused = False
                self._transport.resume_reading()
        self._task = None
        if not keep_alive or (self._phase == _DONE and not self._waiting):
            self._linger()
        else:
            self._say_continue()
            self._since_s = self._since_s if self._phase != _IDLE else self._door.now_s()
            if self._door.stopping:
                self.stop()

    async def _answer(self, request: HttpRequest) -> HttpReply:
        try:
            return await self._door.handler(request)
        except SkerryError as error:
            return error_reply(error)
        except Exception:
            log.exception("%s %s failed", request.method, request.path[:200])
            return error_reply(_InternalError())

    def _write(self, reply: HttpReply, *, keep_alive: bool, head_only: bool = False) -> None:
        if self._transport.is_closing():  # uvloop raises on a write to a closed transport
            return
        pieces = encoded(reply, keep_alive=keep_alive, head_only=head_only)
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def _say_continue(self) -> None:
        """Ask for the body once every earlier reply is out."""
        ready = self._expects_continue and self._phase == _BODY and self._task is None
        if ready and not self._waiting:
            self._expects_continue = False
            self._transport.write(_CONTINUE)

    def _linger(self) -> None:
        """Close, but read on a little: a reset would destroy the reply on its way."""
        if self._transport.is_closing() or self._lingers_until_s is not None:
            return
        if self._fault is None or self._ended or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._lingers_until_s = self._door.now_s() + self._limits.linger_s
        if self._reading_paused:
            self._transport.resume_reading()
        try:
            self._transport.write_eof()
        except OSError:  # the client reset the connection; the loop has not told us yet
            self._transport.abort()

    def _blame(self, status: int, what: str) -> None:
        self._fault = self._fault or HttpError(status, what)

    def _blame_size(self) -> None:
        self._blame(413, f"a body of more than {self._limits.body_bytes_max} bytes")

    def _check_head_bytes(self) -> None:
        if self._head_bytes > self._limits.head_bytes_max:
            self._blame(431, f"a head of more than {self._limits.head_bytes_max} bytes")

    def _refuse(self, fault: HttpError) -> None:
        """Queue the refusal behind earlier requests; nothing after it is read."""
        if self._phase == _DONE:
            return
        self._fault, self._phase = fault, _DONE
        self._queue(fault)

    def _release(self, size: int) -> None:
        size = min(size, self._held_bytes)
        self._held_bytes -= size
        self._door.release(size)


class _InternalError(ServeError):
    def __str__(self) -> str:
        return "the server failed on this request; its log says why"
