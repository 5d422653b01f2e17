"""The tamper journal: signed events on the node's own disk, and the raw series beside them.

SQLite, WAL, `synchronous=FULL`: what `append` returned for survives a power cut. The event and
the key of the next one are stored in one transaction; the key that signed it is overwritten in
the file (`secure_delete`). A flash drive may keep an old block of it for a while.

Units:   unix and monotonic milliseconds.
Errors:  TamperJournalError.
Source:  sqlite.org/pragma.html#pragma_secure_delete.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from skerry.base.files import PRIVATE_FILE_MODE, private_folder
from skerry.schema.tamper import SignedTamperEvent, TamperEvent, TamperWord
from skerry.trust.errors import TrustError
from skerry.trust.tamper_events import EventKey, digest_of, read_event

FILE = "tamper.db"
EVENTS_MAX = 10_000
"""Events that are kept once they are sent; the oldest go first."""
RAW_MAX = 20_000
"""Changes of raw readings that are kept."""
_TABLES = """
CREATE TABLE IF NOT EXISTS event (
  n INTEGER PRIMARY KEY, payload BLOB NOT NULL, signature BLOB NOT NULL, anchor BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS raw (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sensor TEXT NOT NULL, boot TEXT NOT NULL,
  monotonic_ms INTEGER NOT NULL, reading TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class TamperJournalError(TrustError):
    """A tamper event could not be written to the node's disk, or the journal cannot be read.

    The node reacts all the same: keys are zeroed and restricted data is refused. Free the disk,
    and treat what happened meanwhile as unknown.
    """

    code = "E0287"
    reason = "TAMPER_JOURNAL"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "free the disk, then look at the machine"


class TamperJournal:
    """One node's tamper events. One thread at a time."""

    def __init__(self, folder: Path, *, node: str, boot: str) -> None:
        self._path = private_folder(folder) / FILE
        self._node, self._boot = node, boot
        with self._named():
            self._path.touch(mode=PRIVATE_FILE_MODE)
            self._base = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._base.execute(f"PRAGMA {pragma}")
            self._base.executescript(_TABLES)

    def append(
        self,
        word: TamperWord,
        *,
        at_unix_ms: int,
        monotonic_ms: int,
        sensor: str = "",
        kind: str = "",
        about: str = "",
        window: str = "",
        text: str = "",
        enrolment_key: EllipticCurvePrivateKey | None = None,
    ) -> TamperEvent:
        """Sign an event and store it; it is on disk when this returns."""
        with self._named(), self._transaction():
            last = self._last()
            seed = self._fact("key")
            key, following = EventKey(seed) if seed else EventKey.new(), EventKey.new()
            event = TamperEvent(
                node=self._node,
                n=read_event(last).n + 1 if last else 1,
                boot=self._boot,
                at_unix_ms=at_unix_ms,
                monotonic_ms=monotonic_ms,
                word=word,
                sensor=sensor,
                kind=kind,
                about=about,
                window=window,
                text=text,
                previous=digest_of(last) if last else "",
                next_key=following.public,
            )
            signed = key.sign(event, enrolment_key)
            self._base.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?)",
                (event.n, signed.payload, signed.signature, signed.anchor),
            )
            self._keep_fact("key", following.seed)
            self._base.execute(
                "DELETE FROM event WHERE n <= ? AND n <= ?", (event.n - EVENTS_MAX, self.sent())
            )
        with self._named():
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # no old key stays in the log
        return event

    def events(self) -> list[TamperEvent]:
        """Return every event that is kept, oldest first."""
        return [read_event(signed) for _, signed in self.after(0)]

    def after(self, n: int, limit: int = EVENTS_MAX * 2) -> list[tuple[int, SignedTamperEvent]]:
        """Return signed events that follow the n-th, oldest first."""
        query = "SELECT n, payload, signature, anchor FROM event WHERE n > ? ORDER BY n LIMIT ?"
        with self._named():
            rows = self._base.execute(query, (n, limit)).fetchall()
        return [(int(row[0]), _signed(*row[1:])) for row in rows]

    def sent(self) -> int:
        """Return the number of the last event that was handed on."""
        with self._named():
            return int(self._fact("sent") or b"0")

    def mark_sent(self, n: int) -> None:
        """Remember that events up to the n-th were handed on."""
        with self._named(), self._transaction():
            self._keep_fact("sent", str(n).encode())

    def counter(self, name: str) -> int:
        """Return a webhook's last message number."""
        with self._named():
            return int(self._fact(f"counter.{name}") or b"0")

    def keep_counter(self, name: str, value: int) -> None:
        """Remember a webhook's last message number."""
        with self._named(), self._transaction():
            self._keep_fact(f"counter.{name}", str(value).encode())

    def add_raw(self, changes: Sequence[tuple[str, int, str]]) -> None:
        """Store raw changes (sensor, monotonic milliseconds, reading), the newest `RAW_MAX`."""
        with self._named(), self._transaction():
            self._base.executemany(
                "INSERT INTO raw (sensor, boot, monotonic_ms, reading) VALUES (?, ?, ?, ?)",
                [(sensor, self._boot, at_ms, reading) for sensor, at_ms, reading in changes],
            )
            self._base.execute(
                "DELETE FROM raw WHERE id <= (SELECT max(id) FROM raw) - ?", (RAW_MAX,)
            )

    def raw(self, sensor: str) -> list[tuple[int, str]]:
        """Return the raw changes of a sensor that are kept."""
        query = "SELECT monotonic_ms, reading FROM raw WHERE sensor = ? ORDER BY id"
        with self._named():
            return [(row[0], row[1]) for row in self._base.execute(query, (sensor,))]

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _last(self) -> SignedTamperEvent | None:
        row = self._base.execute(
            "SELECT payload, signature, anchor FROM event ORDER BY n DESC LIMIT 1"
        ).fetchone()
        return _signed(*row) if row else None

    def _fact(self, name: str) -> bytes:
        row = self._base.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return _blob(row[0]) if row else b""

    def _keep_fact(self, name: str, value: bytes) -> None:
        self._base.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise TamperJournalError(str(self._path), str(error)) from error


def read_journal(folder: Path) -> list[SignedTamperEvent]:
    """Return a journal's events, oldest first, writing nothing; raises `TamperJournalError`."""
    path = folder / FILE
    try:
        base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            rows = base.execute("SELECT payload, signature, anchor FROM event ORDER BY n")
            return [_signed(*row) for row in rows]
        finally:
            base.close()
    except sqlite3.Error as error:
        raise TamperJournalError(str(path), str(error)) from error


def _signed(payload: object, signature: object, anchor: object) -> SignedTamperEvent:
    return SignedTamperEvent(
        payload=_blob(payload), signature=_blob(signature), anchor=_blob(anchor)
    )


def _blob(value: object) -> bytes:
    """Return a column as bytes; whoever changed the file may have left anything there."""
    return value if isinstance(value, bytes) else str(value).encode()
