"""Content codings at the HTTP door: which one a client likes, and bodies that came in one.

Units:   bytes.
Errors:  HttpError, for a body that is not what its coding says, or that would grow too large.
Source:  RFC 9110 section 12.5.3 (Accept-Encoding).
"""

from collections.abc import Sequence

from skerry.base import coding as codings
from skerry.base.coding import CODINGS, CodingError, TooLongError
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import HttpError

REQUEST_CODINGS = ("identity", "gzip", "deflate", "zstd")
REPLY_CODINGS = CODINGS
"""Best first, where a client weighs them alike."""
COMPRESS_FROM_BYTES = 1024
"""A smaller reply goes as it is: its head alone is a third of it."""


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


def decompress(data: Buffer, coding: str, *, bytes_max: int) -> bytes:
    """Return what a coded body holds, at most `bytes_max` of it."""
    try:
        return codings.decompress(data, coding, bytes_max=bytes_max)
    except TooLongError as error:
        text = f"a body of more than {bytes_max} bytes once decompressed"
        raise HttpError(413, text) from error
    except CodingError as error:
        raise HttpError(400, f"the body is not {coding} ({error})") from error
