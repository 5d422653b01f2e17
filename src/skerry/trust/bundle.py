"""One file that carries signed state: written for a stick, read without trusting a byte of it.

    bundle.json          the index: what each member is
    sha256/<digest>      metadata, targets, then blobs, in the order of the index

It is a plain tar, so any `tar` lists and unpacks it. The reader parses no tar: from the index it
knows each header byte for byte, and a file that has any other is refused. Members have no names
of their own, so none can lie outside its folder; the places in the index follow a fixed form.

Units:   bytes; times are unix seconds.
Errors:  BundleUnreadable (of another form), BundleShort (ends before its last member).
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from skerry.base.files import sync_folder
from skerry.schema.bundle import BUNDLE_SCHEMA, BundleIndex, BundleMember
from skerry.trust.bundle_errors import BundleShort, BundleUnreadable

INDEX = "bundle.json"
INDEX_BYTES_MAX = 16 * 1024**2
MEMBERS_MAX = 50_000
SMALL_BYTES_MAX = 5_000_000
"""The longest metadata or target file, as over the network."""
BLOB_BYTES_MAX = 16 * 1024**3
CHUNK_BYTES = 1 << 18
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLACE = re.compile(
    r"metadata/([1-9][0-9]{0,9}\.)?[a-z]{1,32}\.json"
    r"|targets/([a-z0-9][a-z0-9._-]{0,127}/){0,6}[0-9a-f]{64}\.[a-z0-9][A-Za-z0-9._-]{0,127}"
    r"|blobs/[0-9a-f]{64}"
)

Chunks = Callable[[], Iterable[bytes]]
"""Gives a blob's bytes from its beginning, piece by piece."""


def blob_place(sha256: str) -> str:
    """Return where a blob belongs."""
    return f"blobs/{sha256}"


def is_blob(place: str) -> bool:
    """Tell whether a place is a blob's."""
    return place.startswith("blobs/")


class Bundle:
    """A bundle open for reading. What it says of itself was checked for form only."""

    def __init__(self, file: BinaryIO, name: str, length_bytes: int) -> None:
        self._file, self.name = file, name
        self.index, at = _read_index(file, name, length_bytes)
        self._at: dict[str, tuple[int, BundleMember]] = {}
        self.cut: list[str] = []
        """Places whose members are not, or not wholly, in the file: it was cut short."""
        for member in self.index.members:
            data_at = at + _BLOCK
            end = data_at + member.length_bytes
            if end > length_bytes:
                self.cut.append(member.place)
            else:
                file.seek(at)
                if not is_header(file.read(_BLOCK), _member_name(member), member.length_bytes):
                    raise BundleUnreadable(name, f"the header at byte {at} is another")
                self._at[member.place] = data_at, member
            at = end + _padding(member.length_bytes)
        if length_bytes > at + len(_END):
            raise BundleUnreadable(name, f"it goes on after its end at byte {at + len(_END)}")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file; raises `BundleUnreadable`."""
        try:
            file = path.open("rb")
            return cls(file, path.name, os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise BundleUnreadable(path.name, error.strerror or str(error)) from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has(self, place: str) -> bool:
        """Tell whether a member is wholly here."""
        return place in self._at

    def fetch(self, place: str, length_max: int) -> Iterator[bytes]:
        """Yield a metadata or target file: the update client's `Fetch`."""
        if place not in self._at:
            raise FileNotFoundError(place)
        yield from self.chunks(place, length_max)

    def chunks(self, place: str, length_max: int = BLOB_BYTES_MAX) -> Iterator[bytes]:
        """Yield a member's bytes as they are; who asks checks them. At most one piece too many."""
        at, member = self._at[place]
        self._file.seek(at)
        left = min(member.length_bytes, length_max + 1)
        while left > 0:
            chunk = self._file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise BundleShort(self.name, [place])
            left -= len(chunk)
            yield chunk


def is_header(block: bytes, name: str, length_bytes: int) -> bool:
    """Tell whether a block is the one tar header that this name and length have here."""
    return block == _header(name, length_bytes)


def is_place(place: str) -> bool:
    """Tell whether something may belong there: below one of three folders, and nowhere else."""
    return _PLACE.fullmatch(place) is not None and ".." not in place


def is_bounded(member: BundleMember) -> bool:
    """Tell whether a member has a length that its kind may have."""
    longest = BLOB_BYTES_MAX if is_blob(member.place) else SMALL_BYTES_MAX
    return 0 <= member.length_bytes <= longest


def write_bundle(
    out: Path, index: BundleIndex, small: dict[str, bytes], blobs: dict[str, tuple[int, Chunks]]
) -> BundleIndex:
    """Write a bundle, whole or not at all, and return its index with all members in it.

    `small` maps places to bytes; `blobs` maps a digest to length and content.
    """
    members = [
        BundleMember(place=place, sha256=_digest(data), length_bytes=len(data))
        for place, data in small.items()
    ]
    members += [
        BundleMember(place=blob_place(sha256), sha256=sha256, length_bytes=length)
        for sha256, (length, _) in blobs.items()
    ]
    index = msgspec.structs.replace(index, members=tuple(members))
    _check_index(index, out.name)
    half = out.with_name(f".{out.name}.half")
    try:
        with half.open("wb") as file:
            _write_member(file, INDEX, [msgspec.json.encode(index)])
            for member in members:
                content: Iterable[bytes] = (
                    blobs[member.sha256][1]() if is_blob(member.place) else [small[member.place]]
                )
                _write_member(file, _member_name(member), content, member)
            file.write(_END)
            file.flush()
            os.fsync(file.fileno())
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)
    sync_folder(out.parent)
    return index


def _write_member(
    file: BinaryIO, name: str, content: Iterable[bytes], member: BundleMember | None = None
) -> None:
    if member is None:
        content = [b"".join(content)]
        length_bytes = len(content[0])
    else:
        length_bytes = member.length_bytes
    file.write(_header(name, length_bytes))
    digest, written = hashlib.sha256(), 0
    for chunk in content:
        file.write(chunk)
        digest.update(chunk)
        written += len(chunk)
    if member is not None and (written, digest.hexdigest()) != (length_bytes, member.sha256):
        raise BundleShort(file.name, [member.place])
    file.write(bytes(_padding(length_bytes)))


def _read_index(file: BinaryIO, name: str, length_bytes: int) -> tuple[BundleIndex, int]:
    """Return the index and where the first member's header is."""
    file.seek(0)
    header = file.read(_BLOCK)
    digits = header[124:135]  # of a tar header: the length, in octal
    if len(header) < _BLOCK or not re.fullmatch(rb"[0-7]{11}", digits):
        raise BundleUnreadable(name, "it does not begin as a bundle does")
    length = int(digits, 8)
    if length > INDEX_BYTES_MAX or not is_header(header, INDEX, length):
        raise BundleUnreadable(name, f"it does not begin with an index of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise BundleShort(name, [INDEX])
    try:
        index = msgspec.json.decode(data, type=BundleIndex)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleUnreadable(name, f"its index: {error}") from error
    _check_index(index, name)
    return index, _BLOCK + length + _padding(length)


def _check_index(index: BundleIndex, name: str) -> None:
    """Refuse an index of another form or without bounds."""
    if index.schema != BUNDLE_SCHEMA:
        raise BundleUnreadable(name, f"its form is {index.schema[:40]!r}, wanted {BUNDLE_SCHEMA!r}")
    if len(index.members) > MEMBERS_MAX:
        raise BundleUnreadable(name, f"{len(index.members)} members, wanted up to {MEMBERS_MAX}")
    places: set[str] = set()
    for member in index.members:
        if not is_place(member.place):
            raise BundleUnreadable(name, f"a member belongs at {member.place[:80]!r}")
        if member.place in places:
            raise BundleUnreadable(name, f"two members belong at {member.place[:80]}")
        places.add(member.place)
        if not _SHA256.fullmatch(member.sha256) or not is_bounded(member):
            raise BundleUnreadable(name, f"{member.place[:80]}: no digest, or no fit length")


def _member_name(member: BundleMember) -> str:
    return f"sha256/{member.sha256}"


def _header(name: str, length_bytes: int) -> bytes:
    """Return the one tar header that this name and length have here."""
    info = tarfile.TarInfo(name)
    info.size = length_bytes
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(length_bytes: int) -> int:
    return -length_bytes % _BLOCK


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
