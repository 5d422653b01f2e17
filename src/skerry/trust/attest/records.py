"""Which TPM each node of a region has, what it said last, and which TPM a token is for.

One SQLite file with `synchronous=FULL`: a TPM that was tied to a node stays tied, and a verdict
that was told outlives a restart.

Units:   unix seconds.
Errors:  sqlite3.Error where the disk refuses; nothing is half done.
"""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec

from skerry.base.files import PRIVATE_FILE_MODE
from skerry.schema.attestation import Reason
from skerry.trust.attest.verdict import Counters


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A node's TPM and its last genuine evidence."""

    ek_sha256: str
    """SHA-256 (hex) of its EK certificate."""
    ak_name: bytes
    counters: Counters
    seen_unix_s: float
    """When it last showed genuine evidence, good or bad."""
    reasons: tuple[Reason, ...] = ()
    """What was wrong then; empty: it passed."""
    detail: str = ""


class Records:
    """A region's memory of its machines; any thread may call it."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=PRIVATE_FILE_MODE)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(
            """
            PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;
            CREATE TABLE IF NOT EXISTS machines (
              spiffe_id TEXT PRIMARY KEY, machine BLOB NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS token_keys (
              token_id TEXT PRIMARY KEY, ek_sha256 TEXT NOT NULL) WITHOUT ROWID;
            """
        )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def machine(self, spiffe_id: str) -> Machine | None:
        """Return a node's machine, or None where it never showed a TPM."""
        rows = self._run("SELECT machine FROM machines WHERE spiffe_id = ?", spiffe_id)
        return msgspec.json.decode(rows[0][0], type=Machine) if rows else None

    def machines(self) -> dict[str, Machine]:
        """Return every machine, by the node's id."""
        rows = self._run("SELECT spiffe_id, machine FROM machines ORDER BY spiffe_id")
        return {name: msgspec.json.decode(data, type=Machine) for name, data in rows}

    def keep(self, spiffe_id: str, machine: Machine) -> None:
        """Tie a machine to a node, or note what it said now."""
        data = msgspec.json.encode(machine)
        self._run("INSERT OR REPLACE INTO machines VALUES (?, ?)", spiffe_id, data)

    def forget(self, spiffe_id: str) -> None:
        """Untie a node from its machine: another takes its place."""
        self._run("DELETE FROM machines WHERE spiffe_id = ?", spiffe_id)

    def bind_token(self, token_id: str, ek_sha256: str) -> None:
        """Let a token be used by the machine with this EK only."""
        self._run("INSERT OR REPLACE INTO token_keys VALUES (?, ?)", token_id, ek_sha256)

    def token_key(self, token_id: str) -> str:
        """Return the EK that a token is for; empty where any will do."""
        rows = self._run("SELECT ek_sha256 FROM token_keys WHERE token_id = ?", token_id)
        return str(rows[0][0]) if rows else ""

    def _run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()
