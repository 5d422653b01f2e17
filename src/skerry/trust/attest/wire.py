"""Reading TPM structures: big-endian numbers and sized buffers, never past the end.

Every byte comes from a machine that is not trusted yet. A length is compared with what is left
before anything is taken, so memory never exceeds the input, and whatever is wrong ends as a
`MalformedError` that says where.

Units:   bytes.
Errors:  MalformedError.
Source:  TPM 2.0 Library Part 2, structures, revision 1.59.
"""

from skerry.trust.attest.errors import MalformedError


class Wire:
    """A position in bytes of somebody else's; each call takes what comes next."""

    __slots__ = ("_data", "_what", "at")

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._what, self.at = data, what, 0

    @property
    def left(self) -> int:
        """How many bytes are still there."""
        return len(self._data) - self.at

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        if not 0 <= length <= self.left:
            raise MalformedError(self._what, self.at, f"{length} bytes wanted, {self.left} left")
        start, self.at = self.at, self.at + length
        return self._data[start : self.at]

    def number(self, width: int) -> int:
        """Return a big-endian number of `width` bytes."""
        return int.from_bytes(self.take(width), "big")

    def sized(self, *, length_max: int) -> bytes:
        """Return a TPM2B: a 16-bit length and as many bytes."""
        start, length = self.at, self.number(2)
        if length > length_max:
            raise MalformedError(self._what, start, f"{length} bytes, wanted {length_max} at most")
        return self.take(length)

    def end(self) -> None:
        """Refuse bytes after the last field."""
        if self.left:
            raise MalformedError(self._what, self.at, f"{self.left} bytes too many")

    def wrong(self, why: str) -> MalformedError:
        """Return the error for what was just read, to be raised."""
        return MalformedError(self._what, self.at, why)


def sized(data: bytes) -> bytes:
    """Return a TPM2B of these bytes."""
    return len(data).to_bytes(2, "big") + data
