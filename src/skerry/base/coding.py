"""Content codings: gzip, deflate and zstd, both ways, with a bound on what comes out.

Units:   bytes.
Errors:  CodingError, TooLongError.
Source:  RFC 9110 section 8.4.1; RFC 8878 (zstd).
"""

import gzip
import zlib
from collections.abc import Iterable
from typing import Final

import zstandard

Buffer = bytes | bytearray | memoryview
CODINGS: Final = ("zstd", "gzip", "deflate")
"""Best first."""
_LEVEL = 1  # tensors hardly shrink further, and there are models to run


class CodingError(ValueError):
    """Bytes that are not what their coding says."""


class TooLongError(CodingError):
    """Bytes that would grow beyond what is allowed."""


def compress(pieces: Iterable[Buffer], coding: str) -> bytes:
    """Return the pieces, joined, in a coding of `CODINGS`."""
    data = b"".join(pieces)
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=_LEVEL).compress(data)
    if coding == "gzip":
        return gzip.compress(data, compresslevel=_LEVEL, mtime=0)
    return zlib.compress(data, _LEVEL)


def decompress(data: Buffer, coding: str, *, bytes_max: int) -> bytes:
    """Return what coded bytes hold, at most `bytes_max` of it."""
    try:
        found = _zstd(data, bytes_max) if coding == "zstd" else _zlib(data, coding, bytes_max)
    except (zlib.error, zstandard.ZstdError) as error:
        raise CodingError(str(error)) from error
    if len(found) > bytes_max:
        raise TooLongError(f"more than {bytes_max} bytes")
    return found


def _zlib(data: Buffer, coding: str, bytes_max: int) -> bytes:
    # 31: gzip with its head and check; 15: what HTTP calls deflate is the zlib format.
    reader = zlib.decompressobj(wbits=31 if coding == "gzip" else 15)
    found = reader.decompress(data, bytes_max + 1)
    if len(found) <= bytes_max and not reader.eof:
        raise CodingError("cut off")
    if len(found) <= bytes_max and reader.unused_data:
        raise CodingError("bytes left over")
    return found


def _zstd(data: Buffer, bytes_max: int) -> bytes:
    # A frame may ask for a window of gigabytes: the bound is on memory as well as on output.
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    found: list[bytes] = []
    size = 0
    view = memoryview(data)
    for at in range(0, len(view), 4096):  # one frame of 4 KiB grows to 128 MiB at the very most
        found.append(reader.decompress(view[at : at + 4096]))
        size += len(found[-1])
        if size > bytes_max:
            break
    else:
        if not reader.eof:
            raise CodingError("cut off")
        if reader.unused_data:
            raise CodingError("bytes left over")
    return b"".join(found)
