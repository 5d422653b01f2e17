"""Where a region keeps join tokens, enrolment keys and bans.

One SQLite file with `synchronous=FULL`: a token that was burnt stays burnt through a power cut.

Units:   unix seconds.
Errors:  sqlite3.Error where the disk refuses; nothing is half done.
"""

import hashlib
import sqlite3
import threading
from pathlib import Path
from typing import Any, Protocol

import msgspec

from skerry.base.files import PRIVATE_FILE_MODE


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token as stored: never itself, only its hash."""

    sha256: str
    spiffe_id: str
    ends_unix_s: float
    used_by: str = ""
    """Fingerprint of the enrolment key that used it; empty while unused."""


class Registry(Protocol):
    """What joining and renewing need to remember. Each call is one whole transaction."""

    def add_token(self, row: TokenRow) -> None:
        """Keep a new token."""
        ...

    def token(self, sha256: str) -> TokenRow | None:
        """Return a token by its hash."""
        ...

    def enrol(self, token_sha256: str, spiffe_id: str, public_pem: bytes, at_unix_s: float) -> bool:
        """Burn a token and keep the enrolment key in one step; False if another key burnt it."""
        ...

    def enrolment_key(self, spiffe_id: str) -> bytes | None:
        """Return the public enrolment key (PEM) of a node."""
        ...

    def ban(self, spiffe_id: str, why: str, at_unix_s: float) -> None:
        """Refuse this node from now on."""
        ...

    def lift_ban(self, spiffe_id: str) -> None:
        """Admit this node again."""
        ...

    def banned(self, spiffe_id: str) -> str | None:
        """Return why a node is banned, or None."""
        ...

    def bans(self) -> dict[str, str]:
        """Return every banned id and why."""
        ...


class SqliteRegistry:
    """A registry in one SQLite file of the region process; any thread may call it."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=PRIVATE_FILE_MODE)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(
            """
            PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;
            CREATE TABLE IF NOT EXISTS tokens (
              sha256 TEXT PRIMARY KEY, spiffe_id TEXT NOT NULL, ends_unix_s REAL NOT NULL,
              used_by TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS enrolments (
              spiffe_id TEXT PRIMARY KEY, public_pem BLOB NOT NULL,
              at_unix_s REAL NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS bans (
              spiffe_id TEXT PRIMARY KEY, why TEXT NOT NULL,
              at_unix_s REAL NOT NULL) WITHOUT ROWID;
            """
        )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add_token(self, row: TokenRow) -> None:
        """Keep a new token."""
        self._run("INSERT INTO tokens VALUES (?, ?, ?, ?)", *msgspec.structs.astuple(row))

    def token(self, sha256: str) -> TokenRow | None:
        """Return a token by its hash."""
        rows = self._run(
            "SELECT sha256, spiffe_id, ends_unix_s, used_by FROM tokens WHERE sha256 = ?", sha256
        )
        names = ("sha256", "spiffe_id", "ends_unix_s", "used_by")
        return TokenRow(**dict(zip(names, rows[0], strict=True))) if rows else None

    def enrol(self, token_sha256: str, spiffe_id: str, public_pem: bytes, at_unix_s: float) -> bool:
        """Burn a token and keep the enrolment key in one step; False if another key burnt it."""
        fingerprint = hashlib.sha256(public_pem).hexdigest()
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                burnt = self._db.execute(
                    "UPDATE tokens SET used_by = ? WHERE sha256 = ? AND used_by IN ('', ?)",
                    (fingerprint, token_sha256, fingerprint),
                )
                if burnt.rowcount:
                    self._db.execute(
                        "INSERT OR REPLACE INTO enrolments VALUES (?, ?, ?)",
                        (spiffe_id, public_pem, at_unix_s),
                    )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            return bool(burnt.rowcount)

    def enrolment_key(self, spiffe_id: str) -> bytes | None:
        """Return the public enrolment key (PEM) of a node."""
        rows = self._run("SELECT public_pem FROM enrolments WHERE spiffe_id = ?", spiffe_id)
        return bytes(rows[0][0]) if rows else None

    def ban(self, spiffe_id: str, why: str, at_unix_s: float) -> None:
        """Refuse this node from now on."""
        self._run("INSERT OR REPLACE INTO bans VALUES (?, ?, ?)", spiffe_id, why, at_unix_s)

    def lift_ban(self, spiffe_id: str) -> None:
        """Admit this node again."""
        self._run("DELETE FROM bans WHERE spiffe_id = ?", spiffe_id)

    def banned(self, spiffe_id: str) -> str | None:
        """Return why a node is banned, or None."""
        rows = self._run("SELECT why FROM bans WHERE spiffe_id = ?", spiffe_id)
        return str(rows[0][0]) if rows else None

    def bans(self) -> dict[str, str]:
        """Return every banned id and why."""
        return dict(self._run("SELECT spiffe_id, why FROM bans ORDER BY spiffe_id"))

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()
