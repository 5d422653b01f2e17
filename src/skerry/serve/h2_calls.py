"""The taking part of an HTTP/2 connection: messages of calls, held against every window.

A unary call whose message fits the read costs a slice and is begun at once. A larger
message has a buffer of its own; what comes on a stream waits until its turn.

Units:   bytes; seconds on the clock's monotonic scale.
"""

from typing import TYPE_CHECKING

from skerry.base.drive import begin
from skerry.schema.oip_tensors import Buffer
from skerry.serve import h2_frames as h2
from skerry.serve.grpc_call import Call, Work, status_of
from skerry.serve.grpc_inbox import MessageInbox
from skerry.serve.grpc_wire import MESSAGE_HEAD, MESSAGE_HEAD_BYTES, GrpcError
from skerry.serve.h2_answers import Answerer
from skerry.serve.h2_frames import Code, H2ConnectionError, H2StreamError
from skerry.serve.h2_limits import CALM_MAX, Calm
from skerry.serve.h2_stream import H2Stream

if TYPE_CHECKING:
    from skerry.serve.grpc_door import GrpcDoor

_SMALL_BYTES = 256  # a DATA frame below it that completes nothing counts as nothing
_STREAM_ANSWERS_BYTES_MAX = 1024**2  # unsent answers of a stream; then its next request waits
_TURN_MAX = 32  # requests of one stream that are answered before others have their turn

_message_head_of = MESSAGE_HEAD.unpack_from


class CallTaker(Answerer):
    """Takes messages and begins calls."""

    def __init__(self, door: "GrpcDoor") -> None:
        super().__init__(door)
        self._last_id = 0
        self._moved_s = door.now_s()
        self._block_of = 0
        """The stream whose header block is under way."""
        self._calm = Calm(CALM_MAX)
        self._unacked = 0
        self._message_bytes_max = door.limits.message_bytes_max
        self._update_at = door.limits.connection_window_bytes // 2

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
        if (
            stream is not None
            and stream.inbox is not None
            and not flags
            and not self._block_of
            and self._went_on(stream, stream.inbox, at, length)
        ):
            return
        stream = self.data_begins(flags, stream_id, length)
        if stream is not None:
            if length:
                self.data_piece(stream, self._buffer[at : at + length])
            self.data_ends(stream, flags)

    def _went_on(self, stream: H2Stream, inbox: MessageInbox, at: int, length: int) -> bool:
        """Take a middle part of a large message, unless something about it wants a look."""
        limits, door = self._limits, self._door
        unacked = stream.unacked + length
        if (
            not _SMALL_BYTES <= length <= limits.frame_bytes_max
            or unacked >= limits.stream_window_bytes // 2
            or self._unacked + length >= self._update_at
            or door.held_bytes + length > limits.held_bytes_max
            or not inbox.took(self._buffer, at, length)
        ):
            return False
        stream.unacked = unacked
        self._unacked += length
        stream.held += length
        door.held_bytes += length
        stream.moved_s = self._now_s()
        return True

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
            whole, now_s = stream.call, self._now_s()
            left_s = None
            if whole.deadline_s is not None:  # of the stream, and so of each of its requests
                left_s = max(whole.deadline_s - (now_s - whole.received_s), 0.0)
            call = Call(
                whole.metadata,
                now_s,
                left_s,
                whole.admin,
                whole.peer_site,
                whole.facts,
                whole.client,
            )
            stream.busy = True
            self._run(stream, self._door.works.stream_infer, message, call, compressed=compressed)
        stream.feeding = False
        if not (stream.gone or stream.ended):
            self._grant(stream)

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
