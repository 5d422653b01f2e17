"""Outbox: records on their way up, on the node's own disk until the region has stored them.

SQLite in one file, WAL, `synchronous=FULL`: what `put_many` returned for survives a power cut.
Records and the journal cursor they were made from are stored in one transaction, so a record
is made exactly once however often the process is killed. Each gets the key

    <region>.<site>.<node number>.<boot>.<n>        n counts from 1 in that boot

which makes it count once in every store above. Full: `low` goes first, then `high`, oldest
first; `must` is never given up but refused, with `OutboxFullError`, when nothing else is left.

Units:  bytes of record bodies; unix milliseconds.
Errors: OutboxFullError, OutboxBrokenError.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from skerry.base.files import private_folder
from skerry.base.ids import token
from skerry.schema.records import Envelope, Keep
from skerry.spine.errors import OutboxBrokenError, OutboxFullError
from skerry.spine.journal import Cursor

_RANKS: dict[Keep, int] = {Keep.MUST: 0, Keep.HIGH: 1, Keep.LOW: 2}
_KEEPS = tuple(_RANKS)
_ROW_BYTES = 96  # what a row costs beside its body: key, index, page overhead
_CACHE_KIB = 1024
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, rank INTEGER NOT NULL,
  kind TEXT NOT NULL, at_unix_ms INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS record_key ON record (key);
CREATE INDEX IF NOT EXISTS record_order ON record (rank, id);
CREATE TABLE IF NOT EXISTS total (
  rank INTEGER PRIMARY KEY, records INTEGER NOT NULL, bytes INTEGER NOT NULL,
  dropped INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class OutboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`bytes_max` bounds what is held; `over_share` is said when must records pass `must_ratio`."""

    bytes_max: int = 256 << 20
    must_ratio: float = 0.5


class Entry(msgspec.Struct, frozen=True):
    """One record to keep; `body` is the JSON of its document."""

    keep: Keep
    kind: str
    at_unix_ms: int
    body: bytes


class OutboxStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the outbox holds. `dropped` counts what was given up since the file was made."""

    records: dict[Keep, int]
    dropped: dict[Keep, int]
    bytes: int
    oldest_unix_ms: int | None
    over_share: bool


DEFAULT_LIMITS = OutboxLimits()


class Outbox:
    """One node's outbox. Several threads of one process may use it."""

    def __init__(
        self,
        path: Path,
        *,
        region: str,
        site: str,
        node_number: int,
        boot: str,
        limits: OutboxLimits = DEFAULT_LIMITS,
    ) -> None:
        self._path, self._limits, self._boot = path, limits, token("boot", boot)
        self._prefix = f"{token('region', region)}.{token('site', site)}.{node_number}.{boot}"
        self._turn = threading.Lock()
        private_folder(path.parent)
        try:
            self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._base.execute("PRAGMA journal_size_limit=4194304")
            self._base.executescript(_SCHEMA)
            self._base.executemany(
                "INSERT OR IGNORE INTO total VALUES (?, 0, 0, 0)",
                [(rank,) for rank in _RANKS.values()],
            )
            self._sequence = self._last_sequence()
        except sqlite3.DatabaseError as error:
            raise OutboxBrokenError(str(path), str(error)) from error

    def _last_sequence(self) -> int:
        row = self._fact("sequence")
        boot, _, number = row.partition(":")
        return int(number) if boot == self._boot else 0

    def _fact(self, name: str) -> str:
        row = self._base.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._base.execute("BEGIN IMMEDIATE")
            yield
            self._base.execute("COMMIT")
        except BaseException as error:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and _is_full(error):
                raise OutboxFullError(
                    str(self._path), self._bytes(), self._limits.bytes_max, str(error)
                ) from error
            if isinstance(error, sqlite3.DatabaseError):
                raise OutboxBrokenError(str(self._path), str(error)) from error
            raise

    def put_many(self, entries: Sequence[Entry], *, cursor: Cursor | None = None) -> list[str]:
        """Store entries and the journal cursor in one transaction; returns their keys.

        An entry that is given up for lack of room gets the key "". Raises `OutboxFullError`
        if a must record finds no room: then nothing was stored, and the cursor stays.
        """
        with self._turn:
            sequence = self._sequence
            with self._transaction():
                room = self._limits.bytes_max - self._bytes()
                keys: list[str] = []
                for entry in entries:
                    size = len(entry.body) + _ROW_BYTES
                    if size > room:
                        room += self._give_up(size - room, _RANKS[entry.keep])
                    if size > room:
                        if entry.keep is Keep.MUST:
                            raise OutboxFullError(
                                str(self._path),
                                self._bytes(),
                                self._limits.bytes_max,
                                "only must records are left",
                            )
                        self._count(_RANKS[entry.keep], 0, 0, 1)
                        keys.append("")
                        continue
                    room -= size
                    sequence += 1
                    keys.append(f"{self._prefix}.{sequence}")
                    self._insert(keys[-1], entry, size)
                self._set_fact("sequence", f"{self._boot}:{sequence}")
                if cursor is not None:
                    self._set_fact("cursor", f"{cursor.segment}:{cursor.offset}")
            self._sequence = sequence
            return keys

    def _insert(self, key: str, entry: Entry, size: int) -> None:
        rank = _RANKS[entry.keep]
        self._base.execute(
            "INSERT INTO record (key, rank, kind, at_unix_ms, body) VALUES (?, ?, ?, ?, ?)",
            (key, rank, entry.kind, entry.at_unix_ms, entry.body),
        )
        self._count(rank, 1, size, 0)

    def _count(self, rank: int, records: int, size: int, dropped: int) -> None:
        self._base.execute(
            "UPDATE total SET records = records + ?, bytes = bytes + ?, dropped = dropped + ?"
            " WHERE rank = ?",
            (records, size, dropped, rank),
        )

    def _set_fact(self, name: str, value: str) -> None:
        self._base.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def _give_up(self, wanted: int, rank: int) -> int:
        """Delete the oldest records of lower classes, lowest first; returns the bytes freed."""
        freed = 0
        for lower in range(_RANKS[Keep.LOW], rank, -1):
            while freed < wanted:
                # By the batch: a full outbox would otherwise pay this for every record.
                rows = self._base.execute(
                    "SELECT id, length(body) FROM record WHERE rank = ? ORDER BY id LIMIT 64",
                    (lower,),
                ).fetchall()
                if not rows:
                    break
                size = sum(int(row[1]) + _ROW_BYTES for row in rows)
                self._base.executemany("DELETE FROM record WHERE id = ?", [(r[0],) for r in rows])
                self._count(lower, -len(rows), -size, len(rows))
                freed += size
        return freed

    def take(self, limit: int) -> list[Envelope]:
        """Return up to `limit` records, must first, then oldest. They stay until `ack`."""
        with self._turn:
            rows = self._base.execute(
                "SELECT key, rank, kind, at_unix_ms, body FROM record ORDER BY rank, id LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            Envelope(
                key=key, keep=_KEEPS[rank], kind=kind, at_unix_ms=at_unix_ms, body=msgspec.Raw(body)
            )
            for key, rank, kind, at_unix_ms, body in rows
        ]

    def ack(self, keys: Sequence[str]) -> None:
        """Forget records that the region has stored; unknown keys are no error."""
        with self._turn, self._transaction():
            for key in keys:
                row = self._base.execute(
                    "DELETE FROM record WHERE key = ? RETURNING rank, length(body)", (key,)
                ).fetchone()
                if row is not None:
                    self._count(row[0], -1, -(row[1] + _ROW_BYTES), 0)

    def cursor(self) -> Cursor:
        """Return the journal cursor of the last transaction."""
        with self._turn:
            segment, _, offset = (self._fact("cursor") or "0:0").partition(":")
        return Cursor(int(segment), int(offset))

    def _bytes(self) -> int:
        return int(self._base.execute("SELECT sum(bytes) FROM total").fetchone()[0])

    def stats(self) -> OutboxStats:
        """Count what is held and what was given up; costs the same however much there is."""
        with self._turn:
            rows = self._base.execute(
                "SELECT records, bytes, dropped FROM total ORDER BY rank"
            ).fetchall()
            oldest = [
                self._base.execute(
                    "SELECT at_unix_ms FROM record WHERE rank = ? ORDER BY id LIMIT 1", (rank,)
                ).fetchone()
                for rank in _RANKS.values()
            ]
        must_bytes = rows[_RANKS[Keep.MUST]][1]
        return OutboxStats(
            records={keep: row[0] for keep, row in zip(_KEEPS, rows, strict=True)},
            dropped={keep: row[2] for keep, row in zip(_KEEPS, rows, strict=True)},
            bytes=sum(row[1] for row in rows),
            oldest_unix_ms=min((row[0] for row in oldest if row is not None), default=None),
            over_share=must_bytes > self._limits.must_ratio * self._limits.bytes_max,
        )

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._base.close()


def _is_full(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def records_on_disk(path: Path, *, bytes_max: int) -> list[Envelope]:
    """Return the first records of an outbox, whether its process runs or not; nothing changes."""
    if not path.exists():
        return []
    found: list[Envelope] = []
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as base:
            for key, rank, kind, at_unix_ms, body in base.execute(
                "SELECT key, rank, kind, at_unix_ms, body FROM record ORDER BY rank, id"
            ):
                bytes_max -= len(body) + _ROW_BYTES
                if bytes_max < 0:
                    break
                raw = msgspec.Raw(body)
                found.append(
                    Envelope(key=key, keep=_KEEPS[rank], kind=kind, at_unix_ms=at_unix_ms, body=raw)
                )
    except sqlite3.Error as error:
        raise OutboxBrokenError(str(path), str(error)) from error
    return found
