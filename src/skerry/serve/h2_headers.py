"""Header blocks: read through a dictionary where that is right, through HPACK where not.

Our SETTINGS ask the peer for a header table of size 0. Once it has said ACK its blocks
mean the same at all times and on every connection, so the bytes of a block are a key:
one that was seen before costs a look-up. A new block is cut into its fields, which are
keys as well: a client whose timeout or trace changes with each call costs one field of
HPACK, not all. Before the ACK the blocks depend on each other and HPACK reads them all.

Units:   bytes; a list's size is what RFC 9113 section 6.5.2 counts: 32 more per field.
Errors:  H2ConnectionError where a block is not HPACK.
Source:  RFC 7541, sections 5 and 6.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from skerry.base.recent_cache import RecentCache
from skerry.serve.h2_frames import Code, H2ConnectionError

Field = tuple[bytes, bytes]
Meaning = TypeVar("Meaning")

BLOCKS_BYTES_MAX = 4 * 1024**2
FIELDS_BYTES_MAX = 512 * 1024
_MEANING_BYTES = 2048  # what a Python object of a few fields and a dictionary takes, generously
_FIELD_BYTES = 256
_FIELD_OVERHEAD = 32


class BlockCache(Generic[Meaning]):
    """Blocks and fields that stand for themselves, shared by all connections of a door.

    `meaning` makes of a list of fields whatever the door keeps of it.
    """

    def __init__(self, meaning: Callable[[list[Field]], Meaning], *, list_bytes_max: int) -> None:
        self.meaning = meaning
        self.list_bytes_max = list_bytes_max
        self.blocks: RecentCache[bytes, Meaning] = RecentCache(BLOCKS_BYTES_MAX)
        self._fields: RecentCache[bytes, Field] = RecentCache(FIELDS_BYTES_MAX)
        self._decoder = Decoder(max_header_list_size=1 << 24)
        self._decoder.max_allowed_table_size = 0
        self._decoder.header_table_size = 0

    def read(self, block: bytes) -> Meaning:
        """Return what a block means."""
        found = self.blocks.get(block)
        if found is None:
            fields = [self._field(part) for part in cut(block)]
            found = self.meaning(fields)
            self.blocks.put(block, found, len(block) + list_bytes(fields) + _MEANING_BYTES)
        return found

    def _field(self, part: bytes) -> Field:
        found = self._fields.get(part)
        if found is None:
            try:
                (field,) = self._decoder.decode(part, raw=True)
            except (HPACKError, ValueError) as error:
                raise _not_hpack(error) from error
            found = (bytes(field[0]), bytes(field[1]))
            self._fields.put(part, found, len(part) * 2 + _FIELD_BYTES)
        return found


class HeaderReader(Generic[Meaning]):
    """The blocks of one connection, in their order."""

    def __init__(self, cache: BlockCache[Meaning]) -> None:
        self._cache = cache
        self._decoder: Decoder | None = None
        self.stateless = False
        """Whether a block may be looked up."""

    def table_is_empty(self) -> None:
        """Take note that the peer has acknowledged a header table of size 0."""
        self.stateless, self._decoder = True, None

    def read(self, block: bytes) -> Meaning:
        """Return what the next block means."""
        if self.stateless:
            return self._cache.read(block)
        if self._decoder is None:
            self._decoder = Decoder(max_header_list_size=4 * self._cache.list_bytes_max)
        try:
            fields = [(bytes(n), bytes(v)) for n, v in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError as error:
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "a header list too large") from error
        except (HPACKError, ValueError) as error:
            raise _not_hpack(error) from error
        return self._cache.meaning(fields)


def list_bytes(fields: list[Field]) -> int:
    """Return the size of a header list as both sides count it."""
    return sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields)


def cut(block: bytes) -> list[bytes]:
    """Cut a block into the representations of its fields; size updates to 0 are passed over."""
    parts: list[bytes] = []
    at, end = 0, len(block)
    try:
        while at < end:
            start, first = at, block[at]
            if first & 0x80:
                _, at = _integer(block, at, 0x7F)
            elif first & 0xE0 == 0x20:
                size, at = _integer(block, at, 0x1F)
                if size or parts:
                    raise _not_hpack("a table size update that is not allowed")
                continue
            else:
                index, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
                if not index:
                    length, at = _integer(block, at, 0x7F)
                    at += length
                length, at = _integer(block, at, 0x7F)
                at += length
            parts.append(block[start:at])
    except IndexError as error:
        raise _not_hpack("cut off") from error
    if at > end:
        raise _not_hpack("cut off")
    return parts


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Read a prefixed integer (RFC 7541 section 5.1); returns it and where the next byte is."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _not_hpack("an integer beyond all bounds")


def encoded(fields: list[tuple[str, str]]) -> bytes:
    """Return fields as a block of literals that leave no trace in the peer's table.

    Line breaks and other control characters become spaces: a value cannot end early.
    """
    parts: list[bytes] = []
    for name, value in fields:
        if name == ":status" and value == "200":
            parts.append(b"\x88")
            continue
        raw = "".join(c if " " <= c <= "~" else " " for c in value).encode()
        key = name.encode()
        parts += (b"\0", _length(len(key)), key, _length(len(raw)), raw)
    return b"".join(parts)


def _length(size: int) -> bytes:
    if size < 0x7F:
        return bytes((size,))
    out = bytearray((0x7F,))
    size -= 0x7F
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def _not_hpack(why: object) -> H2ConnectionError:
    return H2ConnectionError(Code.COMPRESSION_ERROR, f"a header block that is not HPACK: {why}")
