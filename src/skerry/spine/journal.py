"""Journal: signatures first, bodies follow in the next commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Cursor(msgspec.Struct, frozen=True, order=True):
    """A place in the journal: segment number and byte offset inside it. (0, 0) is the start."""

    segment: int = 0
    offset: int = 0


@dataclass(slots=True)
class JournalCounts:
    """What the writer did: records written, records dropped, bytes on disk, failed writes."""

    written: int = 0
    dropped: int = 0
    bytes: int = 0
    failures: int = 0


class JournalWriter:
    """One per worker process; `append` often, `flush` once per loop turn. Neither ever raises OSError."""

    counts: JournalCounts

    def __init__(
        self, folder: Path, *, limit_bytes: int = 64 << 20, segment_bytes: int = 1 << 20
    ) -> None:
        raise NotImplementedError

    def append(self, payload: bytes) -> None:
        """Buffer one record; full buffers drop it and count it."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what is buffered with one unbuffered write."""
        raise NotImplementedError

    def close(self) -> None:
        """Flush and close."""
        raise NotImplementedError


class JournalReader:
    """Reads a journal that another process writes. `garbage_bytes`, `lost_segments` count damage."""

    garbage_bytes: int
    lost_segments: int

    def __init__(self, folder: Path) -> None:
        raise NotImplementedError

    def read(self, cursor: Cursor, limit: int) -> tuple[Sequence[bytes], Cursor]:
        """Return up to `limit` records from `cursor` on, and the cursor after them."""
        raise NotImplementedError

    def release(self, cursor: Cursor) -> None:
        """Delete segments that lie wholly before `cursor`."""
        raise NotImplementedError
