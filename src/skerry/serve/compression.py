"""Content codings: gzip, deflate and zstd, both ways, with a bound on what comes out.

Units:   bytes.
Errors:  HttpError, for a body that is not what its coding says, or that would grow too large.
Source:  RFC 9110 section 12.5.3 (Accept-Encoding); RFC 8878 (zstd).
"""

import gzip
import zlib
from collections.abc import Iterable, Sequence

import zstandard

from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import HttpError

REQUEST_CODINGS = ("identity", "gzip", "deflate", "zstd")
REPLY_CODINGS = ("zstd", "gzip", "deflate")
"""Best first, where a client weighs them alike."""
COMPRESS_FROM_BYTES = 1024
"""A smaller reply goes as it is: its head alone is a third of it."""
_LEVEL = 1  # tensors hardly shrink further, and the core has models to run


def accepted(header: str, offered: Sequence[str]) -> str:
    """Return the coding that an Accept-Encoding header likes best; empty for none."""
    best, best_weight = "", 0.0
    weights: dict[str, float] = {}
    for part in header.split(",")[:16]:
        name, _, parameter = part.partition(";")
        weight = parameter.strip().removeprefix("q=") if parameter else "1"
        try:
            weights[name.strip().lower()] = float(weight)
        except ValueError:
            continue
    for coding in offered:
        weight_of = weights.get(coding, 0.0)
        if weight_of > best_weight:
            best, best_weight = coding, weight_of
    return best


def compress(pieces: Iterable[Buffer], coding: str) -> bytes:
    """Return the pieces, joined, in a coding of `REPLY_CODINGS`."""
    data = b"".join(pieces)
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=_LEVEL).compress(data)
    if coding == "gzip":
        return gzip.compress(data, compresslevel=_LEVEL, mtime=0)
    return zlib.compress(data, _LEVEL)


def decompress(data: Buffer, coding: str, *, bytes_max: int) -> bytes:
    """Return what a coded body holds, at most `bytes_max` of it."""
    try:
        found = _zstd(data, bytes_max) if coding == "zstd" else _zlib(data, coding, bytes_max)
    except (zlib.error, zstandard.ZstdError, ValueError) as error:
        raise HttpError(400, f"the body is not {coding} ({error})") from error
    if len(found) > bytes_max:
        raise HttpError(413, f"a body of more than {bytes_max} bytes once decompressed")
    return found


def _zlib(data: Buffer, coding: str, bytes_max: int) -> bytes:
    # 31: gzip with its head and check; 15: what HTTP calls deflate is the zlib format.
    reader = zlib.decompressobj(wbits=31 if coding == "gzip" else 15)
    found = reader.decompress(data, bytes_max + 1)
    if len(found) <= bytes_max and not reader.eof:
        raise ValueError("cut off")
    if len(found) <= bytes_max and reader.unused_data:
        raise ValueError("bytes left over")
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
            raise ValueError("cut off")
        if reader.unused_data:
            raise ValueError("bytes left over")
    return b"".join(found)
