"""One HTTP/2 connection of the gRPC door: calls in, answers out, each on its stream.

A unary call whose head was seen before and whose message fits the read costs a look-up,
a slice and one write. Everything else, and every rule that a client may break, takes the
longer way through the same few methods.

Units:   bytes; seconds on the clock's monotonic scale.
"""

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.base.drive import Begun, begin
from skerry.base.errors import SkerryError
from skerry.schema.oip_tensors import Buffer
from skerry.serve import h2_frames as h2
from skerry.serve.errors import HttpError
from skerry.serve.grpc_call import FAILED, Call, Status, Work, status_of
from skerry.serve.grpc_head import Head
from skerry.serve.grpc_inbox import MessageInbox, StreamInbox
from skerry.serve.grpc_wire import (
    MESSAGE_HEAD,
    MESSAGE_HEAD_BYTES,
    STATUS,
    GrpcError,
    message_text,
)
from skerry.serve.h2_flow import ANSWER_BLOCK, Sender, Trailers
from skerry.serve.h2_frames import Code, H2ConnectionError, H2StreamError
from skerry.serve.h2_headers import HeaderReader, encoded
from skerry.serve.h2_limits import CALM_MAX, CALM_PER_S, RESETS_MAX, RESETS_PER_S, Calm
from skerry.serve.h2_reader import FrameReader

if TYPE_CHECKING:
    from skerry.serve.grpc_door import GrpcDoor
    from skerry.serve.http_door import Listener

log = logging.getLogger("skerry.serve")

_DRAIN_PING = b"draining"
_DRAIN_PING_S_MAX = 1.0
_LINGER_S = 2.0
_SMALL_BYTES = 256  # a DATA frame below it that completes nothing counts as nothing
_STREAM_ANSWERS_BYTES_MAX = 1024**2  # unsent answers of a stream; then its next request waits
_TURN_MAX = 32  # requests of one stream that are answered before others have their turn
_SERVING, _WARNED, _DRAINING = range(3)

_message_head_of = MESSAGE_HEAD.unpack_from


class H2Stream(msgspec.Struct, eq=False):
    """One call; a struct, as every call makes one."""

    connection: "H2Connection"
    id: int
    head: Head
    call: Call
    window: int
    """What may be sent on it."""
    moved_s: float
    messages: StreamInbox | None = None
    """What came on a stream of messages; None for a unary call."""
    inbox: MessageInbox | None = None
    """The message of a unary call that did not come at once."""
    begun: Begun[list[Buffer]] | None = None
    ended: bool = False
    """Whether the client has sent all."""
    gone: bool = False
    busy: bool = False
    """Whether a request of the stream is being answered."""
    feeding: bool = False
    opened: bool = False
    """Whether the head of the answer is out."""
    compressed: int = 0
    """1 where the next answer is compressed, as its message says."""
    held: int = 0
    unacked: int = 0
    """What came and was not allowed again."""
    pieces: deque[Buffer] | None = None
    pieces_bytes: int = 0
    end: bytes = b""
    stuck_s: float | None = None
    """Since when answers wait for the client."""

    def note_compressed(self) -> None:
        """Take note that the next answer is compressed."""
        self.compressed = 1

    def answered(self, pieces: list[Buffer] | None, error: BaseException | None) -> None:
        """Take the answer of a work."""
        self.connection.answered(self, pieces, error)


class H2Connection(FrameReader):
    """Reads calls, begins them, writes their answers as they come."""

    def __init__(self, door: "GrpcDoor", listener: "Listener") -> None:
        super().__init__(door.buffer, door.limits)
        self._door = door
        self._listener = listener
        self._now_s = door.now_s
        self._client = door.next_client()
        self._admin = listener.admin
        self._peer_site: str | None = None
        self._transport: Any = None
        self._out: Sender
        self._reader: HeaderReader[Head] = HeaderReader(door.blocks)
        self._blocks = door.blocks.blocks
        self._ends = door.ends
        self._streams: dict[int, H2Stream] = {}
        self._last_id = 0
        self._unacked = 0
        self._message_bytes_max = door.limits.message_bytes_max
        self._update_at = door.limits.connection_window_bytes // 2
        self._block: list[bytes] = []
        self._block_of = self._block_flags = self._block_bytes = 0
        self._calm, self._resets = Calm(CALM_MAX), Calm(RESETS_MAX)
        self._phase = _SERVING
        self._moved_s = self._since_s = self._swept_s = door.now_s()
        self._unread_since_s: float | None = None
        self._lingers_until_s: float | None = None

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        """Take the connection, unless there are too many or its peer may not."""
        self._transport = transport
        self._out = Sender(transport, self._sent)
        transport.write(self._door.opening)
        if not self._door.admit(self):
            what = f"more than {self._limits.connections_max} connections"
            self.failed(H2ConnectionError(Code.ENHANCE_YOUR_CALM, what))
        elif self._listener.authorize is not None:
            try:
                self._peer_site = self._listener.authorize(transport.get_extra_info("ssl_object"))
            except SkerryError as error:
                self.failed(H2ConnectionError(Code.INADEQUATE_SECURITY, str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; nobody reads its answers any more."""
        self._closed = True
        self._door.forget(self)
        for stream in list(self._streams.values()):
            self._drop(stream)

    def eof_received(self) -> bool:
        """Close: a client that ends its half of HTTP/2 has left."""
        return False

    def pause_writing(self) -> None:
        """Note that the client does not read its answers."""
        self._out.paused = True
        self._unread_since_s = self._now_s()

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._unread_since_s = None
        self._out.resume()

    # What the door calls.

    def sweep(self, now_s: float) -> None:
        """End what takes too long."""
        limits = self._limits
        past_s, self._swept_s = now_s - self._swept_s, now_s
        self._calm.earn(CALM_PER_S * past_s)
        self._resets.earn(RESETS_PER_S * past_s)
        if self._lingers_until_s is not None:
            if now_s >= self._lingers_until_s:
                self._transport.abort()
            return
        if self._unread_since_s is not None and now_s - self._unread_since_s > limits.write_s:
            self._transport.abort()
        elif not self._set_up and now_s - self._since_s > limits.head_s:
            self.failed(H2ConnectionError(Code.PROTOCOL_ERROR, "the preface took too long"))
        elif self._block_of and now_s - self._moved_s > limits.head_s:
            self.failed(H2ConnectionError(Code.ENHANCE_YOUR_CALM, "a header block took too long"))
        elif self._phase == _WARNED and now_s - self._since_s > _DRAIN_PING_S_MAX:
            self._drain_for_good()
        elif not self._streams and now_s - self._moved_s > limits.idle_s:
            self.stop()
        for stream in list(self._streams.values()):
            self._sweep_stream(stream, now_s)

    def stop(self) -> None:
        """Tell the client to go elsewhere, answer what it has sent, then close.

        The first GOAWAY names no stream: what the client sent before it heard is served.
        """
        if self._phase == _SERVING and not self._closed:
            self._phase, self._since_s = _WARNED, self._now_s()
            self._control(
                h2.goaway(h2.STREAM_MAX, Code.NO_ERROR) + h2.frame(h2.PING, 0, 0, _DRAIN_PING)
            )

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._transport.abort()

    # What the reader calls.

    def frame_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a whole frame that is not DATA."""
        if kind == h2.HEADERS and flags & (h2.END_HEADERS | h2.PADDED | h2.WITH_PRIORITY) == (
            h2.END_HEADERS
        ):
            self._open(flags, stream_id, payload)
            return
        if kind == h2.CONTINUATION:
            self._continue(flags, stream_id, payload)
            return
        if self._block_of:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "a frame within a header block")
        if kind == h2.HEADERS:
            block = h2.unpadded(flags, payload)
            if flags & h2.END_HEADERS:
                self._open(flags, stream_id, block)
            else:
                self._block = [block]
                self._block_of, self._block_flags = stream_id, flags
                self._block_bytes = len(block)
                self._moved_s = self._now_s()
            return
        if not self._calm.spend():
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
        if kind == h2.WINDOW_UPDATE:
            self._widen(stream_id, h2.number(payload, "WINDOW_UPDATE") & 0x7FFFFFFF)
        elif kind == h2.SETTINGS:
            self._settings(flags, stream_id, payload)
        elif kind == h2.PING:
            self._ping(flags, stream_id, payload)
        elif kind == h2.RST_STREAM:
            self._reset_by_peer(stream_id, h2.number(payload, "RST_STREAM"))
        elif kind == h2.GOAWAY:
            if stream_id:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        elif kind == h2.PRIORITY:
            if len(payload) != 5:
                raise H2StreamError(stream_id, Code.FRAME_SIZE_ERROR, "PRIORITY")
            if not stream_id:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "PRIORITY on no stream")

    def data_came(self, flags: int, stream_id: int, at: int, length: int) -> None:
        """Take a whole DATA frame; a whole call in it is begun at once."""
        stream = self._streams.get(stream_id)
        if (
            stream is not None
            and flags & h2.END_STREAM
            and length >= MESSAGE_HEAD_BYTES
            and stream.inbox is None
            and stream.messages is None
            and not stream.ended
            and not self._block_of
        ):
            door = self._door
            compressed, size = _message_head_of(self._buffer, at)
            if (
                not compressed
                and size == length - MESSAGE_HEAD_BYTES
                and size <= self._message_bytes_max
                and door.held_bytes + size <= self._limits.held_bytes_max
            ):
                door.held_bytes += size
                self._unacked += length
                if self._unacked >= self._update_at:
                    self._acknowledge()
                stream.ended = True
                stream.held = size
                message = self._buffer[at + MESSAGE_HEAD_BYTES : at + length].tobytes()
                work = stream.head.work
                assert work is not None  # noqa: S101 - a head without work is refused or a stream
                stream.begun = begin(work(message, stream.call), stream.answered)
                return
        stream = self.data_begins(flags, stream_id, length)
        if stream is not None:
            if length:
                self.data_piece(stream, self._buffer[at : at + length])
            self.data_ends(stream, flags)

    def data_begins(self, flags: int, stream_id: int, length: int) -> H2Stream | None:
        """Hold a DATA frame against the windows and the stream's state."""
        if self._block_of:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "a frame within a header block")
        if length > self._limits.frame_bytes_max:
            raise H2ConnectionError(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if self._unacked + length > self._limits.connection_window_bytes:
            raise H2ConnectionError(Code.FLOW_CONTROL_ERROR, "more than the window allows")
        self._unacked += length
        if self._unacked >= self._update_at:
            self._acknowledge()
        if length < _SMALL_BYTES and not flags & h2.END_STREAM and not self._calm.spend():
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
        stream = self._streams.get(stream_id)
        if stream is None:
            if not stream_id & 1 or stream_id > self._last_id:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "DATA on a stream never opened")
            if not self._calm.spend():  # it has ended, and the client may not know yet
                raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "DATA on streams that ended")
            return None
        if stream.ended:
            raise H2StreamError(stream_id, Code.STREAM_CLOSED, "DATA after the end of its stream")
        stream.unacked += length
        if stream.unacked > self._limits.stream_window_bytes:
            raise H2StreamError(stream_id, Code.FLOW_CONTROL_ERROR, "more than its window allows")
        return stream

    def data_piece(self, stream: H2Stream, piece: memoryview) -> None:
        """Put a piece of a call's message where it belongs."""
        if not self._hold(stream, len(piece)):
            return
        try:
            if stream.messages is not None:
                stream.messages.feed(piece)
                return
            if stream.inbox is None:
                stream.inbox = MessageInbox(self._limits.message_bytes_max)
            stream.inbox.feed(piece)
        except GrpcError as error:
            self._refuse(stream, status_of(error))

    def data_room(self, stream: H2Stream) -> memoryview | None:
        """Return where the next bytes of a large message go."""
        return stream.inbox.room() if stream.inbox is not None else None

    def data_landed(self, stream: H2Stream, count: int) -> None:
        """Take note of bytes that came straight into a message."""
        if self._hold(stream, count):
            assert stream.inbox is not None  # noqa: S101 - it gave the room
            stream.inbox.filled += count

    def data_ends(self, stream: H2Stream, flags: int) -> None:
        """Begin what is complete, and let the client send more of what is not."""
        if stream.gone:
            return
        stream.moved_s = self._moved_s = self._now_s()
        if flags & h2.END_STREAM:
            stream.ended = True
        if stream.messages is not None:
            self._feed(stream)
        elif stream.ended:
            self._begin(stream)
        elif stream.unacked >= self._limits.stream_window_bytes // 2:
            self._grant(stream)

    def failed(self, error: H2ConnectionError) -> None:
        """Tell the client why, and end the connection."""
        if self._closed:
            return
        self._closed = True
        self._sink = None
        for stream in list(self._streams.values()):
            self._drop(stream)
        if self._transport.is_closing():
            return
        if not self._prefaced and self._rest_is_http():
            self._transport.write(_NOT_HTTP)
        else:
            self._transport.write(h2.goaway(self._last_id, error.code, error.why[:200]))
        self._linger()

    def stream_failed(self, error: H2StreamError) -> None:
        """Tell the client why, and end the stream."""
        if not self._calm.spend():
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many streams that fail")
        if not error.stream_id:
            raise H2ConnectionError(error.code, error.why)
        stream = self._streams.get(error.stream_id)
        if stream is not None:
            self._drop(stream)
        self._control(h2.rst_stream(error.stream_id, error.code))
        self._close_if_drained()

    # Heads.

    def _open(self, flags: int, stream_id: int, block: bytes) -> None:
        """Take a head that is complete."""
        reader = self._reader
        head = self._blocks.young.get(block) if reader.stateless else None
        if head is None:
            head = reader.read(block)
        if stream_id <= self._last_id or not stream_id & 1 or self._block_of:
            self._open_again(flags, stream_id)
            return
        if self._phase == _DRAINING:
            return  # the client has been told that nobody looks at it
        self._last_id = stream_id
        if len(self._streams) >= self._limits.streams_max:
            raise H2StreamError(stream_id, Code.REFUSED_STREAM, "too many streams")
        if head.malformed:
            raise H2StreamError(stream_id, Code.PROTOCOL_ERROR, head.malformed)
        now_s = self._moved_s = self._now_s()
        call = Call(
            head.metadata,
            now_s,
            head.timeout_s,
            self._admin,
            self._peer_site,
            head.facts,
            self._client,
        )
        stream = H2Stream(self, stream_id, head, call, self._out.stream_window, now_s)
        self._streams[stream_id] = stream
        if self._calm.left < CALM_MAX:
            self._calm.earn(4)
        if head.stream:
            stream.messages = StreamInbox(self._limits.message_bytes_max)
        if flags & h2.END_STREAM:
            stream.ended = True
        if head.refusal is not None:
            if isinstance(head.refusal, HttpError):
                self._refuse_as_http(stream, head.refusal)
            else:
                self._refuse(stream, status_of(head.refusal))
        elif stream.ended:
            self.data_ends(stream, flags)

    def _open_again(self, flags: int, stream_id: int) -> None:
        """Take trailers, or refuse what cannot be any."""
        if self._block_of:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "a frame within a header block")
        stream = self._streams.get(stream_id)
        if stream is None or not stream_id & 1:
            if stream_id & 1 and self._calm.spend(4):  # trailers of a call that we have refused
                return
            raise H2ConnectionError(Code.PROTOCOL_ERROR, f"stream {stream_id} opened again")
        if stream.ended:
            raise H2StreamError(stream_id, Code.STREAM_CLOSED, "HEADERS after the end")
        if not flags & h2.END_STREAM:
            raise H2StreamError(stream_id, Code.PROTOCOL_ERROR, "trailers that end nothing")
        self.data_ends(stream, flags)

    def _continue(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._block_of or stream_id != self._block_of:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block.append(payload)
        self._block_bytes += len(payload)
        limits = self._limits
        if len(self._block) - 1 > limits.continuations_max or (
            self._block_bytes > limits.head_bytes_max
        ):
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "a header block without an end")
        if flags & h2.END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._block_of = 0
            self._open(self._block_flags, stream_id, block)

    # Calls.

    def _begin(self, stream: H2Stream) -> None:
        """Begin a unary call whose message is complete."""
        try:
            inbox = stream.inbox or MessageInbox(self._limits.message_bytes_max)
            message = inbox.message()
        except GrpcError as error:
            self._refuse(stream, status_of(error))
            return
        stream.inbox = None
        work = stream.head.work
        assert work is not None  # noqa: S101 - a head without work is refused or a stream
        self._run(stream, work, message, stream.call, compressed=inbox.compressed)

    def _run(
        self, stream: H2Stream, work: Work, message: Buffer, call: Call, *, compressed: bool
    ) -> None:
        head, packing = stream.head, self._door.packing
        if compressed:
            work = packing.unpacked(work, head.encoding)
        if head.reply_encoding != "identity":
            work = packing.packed(work, head.reply_encoding, stream.note_compressed)
        stream.begun = begin(work(message, call), stream.answered)

    def answered(
        self, stream: H2Stream, pieces: list[Buffer] | None, error: BaseException | None
    ) -> None:
        """Send an answer; called from within a run of others, so nothing may escape."""
        if stream.gone:
            return
        stream.begun = None
        try:
            if pieces is not None and stream.head.plain:
                trailing = stream.call.trailing
                trailers = self._ends.get(tuple(trailing)) or self._door.trailers(trailing)
                if self._out.answer(stream, pieces, trailers):
                    stream.gone = True
                    del self._streams[stream.id]
                    self._door.held_bytes -= stream.held
                    if self._phase:
                        self._close_if_drained()
                else:
                    stream.stuck_s = self._now_s()
            elif stream.messages is not None:
                self._answer_of_stream(stream, pieces, error)
            elif pieces is not None:
                self._answer_packed(stream, pieces)
            elif isinstance(error, SkerryError):
                self._refuse(stream, status_of(error))
            else:
                log.error("a gRPC call failed", exc_info=error)
                self._refuse(stream, FAILED)
        except Exception:
            log.exception("an answer could not be sent")
            self._transport.abort()

    def _answer_packed(self, stream: H2Stream, pieces: list[Buffer]) -> None:
        """Send the answer of a unary call whose client understands compression."""
        self._open_answers(stream)
        end = self._door.trailers(stream.call.trailing).frame(stream.id)
        if self._out.queue(stream, [_message_head(stream, pieces), *pieces], end):
            self._finish(stream)
        else:
            stream.stuck_s = self._now_s()

    def _feed(self, stream: H2Stream) -> None:
        """Begin the next request of a stream if it is there and the last one is answered."""
        messages = stream.messages
        assert messages is not None  # noqa: S101 - it is a stream
        if stream.feeding:
            return
        stream.feeding = True
        turns = 0
        while not (stream.gone or stream.busy) and (
            stream.pieces_bytes <= _STREAM_ANSWERS_BYTES_MAX
        ):
            if turns == _TURN_MAX:
                self._door.loop.call_soon(self._feed, stream)
                break
            try:
                found = messages.next()
            except GrpcError as error:
                self._refuse(stream, status_of(error))
                break
            if found is None:
                if stream.ended:
                    self._end_stream(stream, cut_off=len(messages) > 0)
                break
            turns += 1
            compressed, message = found
            self._calm.earn(2)
            self._release(stream, len(message) + MESSAGE_HEAD_BYTES)
            call = stream.call
            call = Call(
                call.metadata,
                self._now_s(),
                None,
                call.admin,
                call.peer_site,
                call.facts,
                call.client,
            )
            stream.busy = True
            self._run(stream, self._door.works.stream_infer, message, call, compressed=compressed)
        stream.feeding = False
        if not (stream.gone or stream.ended):
            self._grant(stream)

    def _answer_of_stream(
        self, stream: H2Stream, pieces: list[Buffer] | None, error: BaseException | None
    ) -> None:
        stream.busy = False
        if pieces is None:  # what is wrong with a request was an answer; this is something else
            if isinstance(error, SkerryError):
                self._refuse(stream, status_of(error))
            else:
                log.error("a gRPC stream failed", exc_info=error)
                self._refuse(stream, FAILED)
            return
        self._open_answers(stream)
        head = _message_head(stream, pieces)
        if not self._out.queue(stream, [head, *pieces], b"") and stream.stuck_s is None:
            stream.stuck_s = self._now_s()
        self._feed(stream)

    def _end_stream(self, stream: H2Stream, *, cut_off: bool) -> None:
        if cut_off:
            error = GrpcError("INTERNAL", "a stream that ended within a message")
            self._refuse(stream, status_of(error))
            return
        self._open_answers(stream)
        if self._out.queue(stream, [], self._door.trailers([]).frame(stream.id)):
            self._finish(stream)

    def _open_answers(self, stream: H2Stream) -> None:
        if not stream.opened:
            stream.opened = True
            block = ANSWER_BLOCK
            if stream.head.reply_encoding != "identity":
                block += encoded([("grpc-encoding", stream.head.reply_encoding)])
            self._control(h2.frame(h2.HEADERS, h2.END_HEADERS, stream.id, block))

    def _refuse(self, stream: H2Stream, status: Status) -> None:
        """End a call with a status that is not OK."""
        if stream.gone:
            return
        fields = [
            ("grpc-status", str(STATUS.get(status.name, STATUS["UNKNOWN"]))),
            ("grpc-message", message_text(status.text)),
            *status.trailing,
        ]
        if not stream.opened:
            fields[:0] = [(":status", "200"), ("content-type", "application/grpc")]
            if status.name == "UNIMPLEMENTED":
                fields.append(("grpc-accept-encoding", "identity,deflate,gzip"))
        frames = Trailers.of(fields).frame(stream.id)
        if stream.pieces_bytes:  # of a stream: what was answered before comes before
            ended = stream.ended
            stream.ended = True
            if not ended:
                frames += h2.rst_stream(stream.id, Code.NO_ERROR)
            self._out.queue(stream, [], frames)
            return
        self._end_early(stream, frames)

    def _refuse_as_http(self, stream: H2Stream, error: HttpError) -> None:
        block = encoded(
            [(":status", str(error.http_status)), ("content-type", "text/plain; charset=utf-8")]
        )
        frames = h2.frame(h2.HEADERS, h2.END_HEADERS, stream.id, block)
        text = f"{error}\n".encode()
        if len(text) <= min(self._out.window, stream.window):
            self._out.window -= len(text)
            frames += h2.frame(h2.DATA, h2.END_STREAM, stream.id, text)
        else:
            frames = h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream.id, block)
        self._end_early(stream, frames)

    def _end_early(self, stream: H2Stream, frames: bytes) -> None:
        """Write the end of a stream; a client that still sends is asked to stop."""
        if not stream.ended:
            frames += h2.rst_stream(stream.id, Code.NO_ERROR)
        self._finish(stream)
        self._control(frames)

    def _sent(self, stream: H2Stream) -> None:
        """Take note that all of a stream's waiting output is out."""
        stream.stuck_s = None
        if stream.end:
            self._finish(stream)
        elif stream.messages is not None:
            self._feed(stream)

    def _finish(self, stream: H2Stream) -> None:
        """Forget a stream that is answered."""
        self._drop(stream)
        if self._phase != _SERVING:
            self._close_if_drained()

    def _drop(self, stream: H2Stream) -> None:
        """Forget a stream, whatever is under way on it."""
        stream.gone = True
        self._streams.pop(stream.id, None)
        if stream.held:
            self._door.release(stream.held)
            stream.held = 0
        if stream.pieces is not None:
            self._out.forget(stream)
            stream.pieces = None
        if stream is self._data_stream:
            self._forget_data(stream)
        begun, stream.begun = stream.begun, None
        if begun is not None:
            begun.cancel()

    # Control frames.

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & h2.ACK:
            if payload:
                raise H2ConnectionError(Code.FRAME_SIZE_ERROR, "SETTINGS that say and set")
            self._reader.table_is_empty()
            return
        out = self._out
        for name, value in h2.settings_in(payload):
            if name == h2.INITIAL_WINDOW_SIZE:
                change, out.stream_window = value - out.stream_window, value
                for stream in self._streams.values():
                    stream.window += change
                    if stream.window > h2.WINDOW_MAX:
                        raise H2ConnectionError(Code.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            elif name == h2.MAX_FRAME_SIZE:
                out.frame_bytes_max = min(value, self._limits.frame_bytes_max)
        self._control(h2.frame(h2.SETTINGS, h2.ACK, 0))
        out.pump()

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise H2ConnectionError(Code.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if stream_id:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "PING on a stream")
        if not flags & h2.ACK:
            self._control(h2.frame(h2.PING, h2.ACK, 0, payload))
        elif payload == _DRAIN_PING and self._phase == _WARNED:
            self._drain_for_good()

    def _widen(self, stream_id: int, more: int) -> None:
        stream = self._streams.get(stream_id)
        if not more:
            if stream_id:
                raise H2StreamError(stream_id, Code.PROTOCOL_ERROR, "a window opened by 0")
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "a window opened by 0")
        if stream_id and stream is None:
            if stream_id > self._last_id or not stream_id & 1:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "a window of no stream")
            return
        if stream is not None and stream.window + more > h2.WINDOW_MAX:
            raise H2StreamError(stream_id, Code.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
        self._calm.earn(0.5)
        self._out.widen(stream, more)

    def _reset_by_peer(self, stream_id: int, code: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            if not stream_id & 1 or stream_id > self._last_id:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "RST_STREAM of no stream")
            return
        if not self._resets.spend():
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many calls taken back")
        self._finish(stream)

    # Windows and memory.

    def _hold(self, stream: H2Stream, size: int) -> bool:
        if stream.gone:
            return False
        if not self._door.hold(size):
            error = GrpcError("RESOURCE_EXHAUSTED", "too many messages at once")
            self._refuse(stream, status_of(error))
            return False
        stream.held += size
        return True

    def _release(self, stream: H2Stream, size: int) -> None:
        size = min(size, stream.held)
        stream.held -= size
        self._door.release(size)

    def _acknowledge(self) -> None:
        """Let the client send as much again on the connection."""
        self._control(h2.window_update(0, self._unacked))
        self._unacked = 0

    def _grant(self, stream: H2Stream) -> None:
        """Let the client send as much again on a stream, less what waits on it."""
        waiting = len(stream.messages) if stream.messages is not None else 0
        more = stream.unacked - min(waiting, self._limits.stream_window_bytes // 2)
        if more >= self._limits.stream_window_bytes // 2:
            self._control(h2.window_update(stream.id, more))
            stream.unacked -= more

    # The end.

    def _sweep_stream(self, stream: H2Stream, now_s: float) -> None:
        limits, call = self._limits, stream.call
        if call.deadline_s is not None and now_s - call.received_s > call.deadline_s:
            error = GrpcError("DEADLINE_EXCEEDED", "the deadline passed before the answer was out")
            self._refuse(stream, status_of(error))
            return
        if stream.stuck_s is not None and now_s - stream.stuck_s > limits.write_s:
            self.stream_failed(H2StreamError(stream.id, Code.CANCEL, "its window stayed shut"))
            return
        if stream.ended or stream.busy:
            return
        partial = stream.messages is None or len(stream.messages) > 0
        late = now_s - stream.moved_s > limits.message_pause_s or (
            stream.messages is None and now_s - call.received_s > limits.message_s
        )
        if partial and late and not stream.pieces_bytes:
            error = GrpcError("RESOURCE_EXHAUSTED", "the message took too long to come")
            self._refuse(stream, status_of(error))

    def _drain_for_good(self) -> None:
        self._phase = _DRAINING
        self._control(h2.goaway(self._last_id, Code.NO_ERROR))
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._phase == _DRAINING and not self._streams:
            self._closed = True
            self._linger()

    def _linger(self) -> None:
        """Close, but read on a little: a reset would destroy what we wrote last."""
        if self._transport.is_closing() or self._lingers_until_s is not None:
            return
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        self._lingers_until_s = self._now_s() + _LINGER_S
        self._transport.write_eof()

    def _control(self, frames: bytes) -> None:
        if not self._closed:
            self._out.control(frames)

    def _rest_is_http(self) -> bool:
        start = self._buffer[:8].tobytes()
        return start.split(b" ")[0] in (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE")


def _message_head(stream: H2Stream, pieces: list[Buffer]) -> bytes:
    size = sum(len(piece) for piece in pieces)
    compressed, stream.compressed = stream.compressed, 0
    return MESSAGE_HEAD.pack(compressed, size)


_NOT_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"this port speaks gRPC over HTTP/2; the HTTP/1.1 door is on another port\n"
)
