"""One HTTP/1.1 connection: heads looked up or parsed, bodies in their own buffer, replies in order.

Requests may be pipelined; each is answered before the next is looked at, and what comes
early waits unread beyond a bound. Whatever is wrong with a request is answered too, in its
turn, and then the connection closes: after a framing error nobody knows where the next
request starts.

A large body is received straight into the buffer that the model reads, placed so that its
tensor data is aligned; a small one is part of what one read brought.

Units:   bytes and seconds.
"""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from skerry.base.coding import compress
from skerry.base.drive import Begun, begin, in_task
from skerry.base.errors import SkerryError
from skerry.schema.oip_http import HEADER_JSON_LENGTH
from skerry.schema.oip_tensors import Buffer
from skerry.serve.client_gate import check_source
from skerry.serve.compression import COMPRESS_FROM_BYTES, decompress
from skerry.serve.errors import HttpError, ServeError
from skerry.serve.http_chunks import ChunkedBody
from skerry.serve.http_head import END, Head, HeadReader
from skerry.serve.http_message import (
    CHUNKED,
    HttpReply,
    HttpRequest,
    encoded,
    error_reply,
    head_lines,
)

if TYPE_CHECKING:
    from skerry.serve.http_door import HttpDoor
    from skerry.serve.listening import Listener

log = logging.getLogger("skerry.serve")

_IDLE, _HEAD, _BODY, _CHUNKS, _ANSWER, _DONE = range(6)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_REQUEST_S = 0.2  # longer than a client needs to read an answer and ask again
_ALIGN = 64  # as wide as the widest vector register
_OFF_LOOP_BYTES_MIN = 256 * 1024  # coding this much would hold the loop for a millisecond


class HttpConnection(asyncio.BufferedProtocol):
    """Reads requests, hands them to the door's handler in order, writes the replies."""

    def __init__(self, door: "HttpDoor", listener: "Listener") -> None:
        self._door = door
        self._limits = door.limits
        self._listener = listener
        self._transport: Any = None
        self._phase = _IDLE
        self._since_s = self._moved_s = door.now_s()
        self._early = b""
        self._reader: HeadReader | None = None  # of a head that comes in pieces
        self._head: Head | None = None
        self._body = memoryview(b"")
        self._filled = 0
        self._chunks: ChunkedBody | None = None
        self._held_bytes = 0
        self._under_way: Begun[HttpReply] | None = None
        self._in_take = False
        self._fault: HttpError | None = None
        self._peer_site: str | None = None
        self._client = 0
        self._reading_paused = False
        self._unread_since_s: float | None = None
        self._stream: asyncio.Task[None] | None = None
        self._drained: asyncio.Event | None = None
        self._lingers_until_s: float | None = None
        self._ended = self._leaving = False

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        """Take the connection, unless there are too many or its peer may not."""
        self._transport = transport
        refusal: SkerryError | None = None
        self._client = self._door.admit(self)
        if not self._client:
            refusal = HttpError(503, f"more than {self._limits.connections_max} connections")
        elif self._listener.authorize is not None:
            try:
                self._peer_site = self._listener.authorize(transport.get_extra_info("ssl_object"))
            except SkerryError as error:
                refusal = error
        elif self._listener.loopback_only:
            try:
                check_source(*map(transport.get_extra_info, ("peername", "sockname")))
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
        self._release()
        if self._under_way is not None:
            self._under_way.cancel()
        if self._stream is not None:
            self._stream.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go: into the body that they are part of, if it is large."""
        return self._body[self._filled :] if self._phase == _BODY else self._door.scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        phase = self._phase
        self._moved_s = self._door.now_s()
        if phase == _BODY:
            self._filled += nbytes
            if self._filled == len(self._body):
                self._take(b"")
            return
        if phase == _DONE:
            return  # a refused client that still talks
        data = bytes(self._door.scratch[:nbytes])
        if phase == _ANSWER or self._unread_since_s is not None:
            self._early += data
            if len(self._early) > self._limits.early_bytes_max and not self._reading_paused:
                self._reading_paused = True
                self._transport.pause_reading()
            return
        if phase == _IDLE:
            self._since_s = self._moved_s
        elif phase == _HEAD:
            data = self._early + data
            self._early = b""
        self._take(data)

    def eof_received(self) -> bool:
        """Answer what is complete, refuse what is cut off, then close."""
        self._ended = True
        if self._phase in (_HEAD, _BODY, _CHUNKS):
            self._refuse(HttpError(400, "the request ended before it was complete"))
        elif self._phase == _IDLE:
            return False
        elif self._head is not None and self._head.ends_with_client:
            self._transport.abort()
        return self._listener.ssl is None  # a half-closed TLS stream cannot be written to

    def pause_writing(self) -> None:
        """Note that the client does not read its answers."""
        self._unread_since_s = self._door.now_s()

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._unread_since_s = None
        if self._drained is not None:
            self._drained.set()
        elif self._phase == _IDLE:
            self._go_on()

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
        elif self._phase in (_BODY, _CHUNKS):
            if now_s - self._moved_s > limits.body_pause_s:
                self._refuse(HttpError(408, "the request body stopped coming"))
            elif now_s - self._since_s > limits.body_s:
                self._refuse(HttpError(408, "the request body took too long"))
        elif self._phase == _ANSWER:
            self._moved_s = now_s  # idleness counts from the answer
        elif self._phase == _IDLE and now_s - self._moved_s > limits.idle_s:
            self._transport.close()

    def came_by(self, listener: "Listener") -> bool:
        """Tell whether the connection was made at this address."""
        return self._listener is listener

    def leave(self) -> None:
        """Close after the reply that is under way."""
        self._leaving = True
        self.stop()

    def recheck(self) -> None:
        """Close at once if the peer may no longer be here."""
        authorize = self._listener.authorize
        if authorize is not None and self._phase != _DONE:
            try:
                authorize(self._transport.get_extra_info("ssl_object"))
            except SkerryError:
                self._transport.abort()

    def stop(self) -> None:
        """Close after the last reply, which says so.

        A client that was answered just now may have its next request on the way: it gets a
        moment, for that request would be lost.
        """
        if self._phase == _DONE:
            self._transport.close()
        elif self._phase == _IDLE:
            self._door.loop.call_later(_LAST_REQUEST_S, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._phase == _IDLE:
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()

    # Reading.

    def _take(self, data: bytes) -> None:
        """Go through what came, request by request, until one must wait or is not whole."""
        self._in_take = True
        try:
            while self._phase not in (_ANSWER, _DONE) and self._unread_since_s is None:
                if not data and self._phase != _BODY:
                    break
                rest = self._take_part(data)
                if rest is None:
                    return
                data = rest
            self._early = data
        except HttpError as fault:
            self._refuse(fault)
        finally:
            self._in_take = False

    def _take_part(self, data: bytes) -> bytes | None:
        """Take one step; return what is left of the data, None if more must come first."""
        if self._phase == _BODY:
            self._answer(self._body)
            return data
        if self._phase == _CHUNKS:
            return self._take_chunks(data)
        end = data.find(END) + 4
        if end < 4:
            if data.startswith(b"\r\n"):  # RFC 9112 section 2.2: an empty line is passed over
                return data.lstrip(b"\r\n")
            self._take_half_head(data)
            return None
        if self._reader is None:
            head = self._door.heads.read(data[:end])
        else:
            self._reader.feed(data[:end][self._reader.bytes_fed :])
            head, self._reader = self._reader.head(), None
        self._head = head
        gate = self._listener.gate
        if gate is not None:
            gate.check(head.headers.get("authorization", ""), head.path)
        if head.length:
            have = len(data) - end
            if have >= head.length:
                self._answer(memoryview(data)[end : end + head.length])
                return data[end + head.length :]
            self._begin_body(head, data[end:])
            return None
        if head.chunked:
            self._phase, self._chunks = _CHUNKS, ChunkedBody(self._limits.body_bytes_max)
            self._say_continue(head)
            return data[end:]
        self._answer(b"")
        return data[end:]

    def _take_half_head(self, data: bytes) -> None:
        if not data:
            return
        if self._phase == _IDLE:
            self._phase = _HEAD
        if self._reader is None:
            self._reader = HeadReader(self._limits)
        fed = self._reader.bytes_fed
        self._reader.feed(data[fed:])  # what cannot be a head is refused before it is whole
        self._early = data

    def _begin_body(self, head: Head, start: bytes) -> None:
        """Make room for a body, so that its tensor data will be aligned, and go on reading."""
        self._hold(head.length)
        text = head.headers.get(HEADER_JSON_LENGTH, "")
        json_length = int(text) if text.isdigit() and len(text) < 9 else 0
        room = np.empty(head.length + _ALIGN, np.uint8)
        skip = -(room.ctypes.data + json_length) % _ALIGN
        self._body = room.data[skip : skip + head.length]
        self._body[: len(start)] = start
        self._filled, self._phase = len(start), _BODY
        self._say_continue(head)

    def _take_chunks(self, data: bytes) -> bytes | None:
        assert self._chunks is not None  # noqa: S101 - the phase says so
        if not data:
            return None
        before = len(self._chunks.body)
        rest = self._chunks.feed(data)
        self._hold(len(self._chunks.body) - before)
        if rest is not None:
            self._answer(self._chunks.body)
        return rest

    def _hold(self, size: int) -> None:
        if not self._door.hold(size):
            raise HttpError(503, "too many bodies at once")
        self._held_bytes += size

    def _say_continue(self, head: Head) -> None:
        if head.expects_continue:
            self._transport.write(_CONTINUE)

    # Answering.

    def _answer(self, body: Buffer) -> None:
        head = self._head
        assert head is not None  # noqa: S101 - it was read before the body
        self._phase, self._body, self._chunks = _ANSWER, _NOTHING, None
        request = HttpRequest(
            head, body, self._since_s, self._listener.admin, self._peer_site, self._client
        )
        work = self._door.handler(request)
        if head.coding or head.reply_coding:
            work = self._coded(request, work)
        self._under_way = begin(work, self._answered)

    async def _coded(self, request: HttpRequest, work: Any) -> HttpReply:
        """Answer a request whose body, or whose reply, is compressed."""
        head = request.head
        if head.coding:
            try:
                request.body = await self._off_loop(
                    len(request.body),
                    lambda: decompress(
                        request.body, head.coding, bytes_max=self._limits.body_bytes_max
                    ),
                )
            except BaseException:
                work.close()
                raise
        reply: HttpReply = await work
        size = sum(len(piece) for piece in reply.body)
        if head.reply_coding and size >= COMPRESS_FROM_BYTES and reply.stream is None:
            packed = await self._off_loop(size, lambda: compress(reply.body, head.reply_coding))
            reply.body, reply.lines, reply.size = [packed], b"", -1
            reply.headers = [
                *reply.headers,
                ("content-encoding", head.reply_coding),
                ("vary", "accept-encoding"),
            ]
        return reply

    @staticmethod
    async def _off_loop(size: int, work: Any) -> Any:
        if size < _OFF_LOOP_BYTES_MIN:
            return work()
        await in_task()
        return await asyncio.to_thread(work)

    def _answered(self, reply: HttpReply | None, error: BaseException | None) -> None:
        """Write a reply, or what became of it instead, and go on with the next request."""
        self._under_way = None
        head = self._head
        assert head is not None  # noqa: S101 - it was read before it was answered
        if reply is None:
            reply = self._failed(head, error)
        self._release()
        if self._phase == _DONE:
            return
        keep_alive = head.keep_alive and not (self._door.stopping or self._leaving)
        if reply.stream is not None and head.method != "HEAD":
            self._stream = self._door.loop.create_task(self._send(reply, head, keep_alive))
            return
        self._write(reply, keep_alive=keep_alive, head_only=head.method == "HEAD")
        self._end_answer(keep_alive=keep_alive)

    def _end_answer(self, *, keep_alive: bool) -> None:
        self._head = None
        if not keep_alive:
            self._phase = _DONE
            self._linger()
            return
        self._phase = _IDLE
        if not self._in_take:
            self._go_on()

    def _go_on(self) -> None:
        """Take what came early, or notice that nothing more will come."""
        if self._unread_since_s is not None:
            return  # until the client reads its answers
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        early, self._early = self._early, b""
        if early:
            self._since_s = self._moved_s = self._door.now_s()
            self._take(early)
        if self._phase == _IDLE and (self._ended or self._leaving or self._door.stopping):
            self._transport.close()
        elif self._ended and self._phase in (_HEAD, _BODY, _CHUNKS):
            self._refuse(HttpError(400, "the request ended before it was complete"))

    def _failed(self, head: Head, error: BaseException | None) -> HttpReply:
        if isinstance(error, SkerryError):
            return error_reply(error)
        log.error("%s %s failed", head.method, head.path[:200], exc_info=error)
        return error_reply(_InternalError())

    async def _send(self, reply: HttpReply, head: Head, keep_alive: bool) -> None:
        """Send a reply that comes in pieces, as fast as its client reads them."""
        assert reply.stream is not None  # noqa: S101 - asked before
        keep_alive = keep_alive and head.streams
        end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
        whole = False
        try:
            self._transport.write(head_lines(reply, CHUNKED if head.streams else b"") + end)
            async for piece in reply.stream:
                if piece:
                    size = b"%x\r\n" % len(piece)
                    framed = (size, piece, b"\r\n") if head.streams else (piece,)
                    self._transport.writelines(framed)
                while self._unread_since_s is not None:
                    self._drained = asyncio.Event()
                    await self._drained.wait()
                    self._drained = None
            if head.streams:
                self._transport.write(b"0\r\n\r\n")
            whole = True
        except Exception:  # the head is out: all that can be said now is that it is not whole
            log.exception("%s %s failed while it was sent", head.method, head.path[:200])
        finally:
            self._stream = None
            close = getattr(reply.stream, "aclose", None)
            if close is not None:
                await close()
            if not whole:
                self._transport.abort()
        self._end_answer(keep_alive=keep_alive)

    def _write(self, reply: HttpReply, *, keep_alive: bool, head_only: bool = False) -> None:
        if self._transport.is_closing():  # uvloop raises on a write to a closed transport
            return
        pieces = encoded(reply, keep_alive=keep_alive, head_only=head_only)
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

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
        with contextlib.suppress(OSError):  # the client was faster
            self._transport.write_eof()

    def _refuse(self, fault: HttpError) -> None:
        """Answer what cannot be a request; nothing after it is read."""
        if self._phase == _DONE:
            return
        self._fault, self._phase = fault, _DONE
        self._body, self._chunks, self._early = _NOTHING, None, b""
        self._release()
        self._write(error_reply(fault), keep_alive=False)
        self._linger()

    def _release(self) -> None:
        if self._held_bytes:
            self._door.release(self._held_bytes)
            self._held_bytes = 0


_NOTHING = memoryview(b"")


class _InternalError(ServeError):
    def __str__(self) -> str:
        return "the server failed on this request; its log says why"
