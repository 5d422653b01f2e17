"""The writing half of an HTTP/2 connection: the peer's windows, and who writes when.

A small answer that fits the windows is one write. What does not fit waits in its stream,
and the streams take turns, a frame each, as the peer opens its windows and reads.

Units:   bytes.
Source:  RFC 9113, section 5.2 and 6.9.
"""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from skerry.schema.oip_tensors import Buffer
from skerry.serve.grpc_wire import MESSAGE_HEAD, MESSAGE_HEAD_BYTES
from skerry.serve.h2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_DEFAULT,
    FRAME_HEAD,
    HEADERS,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    Code,
    H2ConnectionError,
    frame,
)
from skerry.serve.h2_headers import encoded

WRITE_BYTES_MAX = 512 * 1024
"""What is given to the socket before we look whether the peer reads."""
CONTROL_WAITING_MAX = 1000
_AT_ONCE_BYTES_MAX = FRAME_BYTES_DEFAULT

ANSWER_BLOCK = encoded([(":status", "200"), ("content-type", "application/grpc")])
_ANSWER_HEAD = FRAME_HEAD.pack(0, len(ANSWER_BLOCK), HEADERS, END_HEADERS, 0)[:5]
_DATA_HEAD = struct.Struct(">HBHIBI")
"""The head of a DATA frame without flags, and the head of a message in it."""


class Trailers(NamedTuple):
    """The end of an answer: its frame's head up to the stream's number, and its block."""

    head: bytes
    block: bytes

    @classmethod
    def of(cls, fields: list[tuple[str, str]]) -> "Trailers":
        """Return fields as the end of a stream."""
        block = encoded(fields)
        size = len(block)
        flags = END_HEADERS | END_STREAM
        return cls(FRAME_HEAD.pack(size >> 8, size & 255, HEADERS, flags, 0)[:5], block)

    def frame(self, stream_id: int) -> bytes:
        """Return them as a frame of a stream."""
        return b"".join((self.head, stream_id.to_bytes(4, "big"), self.block))


class Outgoing(Protocol):
    """What a stream has to know of what it still has to send."""

    id: int
    window: int
    pieces: "deque[Buffer] | None"
    pieces_bytes: int
    end: bytes
    """The frame that ends the stream, once there is nothing before it; empty: it goes on."""


class Sender:
    """Writes for all streams of one connection; `sent` is told when a stream is out."""

    def __init__(self, transport: Any, sent: Callable[[Any], None]) -> None:
        self._transport = transport
        self._sent = sent
        self.window = WINDOW_DEFAULT
        self.stream_window = WINDOW_DEFAULT
        """What a new stream may send."""
        self.frame_bytes_max = FRAME_BYTES_DEFAULT
        self.paused = False
        self._backlog: dict[int, Any] = {}
        self._control_waiting = 0
        transport.set_write_buffer_limits(high=WRITE_BYTES_MAX)

    @property
    def backlog(self) -> Sequence[Any]:
        """The streams that wait for the peer."""
        return list(self._backlog.values())

    def control(self, frames: bytes) -> None:
        """Write frames that need no window."""
        if self._transport.is_closing():  # uvloop raises on a write to a closed transport
            return
        if self.paused:
            self._control_waiting += 1
            if self._control_waiting > CONTROL_WAITING_MAX:
                raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "what we write is not read")
        self._transport.write(frames)

    def answer(self, stream: Any, pieces: list[Buffer], trailers: Trailers) -> bool:
        """Send the head, the one message and the end of an answer; True if all of it is out."""
        size = 0
        for piece in pieces:
            size += len(piece)
        whole = size + MESSAGE_HEAD_BYTES
        stream_id = stream.id
        if (
            whole <= _AT_ONCE_BYTES_MAX
            and whole <= self.window
            and whole <= stream.window
            and not self.paused
        ):
            self.window -= whole
            number = stream_id.to_bytes(4, "big")
            if not self._transport.is_closing():
                self._transport.write(
                    b"".join(
                        (
                            _ANSWER_HEAD,
                            number,
                            ANSWER_BLOCK,
                            _DATA_HEAD.pack(whole >> 8, whole & 255, 0, stream_id, 0, size),
                            *pieces,
                            trailers.head,
                            number,
                            trailers.block,
                        )
                    )
                )
            return True
        self.control(frame(HEADERS, END_HEADERS, stream_id, ANSWER_BLOCK))
        return self.queue(stream, [MESSAGE_HEAD.pack(0, size), *pieces], trailers.frame(stream_id))

    def queue(self, stream: Any, pieces: list[Buffer], end: bytes) -> bool:
        """Send pieces as DATA, then `end`, as the windows allow; True if all of it is out."""
        if stream.pieces is None:
            stream.pieces = deque()
        for piece in pieces:
            if len(piece):
                stream.pieces.append(piece)
                stream.pieces_bytes += len(piece)
        stream.end = end
        self._backlog[stream.id] = stream
        self._pump(tell=False)
        return stream.id not in self._backlog

    def widen(self, stream: Any, more: int) -> None:
        """Take a WINDOW_UPDATE: for the connection where `stream` is None."""
        if stream is None:
            self.window += more
            if self.window > WINDOW_MAX:
                raise H2ConnectionError(Code.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
        else:
            stream.window += more
        if self._backlog:
            self._pump()

    def resume(self) -> None:
        """Go on after the peer has read."""
        self.paused, self._control_waiting = False, 0
        self._pump()

    def forget(self, stream: Any) -> None:
        """Drop what a stream still had to send."""
        self._backlog.pop(stream.id, None)

    def pump(self) -> None:
        """Send what the windows now allow."""
        self._pump()

    def _pump(self, *, tell: bool = True) -> None:
        moved = True
        out: list[Buffer] = []
        done: list[Any] = []
        size = 0
        while moved and self._backlog and not self.paused:
            moved = False
            for stream in list(self._backlog.values()):
                count = min(stream.pieces_bytes, self.window, stream.window, self.frame_bytes_max)
                if count > 0:
                    self._take(stream, count, out)
                    size += count
                    moved = True
                if not stream.pieces_bytes:
                    if stream.end:
                        out.append(stream.end)
                    del self._backlog[stream.id]
                    done.append(stream)
                if size >= WRITE_BYTES_MAX:
                    self._write(out)
                    out, size = [], 0
                    if self.paused:
                        break
        self._write(out)
        if tell:
            for stream in done:
                self._sent(stream)

    def _take(self, stream: Any, count: int, out: list[Buffer]) -> None:
        """Move `count` bytes of a stream into `out`, as one DATA frame."""
        out.append(FRAME_HEAD.pack(count >> 8, count & 255, DATA, 0, stream.id))
        self.window -= count
        stream.window -= count
        stream.pieces_bytes -= count
        pieces = stream.pieces
        while count:
            piece = pieces.popleft()
            if len(piece) > count:
                view = memoryview(piece)
                pieces.appendleft(view[count:])
                piece = view[:count]
            out.append(piece)
            count -= len(piece)

    def _write(self, out: list[Buffer]) -> None:
        if out and not self._transport.is_closing():
            if len(out) < 16 and sum(len(piece) for piece in out) <= _AT_ONCE_BYTES_MAX:
                self._transport.write(b"".join(out))
            else:
                self._transport.writelines(out)
