"""The answering part of an HTTP/2 connection: answers and statuses of calls, each on its stream.

Units:   bytes; seconds on the clock's monotonic scale.
"""

import logging
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from skerry.base.errors import SkerryError
from skerry.schema.oip_tensors import Buffer
from skerry.serve import h2_frames as h2
from skerry.serve.errors import HttpError
from skerry.serve.grpc_call import FAILED, Status, status_of
from skerry.serve.grpc_wire import MESSAGE_HEAD, STATUS, GrpcError, message_text
from skerry.serve.h2_flow import ANSWER_BLOCK, Sender, Trailers
from skerry.serve.h2_frames import Code
from skerry.serve.h2_headers import encoded
from skerry.serve.h2_reader import FrameReader
from skerry.serve.h2_stream import H2Stream

if TYPE_CHECKING:
    from skerry.serve.grpc_door import GrpcDoor

log = logging.getLogger("skerry.serve")


class Answerer(FrameReader):
    """Writes what calls come to, and forgets them."""

    def __init__(self, door: "GrpcDoor") -> None:
        super().__init__(door.buffer, door.limits)
        self._door = door
        self._now_s = door.now_s
        self._transport: Any = None
        self._out: Sender
        self._streams: dict[int, H2Stream] = {}
        self._ends = door.ends
        self._draining = False
        """Whether the connection closes when its last call is answered."""

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
                    if self._draining:
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
        if self._draining:
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

    def _control(self, frames: bytes) -> None:
        if not self._closed:
            self._out.control(frames)

    @abstractmethod
    def _feed(self, stream: H2Stream) -> None:
        """Begin the next request of a stream."""

    def _close_if_drained(self) -> None:
        if self._draining and not self._streams:
            self._closed = True
            self._linger()

    @abstractmethod
    def _linger(self) -> None:
        """Close, but read on a little."""


def _message_head(stream: H2Stream, pieces: list[Buffer]) -> bytes:
    size = sum(len(piece) for piece in pieces)
    compressed, stream.compressed = stream.compressed, 0
    return MESSAGE_HEAD.pack(compressed, size)
