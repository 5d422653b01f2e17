"""Journal: what a worker did, on disk before it is told to anyone, at the price of one write.

One process appends, another reads. Records lie in numbered segment files, each framed as

    length (4 bytes, little-endian) | CRC-32 of the payload (4 bytes) | payload

A write that kill -9 cut short leaves a torn frame at the end of a segment. A writer always
begins a new segment, so a torn frame is never followed by a good one, and a reader that finds
another segment behind it knows that it can skip it. There is no fsync: a record survives the
death of the process, not a power cut of the last seconds.

Units:  bytes. Errors: none; a full or failing disk is counted in `JournalCounts`.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.base.files import private_folder

RECORD_BYTES_MAX = 1 << 16
_BUFFER_BYTES_MAX = 4 << 20
_FRAME = struct.Struct("<II")
_SUFFIX = ".journal"


class Cursor(msgspec.Struct, frozen=True, order=True):
    """A place in the journal: segment number, and byte offset inside it. (0, 0) is the start."""

    segment: int = 0
    offset: int = 0


@dataclass(slots=True)
class JournalCounts:
    """What the writer did since it began. `bytes` is what it knows to be on disk."""

    written: int = 0
    dropped: int = 0
    bytes: int = 0
    failures: int = 0


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:012d}{_SUFFIX}"


def _segments(folder: Path) -> list[int]:
    """Return the numbers of the segments there are, oldest first."""
    names = (entry.name for entry in os.scandir(folder) if entry.name.endswith(_SUFFIX))
    return sorted(int(name.removesuffix(_SUFFIX)) for name in names)


def frame(payload: bytes) -> bytes:
    """Return a record as it lies in a segment."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


class JournalWriter:
    """Appends. `append` often, `flush` once per turn of the loop; neither raises OSError.

    Past `limit_bytes` the oldest whole segments are given up, and their records counted.
    """

    def __init__(
        self, folder: Path, *, limit_bytes: int = 64 << 20, segment_bytes: int = 1 << 20
    ) -> None:
        self.counts = JournalCounts()
        self._folder = private_folder(folder)
        self._limit_bytes = max(limit_bytes, 2 * segment_bytes)
        self._segment_bytes = segment_bytes
        self._buffer: list[bytes] = []
        self._buffer_bytes = 0
        self._handle = -1
        self._length = 0
        self._records: dict[int, int] = {}
        self._number = max(_segments(self._folder), default=0)
        self._rotate()

    def append(self, payload: bytes) -> None:
        """Buffer one record; one that is too large, or finds the buffer full, is counted."""
        if len(payload) > RECORD_BYTES_MAX or self._buffer_bytes > _BUFFER_BYTES_MAX:
            self.counts.dropped += 1
            return
        framed = frame(payload)
        self._buffer.append(framed)
        self._buffer_bytes += len(framed)

    def flush(self) -> None:
        """Write what is buffered with one unbuffered write."""
        if not self._buffer:
            return
        data, records = b"".join(self._buffer), len(self._buffer)
        self._buffer.clear()
        self._buffer_bytes = 0
        if self._handle < 0 and not self._rotate():
            self.counts.dropped += records
            return
        if not self._write(data):
            self.counts.dropped += records
            return
        self.counts.written += records
        self._records[self._number] = self._records.get(self._number, 0) + records
        if self._length >= self._segment_bytes:
            self._rotate()

    def _write(self, data: bytes) -> bool:
        try:
            wrote = os.write(self._handle, data)
            if wrote == len(data):
                self._length += wrote
                self.counts.bytes += wrote
                return True
            os.ftruncate(self._handle, self._length)  # half a batch: the disk is full
        except OSError:
            pass
        self.counts.failures += 1
        self._close_segment()  # whatever lies there now is a torn end; go on in a new segment
        return False

    def _rotate(self) -> bool:
        self._close_segment()
        try:
            self._make_room()
            self._number += 1
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._handle = os.open(_path(self._folder, self._number), flags, 0o600)
        except OSError:
            self.counts.failures += 1
            return False
        self._length = 0
        return True

    def _close_segment(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _make_room(self) -> None:
        """Delete the oldest segments until one more fits under the limit."""
        sizes = {}
        for number in _segments(self._folder):
            try:
                sizes[number] = _path(self._folder, number).stat().st_size
            except FileNotFoundError:
                continue  # the reader has just released it
        total = sum(sizes.values())
        for number, size in sizes.items():
            if total + self._segment_bytes <= self._limit_bytes:
                break
            self.counts.dropped += self._count(number)
            _path(self._folder, number).unlink(missing_ok=True)
            total -= size
        self.counts.bytes = total

    def _count(self, number: int) -> int:
        if number in self._records:
            return self._records.pop(number)
        try:  # a segment of an earlier life
            data = _path(self._folder, number).read_bytes()
        except OSError:
            return 0
        return len(_frames(data, 0, len(data))[0])

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._close_segment()


def _frames(data: bytes, at: int, limit: int) -> tuple[list[bytes], int, bool]:
    """Return whole records from `at` on, the offset after them, and whether the next is torn."""
    found: list[bytes] = []
    while len(found) < limit and at + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        if length > RECORD_BYTES_MAX or end > len(data):
            return found, at, True
        payload = data[at + _FRAME.size : end]
        if zlib.crc32(payload) != crc:
            return found, at, True
        found.append(payload)
        at = end
    return found, at, len(found) < limit and at < len(data)


class JournalReader:
    """Reads what another process writes.

    `garbage_bytes` counts bytes skipped as torn or damaged, `lost_segments` the segments that
    were given up by the writer before they were read.
    """

    def __init__(self, folder: Path) -> None:
        self.garbage_bytes = 0
        self.lost_segments = 0
        self._folder = private_folder(folder)

    def read(self, cursor: Cursor, limit: int) -> tuple[list[bytes], Cursor]:
        """Return up to `limit` records from `cursor` on, and the cursor after them."""
        found: list[bytes] = []
        segments = _segments(self._folder)
        if cursor.segment and segments and segments[0] > cursor.segment:
            # An empty gap is the normal release of what was read; a larger one was given up.
            self.lost_segments += max(0, segments[0] - cursor.segment - 1)
        for number in segments:
            if number < cursor.segment:
                continue
            if number > cursor.segment:
                cursor = Cursor(number, 0)
            try:
                data = _path(self._folder, number).read_bytes()
            except FileNotFoundError:
                self.lost_segments += 1
                continue
            more, at, torn = _frames(data, cursor.offset, limit - len(found))
            found += more
            cursor = Cursor(number, at)
            if len(found) >= limit:
                break
            if torn and number != segments[-1]:  # in the last one it may still be growing
                self.garbage_bytes += len(data) - at
                cursor = Cursor(number, len(data))
        return found, cursor

    def release(self, cursor: Cursor) -> None:
        """Delete the segments that lie wholly before `cursor`."""
        for number in _segments(self._folder):
            if number < cursor.segment:
                _path(self._folder, number).unlink(missing_ok=True)
