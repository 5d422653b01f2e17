"""Where the messages of a call land: one in its own buffer, or many behind each other.

Units:   bytes.
Errors:  GrpcError, for what is no message of gRPC or is larger than allowed.
"""

import numpy as np

from skerry.schema.oip_tensors import Buffer
from skerry.serve.grpc_wire import MESSAGE_HEAD, MESSAGE_HEAD_BYTES, GrpcError, too_large

_GROW_ABOVE_BYTES = 2 * 1024**2
"""Buffers up to here are made at once: pages nobody writes to cost no memory."""


class MessageInbox:
    """One message, received into a buffer of its own, which nobody uses again."""

    __slots__ = ("_buffer", "_bytes_max", "_head", "compressed", "filled", "length")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._head = b""
        self._buffer: memoryview | None = None
        self.length = -1
        """Of the message, once it is known."""
        self.compressed = False
        self.filled = 0

    def feed(self, piece: memoryview) -> None:
        """Take the next bytes."""
        at = 0
        if self._buffer is None:
            at = min(len(piece), MESSAGE_HEAD_BYTES - len(self._head))
            self._head += piece[:at].tobytes()
            if len(self._head) < MESSAGE_HEAD_BYTES:
                return
            self._begin()
        count = len(piece) - at
        if count > self.length - self.filled:
            raise GrpcError("UNIMPLEMENTED", "more than one message in a call that takes one")
        while count:
            room = self.room()
            part = min(count, len(room))
            room[:part] = piece[at : at + part]
            self.filled += part
            at += part
            count -= part

    def took(self, source: memoryview, at: int, count: int) -> bool:
        """Take bytes of a buffer at once; False if they do not fit what is there for them."""
        filled = self.filled
        end = filled + count
        if self._buffer is None or end > len(self._buffer):
            return False
        self._buffer[filled:end] = source[at : at + count]
        self.filled = end
        return True

    def room(self) -> memoryview:
        """Return where the next bytes of the message go; it is not empty before the end."""
        buffer = self._buffer
        if buffer is None:
            return memoryview(b"")
        if self.filled == len(buffer) < self.length:
            wider = _buffer(min(self.length, 2 * len(buffer)))
            wider[: self.filled] = buffer
            self._buffer = buffer = wider
        return buffer[self.filled :]

    def message(self) -> Buffer:
        """Return the message, which must be complete."""
        if self._buffer is None or self.filled < self.length:
            what = "without a message" if self.length < 0 else "that ended within its message"
            raise GrpcError("INTERNAL", f"a call {what}")
        return self._buffer

    def _begin(self) -> None:
        self.compressed, self.length = message_head(self._head, self._bytes_max)
        self._buffer = _buffer(min(self.length, _GROW_ABOVE_BYTES))


class StreamInbox:
    """What came on a stream and was not asked for yet; never more than the stream's window."""

    __slots__ = ("_at", "_bytes_max", "_data")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._data = bytearray()
        self._at = 0

    def __len__(self) -> int:
        """Return how many bytes wait."""
        return len(self._data) - self._at

    def feed(self, piece: memoryview) -> None:
        """Take the next bytes."""
        if self._at > len(self._data) // 2:
            del self._data[: self._at]
            self._at = 0
        self._data += piece

    def next(self) -> tuple[bool, bytes] | None:
        """Take the next message and whether it is compressed; None if it is not all there."""
        if len(self) < MESSAGE_HEAD_BYTES:
            return None
        compressed, length = message_head(self._data, self._bytes_max, self._at)
        start = self._at + MESSAGE_HEAD_BYTES
        if len(self._data) < start + length:
            return None
        self._at = start + length
        with memoryview(self._data) as view:
            return compressed, view[start : self._at].tobytes()


def message_head(data: bytes | bytearray, bytes_max: int, at: int = 0) -> tuple[bool, int]:
    """Read the five bytes before a message: is it compressed, and how long is it."""
    compressed, length = MESSAGE_HEAD.unpack_from(data, at)
    if compressed > 1:
        raise GrpcError("INTERNAL", f"a message whose first byte is {compressed}, wanted 0 or 1")
    if length > bytes_max:
        raise too_large(bytes_max)
    return bool(compressed), length


def _buffer(size: int) -> memoryview:
    return np.empty(size, np.uint8).data if size else memoryview(b"")
