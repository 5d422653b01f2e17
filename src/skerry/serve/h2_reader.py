"""The reading half of an HTTP/2 connection: from what the socket gives to whole frames.

All connections of a door read into one buffer, so one that is idle holds no memory: what
is left of a frame at the end of a read is kept aside until the next one. A DATA frame
is not waited for; its payload is handed on as it comes, and the rest of a large one goes
from the socket straight into the message that it belongs to.

Units:   bytes.
Errors:  H2ConnectionError and H2StreamError go to `failed` and `stream_failed`.
"""

import asyncio
from abc import abstractmethod
from typing import Any

from skerry.serve.h2_frames import (
    CONTINUATION,
    DATA,
    FRAME_BYTES_DEFAULT,
    FRAME_HEAD,
    HEAD_BYTES,
    HEADERS,
    PADDED,
    PREFACE,
    PUSH_PROMISE,
    SETTINGS,
    Code,
    H2ConnectionError,
    H2StreamError,
)
from skerry.serve.h2_limits import GrpcLimits

BUFFER_BYTES = 128 * 1024
_DIRECT_BYTES_MIN = 32 * 1024  # below it a copy costs less than a read of its own
_SETTINGS_BYTES_MAX = 600
_PADDING_BYTES_MAX = 1 + 5 + 255
_UNKNOWN = CONTINUATION + 1

_unpack = FRAME_HEAD.unpack_from


class FrameReader(asyncio.BufferedProtocol):
    """Cuts frames; what they mean is the subclass's business."""

    def __init__(self, buffer: memoryview, limits: GrpcLimits) -> None:
        self._buffer = buffer
        self._limits = limits
        self._rest = b""
        self._prefaced = self._set_up = False
        self._closed = False
        """Whether what comes is thrown away."""
        self._skip = 0
        self._sink: memoryview | None = None
        # The DATA frame whose payload is under way: where to, its flags, what is left of it.
        self._data_left = 0
        self._data_padding = 0
        self._data_flags = 0
        self._data_stream: Any = None

    # What the event loop calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        if self._sink is not None:
            return self._sink
        rest = self._rest
        if rest:  # copied at each call: between two reads others use the buffer
            self._buffer[: len(rest)] = rest
            return self._buffer[len(rest) :]
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        if self._closed:
            self._sink = None
            return
        try:
            if self._sink is not None:
                self._sunk(nbytes)
                return
            end = len(self._rest) + nbytes
            self._rest = b""
            at = self._cut(0, end) if self._prefaced else self._cut_preface(end)
            if at < end and not self._closed:
                self._rest = self._buffer[at:end].tobytes()
            if end == len(self._buffer) and not self._closed:
                self.full_read()
        except H2ConnectionError as error:
            self.failed(error)

    # What the subclass does.

    @abstractmethod
    def frame_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a whole frame that is not DATA."""

    @abstractmethod
    def full_read(self) -> None:
        """Take note that a read filled the buffer: there may be much more."""

    @abstractmethod
    def data_came(self, flags: int, stream_id: int, at: int, length: int) -> None:
        """Take a whole DATA frame without padding: `length` bytes of the buffer from `at`."""

    @abstractmethod
    def data_begins(self, flags: int, stream_id: int, length: int) -> Any:
        """Take note of a DATA frame; returns its stream, or None to pass it over."""

    @abstractmethod
    def data_piece(self, stream: Any, piece: memoryview) -> None:
        """Take a piece of a DATA frame's payload; it is gone when this returns."""

    @abstractmethod
    def data_room(self, stream: Any) -> memoryview | None:
        """Return where the next payload of a stream could go directly."""

    @abstractmethod
    def data_landed(self, stream: Any, count: int) -> None:
        """Take note that so many bytes came into that place."""

    @abstractmethod
    def data_ends(self, stream: Any, flags: int) -> None:
        """Take note that a DATA frame is complete."""

    @abstractmethod
    def failed(self, error: H2ConnectionError) -> None:
        """End the connection."""

    @abstractmethod
    def stream_failed(self, error: H2StreamError) -> None:
        """End a stream."""

    # The rest.

    def _cut_preface(self, end: int) -> int:
        wanted = len(PREFACE)
        found = self._buffer[: min(end, wanted)]
        if found != PREFACE[: len(found)]:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "not HTTP/2")
        if end < wanted:
            return 0
        self._prefaced = True
        return self._cut(wanted, end)

    def _cut(self, at: int, end: int) -> int:
        """Hand on what lies in the buffer from `at`; returns where the unfinished begins."""
        buffer = self._buffer
        if self._skip or self._data_left or self._data_padding:
            at = self._go_on(at, end)
        while end - at >= HEAD_BYTES and not self._closed:
            high, low, kind, flags, stream_id = _unpack(buffer, at)
            length = high << 8 | low
            stream_id &= 0x7FFFFFFF
            body = at + HEAD_BYTES
            try:
                if body + length <= end:
                    if kind == DATA and not flags & PADDED:
                        self.data_came(flags, stream_id, body, length)
                    elif kind == DATA:
                        self._begin_data(flags, stream_id, body, length, end)
                    else:
                        self._check_size(kind, length)
                        payload = buffer[body : body + length].tobytes()
                        self.frame_came(kind, flags, stream_id, payload)
                    at = body + length
                    continue
                if kind == DATA:
                    if flags & PADDED and body == end:
                        return at  # the padding's length first
                    return self._begin_data(flags, stream_id, body, length, end)
                self._check_size(kind, length)
                if kind < _UNKNOWN:
                    return at
                self._skip = length
                self.frame_came(kind, flags, stream_id, b"")
                return self._go_on(body, end)
            except H2StreamError as error:
                # Frames that are not DATA lie here whole; of DATA the rest is passed over.
                self.stream_failed(error)
                if body + length > end:
                    self._data_stream = None
                    self._data_left, self._data_padding = length, 0
                    return self._go_on(body, end)
                self._data_stream, self._data_left, self._data_padding = None, 0, 0
                at = body + length
        return at

    def _check_size(self, kind: int, length: int) -> None:
        if kind in (HEADERS, CONTINUATION):
            if length > self._limits.head_bytes_max + _PADDING_BYTES_MAX:
                raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "a header block too large")
        elif kind == SETTINGS and length > _SETTINGS_BYTES_MAX:
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "too many settings at once")
        elif kind == PUSH_PROMISE:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        elif length > (FRAME_BYTES_DEFAULT if kind < _UNKNOWN else self._limits.frame_bytes_max):
            raise H2ConnectionError(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if not self._set_up:
            if kind != SETTINGS:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "no SETTINGS after the preface")
            self._set_up = True

    def _begin_data(self, flags: int, stream_id: int, at: int, length: int, end: int) -> int:
        """Begin a DATA frame that has padding or is not all there."""
        self._data_stream = self.data_begins(flags, stream_id, length)
        self._data_flags, self._data_left = flags, length
        if flags & PADDED:
            if not length:
                raise H2ConnectionError(Code.FRAME_SIZE_ERROR, "padding without its length")
            self._data_padding = self._buffer[at]
            self._data_left -= 1 + self._data_padding
            if self._data_left < 0:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "padding longer than its frame")
            at += 1
        return self._go_on(at, end)

    def _go_on(self, at: int, end: int) -> int:
        """Hand on more of a DATA frame, or of what is skipped."""
        if self._skip:
            count = min(self._skip, end - at)
            self._skip -= count
            return at + count
        count = min(self._data_left, end - at)
        stream = self._data_stream
        if count:
            self._data_left -= count
            if stream is not None:
                try:
                    self.data_piece(stream, self._buffer[at : at + count])
                except H2StreamError as error:
                    self._data_stream = stream = None
                    self.stream_failed(error)
            at += count
        if self._data_left:
            self._find_sink()
            return at
        count = min(self._data_padding, end - at)
        self._data_padding -= count
        if not self._data_padding:
            self._end_data()
        return at + count

    def _end_data(self) -> None:
        stream, self._data_stream = self._data_stream, None
        if stream is not None:
            try:
                self.data_ends(stream, self._data_flags)
            except H2StreamError as error:
                self.stream_failed(error)

    def _find_sink(self) -> None:
        self._sink = None
        if self._data_stream is not None and self._data_left >= _DIRECT_BYTES_MIN:
            room = self.data_room(self._data_stream)
            if room is not None and len(room) >= _DIRECT_BYTES_MIN:
                self._sink = room[: self._data_left]

    def _sunk(self, count: int) -> None:
        """Take note of bytes that came straight into a message."""
        sink = self._sink
        assert sink is not None  # noqa: S101 - it is what the socket was read into
        self._data_left -= count
        self._sink = sink[count:] if count < len(sink) else None
        try:
            if self._data_stream is not None:
                self.data_landed(self._data_stream, count)
        except H2StreamError as error:
            self._data_stream = self._sink = None
            self.stream_failed(error)
        if not self._data_left:
            self._sink = None
            if not self._data_padding:
                self._end_data()
        elif self._sink is None:
            self._find_sink()

    def _forget_data(self, stream: Any) -> None:
        """Pass over what still comes of a stream that has ended."""
        if self._data_stream is stream:
            self._data_stream = self._sink = None
