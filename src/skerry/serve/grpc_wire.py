"""gRPC's own words on top of HTTP/2: timeouts, statuses, message texts, compression.

    message = compressed (1 byte) | length (4 bytes, big-endian) | that many bytes

Units:   seconds and bytes.
Errors:  GrpcError, which names the status that the client is told.
Source:  grpc/doc/PROTOCOL-HTTP2.md and doc/compression.md.
"""

import struct
import zlib
from typing import ClassVar

from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import ServeError

MESSAGE_HEAD = struct.Struct(">BI")
MESSAGE_HEAD_BYTES = MESSAGE_HEAD.size
ENCODINGS = ("identity", "deflate", "gzip")
COMPRESS_BYTES_MIN = 1024  # below it the header of gzip and its time cost more than they save

_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
STATUS = {name: number for number, name in enumerate(_STATUSES)}

_TIMEOUT_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_MESSAGE_CHARS_MAX = 1024


class GrpcError(ServeError):
    """A gRPC call that cannot be taken as it stands; the text says which rule it broke.

    Limits on messages, metadata, streams and connections protect the node from broken and
    hostile clients; `docs/reference/serving.md` lists them.
    """

    code = "E0440"
    http_status: ClassVar[int] = 400

    def __init__(self, grpc_code: str, what: str) -> None:
        super().__init__(grpc_code, what)
        self.grpc_code, self.what = grpc_code, what  # type: ignore[misc]

    def __str__(self) -> str:
        return self.what


def timeout_s(text: str) -> float:
    """Read `grpc-timeout`: up to eight digits and a unit."""
    digits, unit = text[:-1], text[-1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 8) or (
        unit not in _TIMEOUT_UNITS_S
    ):
        raise GrpcError("INTERNAL", f"grpc-timeout is {text[:20]!r}, wanted digits and a unit")
    return int(digits) * _TIMEOUT_UNITS_S[unit]


def message_text(text: str) -> str:
    """Return a status text as `grpc-message` carries it: percent-encoded UTF-8, cut to length."""
    raw = text[:_MESSAGE_CHARS_MAX].encode("utf-8", "replace")
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in raw
    )


def inflated(data: Buffer, encoding: str, bytes_max: int) -> bytes | None:
    """Undo the compression of a message; None if it would be larger than `bytes_max`."""
    work = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        found = work.decompress(data, bytes_max + 1)
    except zlib.error as error:
        raise GrpcError("INTERNAL", f"a message that is not {encoding}: {error}") from error
    if len(found) > bytes_max:
        return None
    if not work.eof:
        raise GrpcError("INTERNAL", f"a message whose {encoding} is cut off")
    return found


def deflated(pieces: list[Buffer], encoding: str) -> bytes:
    """Compress a message, quickly rather than well: tensors seldom shrink much."""
    work = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return b"".join([*(work.compress(piece) for piece in pieces), work.flush()])


def too_large(bytes_max: int) -> GrpcError:
    """Return the refusal of a message beyond the limit."""
    return GrpcError("RESOURCE_EXHAUSTED", f"a message of more than {bytes_max} bytes")
