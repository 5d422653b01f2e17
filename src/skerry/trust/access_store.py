"""Where central and regions keep people, tokens, waiting requests and decisions.

One SQLite file per process with `synchronous=FULL`: a token that was taken back stays taken back
through a power cut. Only hashes of passwords and tokens are in it; the file is private
all the same.

Units:   unix seconds.
Errors:  sqlite3.Error where the disk refuses; nothing is half done.
"""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec

from skerry.base.files import PRIVATE_FILE_MODE
from skerry.schema.access import Decision

DECISIONS_KEPT = 100_000
"""Decisions that can be asked about later; the audit ledger keeps every one of them."""

_TABLES = """
PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;
CREATE TABLE IF NOT EXISTS people (
  name TEXT PRIMARY KEY, password TEXT NOT NULL, roles TEXT NOT NULL,
  changed_unix_s REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (
  id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, who TEXT NOT NULL, door TEXT NOT NULL,
  label TEXT NOT NULL, scope TEXT NOT NULL, roles TEXT NOT NULL, session INTEGER NOT NULL,
  made_unix_s REAL NOT NULL, ends_unix_s REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, action TEXT NOT NULL, what TEXT NOT NULL,
  who TEXT NOT NULL, body BLOB NOT NULL, at_unix_s REAL NOT NULL, ends_unix_s REAL NOT NULL,
  state TEXT NOT NULL, by TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (
  who TEXT PRIMARY KEY, reason TEXT NOT NULL, ends_unix_s REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
"""


class AccessStore:
    """The file; any thread may call it. Each call is one whole transaction."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=PRIVATE_FILE_MODE)
        path.chmod(PRIVATE_FILE_MODE)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement and return what it finds."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def change(self, sql: str, *values: object) -> int:
        """Run one statement and return how many rows it changed."""
        with self._lock:
            return self._db.execute(sql, values).rowcount

    # --- decisions and grants -----------------------------------------------------------

    def keep_decision(self, decision: Decision) -> None:
        """Keep a decision, and let go of the oldest beyond `DECISIONS_KEPT`."""
        body = msgspec.json.encode(decision)
        self.change("INSERT OR IGNORE INTO decisions (id, body) VALUES (?, ?)", decision.id, body)
        newest = self.rows("SELECT max(n) FROM decisions")[0][0] or 0
        self.change("DELETE FROM decisions WHERE n <= ?", newest - DECISIONS_KEPT)

    def decision(self, decision_id: str) -> Decision | None:
        """Return a decision by its id."""
        found = self.rows("SELECT body FROM decisions WHERE id = ?", decision_id)
        return msgspec.json.decode(found[0][0], type=Decision) if found else None

    def grant(self, who: str, reason: str, ends_unix_s: float) -> None:
        """Keep that somebody broke the glass, and until when it counts."""
        self.change("INSERT OR REPLACE INTO grants VALUES (?, ?, ?)", who, reason, ends_unix_s)

    def granted(self, who: str, now_unix_s: float) -> bool:
        """Say whether somebody's broken glass still counts."""
        sql = "SELECT 1 FROM grants WHERE who = ? AND ends_unix_s > ?"
        return bool(self.rows(sql, who, now_unix_s))
