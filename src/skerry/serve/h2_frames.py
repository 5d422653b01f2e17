"""HTTP/2 frames: their numbers, how one is built, and the two ways to break the rules.

    frame = length (3 bytes) | kind (1) | flags (1) | stream (4) | payload

Units:   bytes.
Errors:  H2ConnectionError, after which nothing on the connection can be trusted, and
         H2StreamError, which ends one stream. Both are the peer's doing; neither leaves the
         connection, which turns them into GOAWAY and RST_STREAM.
Source:  RFC 9113, sections 4 to 7.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = struct.Struct(">HBBBI")
"""The length's upper 16 bits and lower 8, kind, flags, stream: 9 bytes."""
HEAD_BYTES = 9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

FRAME_BYTES_DEFAULT = 16_384
WINDOW_DEFAULT = 65_535
WINDOW_MAX = 2**31 - 1
STREAM_MAX = 2**31 - 1


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class H2ConnectionError(Exception):
    """The peer broke a rule that holds for the whole connection."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(code, why)
        self.code, self.why = code, why


class H2StreamError(Exception):
    """The peer broke a rule that holds for one stream; the others go on."""

    def __init__(self, stream_id: int, code: Code, why: str) -> None:
        super().__init__(stream_id, code, why)
        self.stream_id, self.code, self.why = stream_id, code, why


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    size = len(payload)
    return FRAME_HEAD.pack(size >> 8, size & 255, kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join(struct.pack(">HI", name, value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def settings_in(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield what a SETTINGS frame sets, held against the bounds of RFC 9113 section 6.5.2."""
    if len(payload) % 6:
        raise H2ConnectionError(Code.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    for name, value in struct.iter_unpack(">HI", payload):
        if name == INITIAL_WINDOW_SIZE and value > WINDOW_MAX:
            raise H2ConnectionError(Code.FLOW_CONTROL_ERROR, f"an initial window of {value}")
        if name == MAX_FRAME_SIZE and not FRAME_BYTES_DEFAULT <= value < 2**24:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, f"a frame size of {value}")
        if name == ENABLE_PUSH and value > 1:
            raise H2ConnectionError(Code.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")
        yield name, value


def window_update(stream_id: int, more: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream_id, more.to_bytes(4, "big"))


def rst_stream(stream_id: int, code: Code) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def goaway(last_stream_id: int, code: Code, why: str = "") -> bytes:
    """Return a GOAWAY frame; `why` is for the people who read the peer's log."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream_id, code) + why.encode())


def number(payload: bytes, kind: str) -> int:
    """Return the 32-bit number that is the whole payload of a frame."""
    if len(payload) != 4:
        raise H2ConnectionError(Code.FRAME_SIZE_ERROR, f"{kind} of {len(payload)} bytes")
    return int.from_bytes(payload, "big")


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return a HEADERS payload without its padding and its priority."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise H2ConnectionError(Code.FRAME_SIZE_ERROR, "a padded frame without its length")
        start, end = 1, end - payload[0]
    if flags & WITH_PRIORITY:
        start += 5
    if start > end:
        raise H2ConnectionError(Code.PROTOCOL_ERROR, "padding that is longer than its frame")
    return payload[start:end]
