"""A chunked body, piece by piece: RFC 9112 section 7.1, in its strictest reading.

Sizes are one to eight hexadecimal digits and every line ends in CRLF. Chunk extensions and
trailers are read as far as it takes to pass them over, within a bound, and thrown away.

Units:   bytes.
Errors:  HttpError.
"""

import re

from skerry.serve.errors import HttpError

LINE_BYTES_MAX = 256
TRAILERS_BYTES_MAX = 4096

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n\0]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*")
_DATA, _LINE, _TRAILERS = range(3)


class ChunkedBody:
    """Collects one body."""

    def __init__(self, bytes_max: int) -> None:
        self.body = bytearray()
        self._bytes_max = bytes_max
        self._rest = b""  # a line, or the end of a chunk, that has not come whole
        self._state = _LINE
        self._left = 0  # of the chunk under way
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes | None:
        """Take what came; return what follows the body if it is complete now, else None."""
        data = self._rest + data
        self._rest = b""
        at = 0
        while True:
            if self._state == _DATA:
                piece = data[at : at + self._left]
                self.body += piece
                at, self._left = at + len(piece), self._left - len(piece)
                if self._left or len(data) - at < 2:
                    self._rest = data[at:]
                    return None
                if data[at : at + 2] != b"\r\n":
                    raise HttpError(400, "a chunk that is not as long as it says")
                at, self._state = at + 2, _LINE
            end = data.find(b"\r\n", at, at + LINE_BYTES_MAX)
            if end < 0:
                self._rest = data[at:]
                if len(self._rest) >= LINE_BYTES_MAX or b"\n" in self._rest:
                    raise HttpError(400, "a line of a chunked body that is no such line")
                return None
            line, at = data[at:end], end + 2
            if self._state == _LINE:
                self._begin_chunk(line)
            elif not line:
                return data[at:]
            else:
                self._pass_over(line)

    def _begin_chunk(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise HttpError(400, "a chunk size that is not a short hexadecimal number")
        self._left = int(size[1], 16)
        if len(self.body) + self._left > self._bytes_max:
            raise HttpError(413, f"a body of more than {self._bytes_max} bytes")
        self._state = _DATA if self._left else _TRAILERS

    def _pass_over(self, line: bytes) -> None:
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > TRAILERS_BYTES_MAX:
            raise HttpError(431, f"trailers of more than {TRAILERS_BYTES_MAX} bytes")
        if not _TRAILER.fullmatch(line):
            raise HttpError(400, "a trailer that is not a header line")
