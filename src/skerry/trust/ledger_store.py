"""The ledger's file: entries, tiles of their tree, and checkpoints, in one SQLite database.

WAL and `synchronous=FULL`: what `append` returned for survives a power cut. Entries of a group
are stored in one transaction, with the tiles that they complete; nothing is ever changed or
deleted. One process writes; others may read at the same time.

Errors:  LedgerError; LedgerFullError where the disk has no room.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from skerry.base.files import PRIVATE_FILE_MODE, private_folder
from skerry.trust.ledger_errors import LedgerError, LedgerFullError
from skerry.trust.ledger_tree import Frontier, chain_start, leaf_hash

LEDGER_FILE = "ledger.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (seq INTEGER PRIMARY KEY, leaf BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tile (
  level INTEGER NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY (level, n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS signature (
  size INTEGER NOT NULL, line TEXT NOT NULL, PRIMARY KEY (size, line)) WITHOUT ROWID;
"""
_CACHE_KIB = 512


class Entry(msgspec.Struct, frozen=True):
    """One entry as it is kept."""

    seq: int
    leaf: bytes
    body: bytes


class LedgerStore:
    """One ledger's file. Any thread of its process may call it."""

    def __init__(self, folder: Path, *, origin: str = "", writable: bool = True) -> None:
        self.path = folder / LEDGER_FILE
        self._turn = threading.RLock()
        try:
            if writable:
                private_folder(folder)
                self.path.touch(mode=PRIVATE_FILE_MODE)
            elif not self.path.exists():
                raise LedgerError(str(folder), "there is no audit ledger in it")
            self._base = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?{self._mode(writable)}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            self._base.execute("PRAGMA busy_timeout=5000")
            self._base.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            if writable:
                self._prepare(origin)
            self.origin = self._fact("origin")
            self.first_key = self._fact("key")
        except (sqlite3.Error, UnicodeError) as error:  # a file or a text in it is damaged
            raise LedgerError(str(self.path), str(error)) from error
        self.edge = Frontier()
        self.last = chain_start(self.origin)

    def _prepare(self, origin: str) -> None:
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        self._base.execute("PRAGMA journal_size_limit=4194304")
        self._base.executescript(_SCHEMA)
        self._base.execute("INSERT OR IGNORE INTO fact VALUES ('origin', ?)", (origin,))

    def _mode(self, writable: bool) -> str:
        """Say how to open it. Evidence is often on a medium that cannot be written to."""
        if writable:
            return "mode=rwc"
        live = self.path.with_name(f"{self.path.name}-wal").exists()
        return "mode=ro" if live else "mode=ro&immutable=1"

    def resume(self) -> None:
        """Find the right edge of the tree and the end of the chain, to go on from there."""
        size = self.size()
        self.edge = Frontier.of(self, size)
        self.last = self.leaves(size - 1, size)[0] if size else chain_start(self.origin)

    def set_first_key(self, key: str) -> None:
        """Keep the key that the first checkpoints are signed with."""
        with self._transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO fact VALUES ('key', ?)", (key,))
        self.first_key = key

    # --- writing ----------------------------------------------------------------------

    def append(self, bodies: list[Callable[[int], bytes]]) -> list[int]:
        """Store a group of entries; each is asked for its body by its number. All or none."""
        with self._turn:
            edge, last = self.edge.copy(), self.last
            rows, tiles = [], []
            for body_for in bodies:
                body = body_for(edge.size + 1)
                last = leaf_hash(last, body)
                tiles += edge.append(last)
                rows.append((edge.size, last, body))
            with self._transaction() as sql:
                sql.executemany("INSERT INTO entry VALUES (?, ?, ?)", rows)
                sql.executemany("INSERT INTO tile VALUES (?, ?, ?)", tiles)
            self.edge, self.last = edge, last
            return [seq for seq, _, _ in rows]

    def add_checkpoint(self, size: int, note: str) -> None:
        """Keep a signed checkpoint."""
        with self._transaction() as sql:
            sql.execute("INSERT OR IGNORE INTO checkpoint VALUES (?, ?)", (size, note))

    def add_signature(self, size: int, line: str) -> None:
        """Keep a witness's signature, got back with the checkpoint of this size."""
        with self._transaction() as sql:
            sql.execute("INSERT OR IGNORE INTO signature VALUES (?, ?)", (size, line))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            try:
                self._base.execute("BEGIN IMMEDIATE")
                yield self._base
                self._base.execute("COMMIT")
            except BaseException as error:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
                    kind = LedgerFullError if full else LedgerError
                    raise kind(str(self.path), str(error)) from error
                raise

    # --- reading ----------------------------------------------------------------------

    def _rows(self, query: str, *values: int | str) -> list[tuple]:  # type: ignore[type-arg]
        try:
            with self._turn:
                return self._base.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise LedgerError(str(self.path), str(error)) from error

    def _fact(self, name: str) -> str:
        rows = self._rows("SELECT value FROM fact WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def size(self) -> int:
        """Return the number of the last entry."""
        return int(self._rows("SELECT coalesce(max(seq), 0) FROM entry")[0][0])

    def entries(self, after: int, limit: int) -> list[Entry]:
        """Return entries in order, from the one after `after` on."""
        # Whoever changed a file may have changed types too.
        query = (
            "SELECT seq, CAST(leaf AS BLOB), CAST(body AS BLOB) FROM entry"
            " WHERE seq > ? ORDER BY seq LIMIT ?"
        )
        return [Entry(seq, leaf, body) for seq, leaf, body in self._rows(query, after, limit)]

    def previous(self, seq: int) -> bytes:
        """Return the leaf before an entry."""
        return self.leaves(seq - 2, seq - 1)[0] if seq > 1 else chain_start(self.origin)

    def leaves(self, low: int, high: int) -> list[bytes]:
        """Return the leaves from index `low` up to, not including, `high`."""
        query = "SELECT CAST(leaf AS BLOB) FROM entry WHERE seq > ? AND seq <= ? ORDER BY seq"
        found = [leaf for (leaf,) in self._rows(query, low, high)]
        if len(found) != high - low:
            raise LedgerError(str(self.path), f"entries {low + 1} to {high} are not all there")
        return found

    def tile(self, level: int, index: int) -> bytes:
        """Return the root of a full subtree."""
        rows = self._rows("SELECT hash FROM tile WHERE level = ? AND n = ?", level, index)
        if not rows:
            raise LedgerError(str(self.path), f"tile {index} of level {level} is not there")
        return bytes(rows[0][0])

    def checkpoints(self, after: int = -1) -> list[tuple[int, str]]:
        """Return size and note of each checkpoint of more than `after` entries, in order."""
        query = "SELECT size, note FROM checkpoint WHERE size > ? ORDER BY size"
        return [(int(size), str(note)) for size, note in self._rows(query, after)]

    def last_checkpoint(self) -> tuple[int, str] | None:
        """Return size and note of the newest checkpoint."""
        rows = self._rows("SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")
        return (int(rows[0][0]), str(rows[0][1])) if rows else None

    def signatures(self) -> list[str]:
        """Return the signature lines of witnesses, oldest first."""
        return [str(line) for (line,) in self._rows("SELECT line FROM signature ORDER BY size")]

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._base.close()
