"""The store of a central that runs on one machine: one SQLite file.

Write-ahead log with `synchronous=FULL`: what a method returned from survives a power
cut. One connection writes, one reads, each behind a lock, so a long read never holds up
ingest. Documents are kept as the JSON they came as, with columns only for what is asked by.

Errors:  StoreFullError, StoreError, GenerationConflictError.
Source:  sqlite.org/wal.html; sqlite.org/pragma.html#pragma_synchronous.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from skerry.base.files import PRIVATE_FILE_MODE
from skerry.central.errors import GenerationConflictError, StoreError, StoreFullError
from skerry.central.store import Applied, Sealed, Seen
from skerry.schema.api import RegionStatus, Registration, StoredEvent
from skerry.schema.drill import DrillRecord
from skerry.schema.fleet import Fleet
from skerry.schema.observed import Observed
from skerry.schema.records import Envelope, Event, Summary

BUSY_MS_MAX = 5000
"""How long to wait for another process that reads the file, a backup for example."""

LAYOUT = 1
"""Counts changes of the tables; kept in `user_version`, so that an older program stops."""

_TABLES = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('generation', 0);
CREATE TABLE applied (
    generation INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);
CREATE TABLE sealed (
    site TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE regions (region TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE nodes (
    node TEXT PRIMARY KEY,
    region TEXT NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX nodes_by_region ON nodes (region);
CREATE TABLE observed (
    node TEXT PRIMARY KEY,
    received_unix_s REAL NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE records (
    n INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    event_kind TEXT NOT NULL,
    from_unix_ms INTEGER NOT NULL,
    to_unix_ms INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX records_by_kind ON records (kind, n);
CREATE INDEX records_by_end ON records (kind, to_unix_ms);
CREATE TABLE rollouts (generation INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE drills (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
_ADDED = (
    "CREATE TABLE IF NOT EXISTS custody (n INTEGER PRIMARY KEY, machine TEXT NOT NULL,"
    " number INTEGER NOT NULL, place TEXT NOT NULL, body BLOB NOT NULL, UNIQUE (machine, number))",
    "CREATE INDEX IF NOT EXISTS custody_by_place ON custody (place, n)",
)
"""Tables that came later: an older program does not miss them, so the layout stays the same."""

_event = msgspec.json.Decoder(Event)
_summary = msgspec.json.Decoder(Summary)

Row = tuple[str, str, str, str, str, int, int, bytes]
"""Of `records`: key, kind, site, node, event kind, first and last moment, body."""


class SqliteStore:
    """`Store` in one file. One process at a time; its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.touch(mode=PRIVATE_FILE_MODE)
            self._writer = self._connect()
            self._reader = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(str(path), "opening", str(error)) from error
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._prepare()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS_MAX / 1000
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _prepare(self) -> None:
        with self._change("the tables") as sql:
            (layout,) = sql.execute("PRAGMA user_version").fetchone()
            if layout == 0:
                for statement in _TABLES.split(";\n"):
                    sql.execute(statement)
                sql.execute(f"PRAGMA user_version={LAYOUT}")
            elif layout != LAYOUT:
                raise StoreError(
                    str(self._path), "opening", f"its layout is {layout}, wanted {LAYOUT}"
                )
            for statement in _ADDED:
                sql.execute(statement)

    @contextmanager
    def _change(self, what: str) -> Iterator[sqlite3.Connection]:
        """Hold the writer for one transaction: all of it, or nothing and an error that says why."""
        with self._write_lock:
            sql = self._writer
            try:
                sql.execute("BEGIN IMMEDIATE")
                yield sql
                sql.execute("COMMIT")
            except BaseException as error:
                # A full disk may have ended the transaction already.
                if sql.in_transaction:
                    sql.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._named(error, what) from error
                raise

    @contextmanager
    def _look(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._read_lock:
            try:
                yield self._reader
            except sqlite3.Error as error:
                raise self._named(error, what) from error

    def _named(self, error: sqlite3.Error, what: str) -> StoreError | StoreFullError:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            return StoreFullError(str(self._path), what)
        return StoreError(str(self._path), what, str(error))

    def close(self) -> None:
        """Let go of the file; further calls fail."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def go_ahead(self, steps: int) -> None:
        """Count generations on from far above.

        For a store that came back from a backup: nodes refuse generations below what they know.
        """
        with self._change("the generation after a restore") as sql:
            sql.execute("UPDATE counters SET value = value + ? WHERE name = 'generation'", (steps,))

    def next_generation(self) -> int:
        """Hand out a generation that was never handed out before; they only rise."""
        with self._change("a generation") as sql:
            return _next_generation(sql)

    def apply(
        self,
        fleet: Fleet,
        *,
        expected_generation: int,
        policy_sha256: str,
        applied_by: str,
        reason: str,
        at_unix_s: float,
    ) -> Applied:
        """Keep a fleet as the newest, if the newest is the expected one (0: none yet)."""
        with self._change("an applied fleet") as sql:
            (newest,) = sql.execute("SELECT coalesce(max(generation), 0) FROM applied").fetchone()
            if newest != expected_generation:
                raise GenerationConflictError(expected_generation, newest)
            applied = Applied(
                generation=_next_generation(sql),
                fleet=fleet,
                policy_sha256=policy_sha256,
                applied_by=applied_by,
                reason=reason,
                at_unix_s=at_unix_s,
            )
            sql.execute(
                "INSERT INTO applied VALUES (?, ?)",
                (applied.generation, msgspec.json.encode(applied)),
            )
            return applied

    def applied(self, generation: int | None = None) -> Applied | None:
        """Return the fleet applied as a generation; the newest without one."""
        with self._look("the applied fleet") as sql:
            query = (
                "SELECT body FROM applied WHERE ?1 IS NULL OR generation = ?1"
                " ORDER BY generation DESC LIMIT 1"
            )
            row = sql.execute(query, (generation,)).fetchone()
        return msgspec.json.decode(row[0], type=Applied) if row else None

    def put_sealed(self, sealed: Sealed) -> None:
        """Keep a site's desired document; an older generation never replaces a newer one."""
        with self._change("a desired document") as sql:
            sql.execute(
                "INSERT INTO sealed VALUES (?, ?, ?) ON CONFLICT (site) DO UPDATE SET "
                "generation = excluded.generation, body = excluded.body "
                "WHERE excluded.generation >= sealed.generation",
                (sealed.site, sealed.generation, msgspec.json.encode(sealed)),
            )

    def sealed(self) -> dict[str, Sealed]:
        """Return the last desired document of each site."""
        with self._look("desired documents") as sql:
            rows = sql.execute("SELECT body FROM sealed ORDER BY site").fetchall()
        found = (msgspec.json.decode(body, type=Sealed) for (body,) in rows)
        return {sealed.site: sealed for sealed in found}

    def put_registry(self, region: RegionStatus, nodes: Sequence[Registration]) -> bool:
        """Replace what is known of a region's nodes; say whether anything changed but the time."""
        new = {node.node: msgspec.json.encode(node) for node in nodes}
        with self._change("a region's registry") as sql:
            row = sql.execute(
                "SELECT body FROM regions WHERE region = ?", (region.region,)
            ).fetchone()
            old = dict(
                sql.execute("SELECT node, body FROM nodes WHERE region = ?", (region.region,))
            )
            same_place = (
                row is not None
                and msgspec.structs.replace(
                    msgspec.json.decode(row[0], type=RegionStatus), heard_unix_s=region.heard_unix_s
                )
                == region
            )
            sql.execute(
                "INSERT OR REPLACE INTO regions VALUES (?, ?)",
                (region.region, msgspec.json.encode(region)),
            )
            gone = [(node,) for node in old if node not in new]
            changed = [(k, region.region, v) for k, v in new.items() if old.get(k) != v]
            sql.executemany("DELETE FROM nodes WHERE node = ?", gone)
            sql.executemany("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", changed)
            return bool(gone or changed) or not same_place

    def nodes(self) -> list[Registration]:
        """Return every registered node, by name."""
        with self._look("the registry") as sql:
            rows = sql.execute("SELECT body FROM nodes ORDER BY node").fetchall()
        return [msgspec.json.decode(body, type=Registration) for (body,) in rows]

    def regions(self) -> list[RegionStatus]:
        """Return every region that ever reported, by name."""
        with self._look("regions") as sql:
            rows = sql.execute("SELECT body FROM regions ORDER BY region").fetchall()
        return [msgspec.json.decode(body, type=RegionStatus) for (body,) in rows]

    def put_observed(self, seen: Iterable[Seen]) -> None:
        """Keep the reports; one that is older than what is kept of its node is left out."""
        with self._change("node reports") as sql:
            sql.executemany(
                "INSERT INTO observed VALUES (?, ?, ?) ON CONFLICT (node) DO UPDATE SET "
                "received_unix_s = excluded.received_unix_s, body = excluded.body "
                "WHERE excluded.received_unix_s >= observed.received_unix_s",
                [
                    (one.observed.node, one.received_unix_s, msgspec.json.encode(one.observed))
                    for one in seen
                ],
            )

    def observed(self) -> dict[str, Seen]:
        """Return the last report of each node."""
        with self._look("node reports") as sql:
            rows = sql.execute("SELECT node, received_unix_s, body FROM observed").fetchall()
        return {
            node: Seen(
                observed=msgspec.json.decode(body, type=Observed), received_unix_s=received_unix_s
            )
            for node, received_unix_s, body in rows
        }

    def add_records(self, envelopes: Iterable[Envelope]) -> int:
        """Keep the records that are new, by key, and return how many were."""
        rows = [_record_row(envelope) for envelope in envelopes]
        with self._change("records") as sql:
            before = sql.total_changes
            sql.executemany(
                "INSERT OR IGNORE INTO records"
                " (key, kind, site, node, event_kind, from_unix_ms, to_unix_ms, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            return sql.total_changes - before

    def record_count(self) -> int:
        """Return how many records are kept."""
        with self._look("records") as sql:
            return int(sql.execute("SELECT count(*) FROM records").fetchone()[0])

    def events(
        self, *, after: int = 0, site: str = "", kind: str = "", limit: int = 100
    ) -> list[StoredEvent]:
        """Return events in the order they arrived; `kind` also matches as a dotted prefix."""
        query = "SELECT n, key, body FROM records WHERE kind = 'event' AND n > ?"
        values: list[str | int] = [after]
        if site:
            query += " AND site = ?"
            values.append(site)
        if kind:
            query += " AND (event_kind = ? OR substr(event_kind, 1, ?) = ?)"
            values += [kind, len(kind) + 1, f"{kind}."]
        with self._look("events") as sql:
            rows = sql.execute(f"{query} ORDER BY n LIMIT ?", (*values, limit)).fetchall()
        return [
            StoredEvent(n=n, key=key, event=msgspec.json.decode(body, type=Event))
            for n, key, body in rows
        ]

    def summaries(
        self, *, from_unix_ms: int, to_unix_ms: int, after: int = 0, limit: int = 5000
    ) -> tuple[list[Summary], int, bool]:
        """Return summaries that overlap a span, the place of the last, and whether more follow."""
        with self._look("summaries") as sql:
            rows = sql.execute(
                "SELECT n, body FROM records WHERE kind = 'summary' AND n > ?"
                " AND to_unix_ms >= ? AND from_unix_ms <= ? ORDER BY n LIMIT ?",
                (after, from_unix_ms, to_unix_ms, limit + 1),
            ).fetchall()
        page = rows[:limit]
        found = [msgspec.json.decode(body, type=Summary) for _, body in page]
        return found, page[-1][0] if page else after, len(rows) > limit

    def put_rollout(self, generation: int, document: bytes) -> None:
        """Keep the state of the rollout of a generation."""
        with self._change("a rollout") as sql:
            sql.execute("INSERT OR REPLACE INTO rollouts VALUES (?, ?)", (generation, document))

    def rollout(self) -> bytes | None:
        """Return the state of the rollout with the highest generation."""
        with self._look("the rollout") as sql:
            row = sql.execute(
                "SELECT body FROM rollouts ORDER BY generation DESC LIMIT 1"
            ).fetchone()
        return bytes(row[0]) if row else None

    def add_custody(self, machine: str, number: int, place: str, line: bytes) -> bool:
        """Keep a signed entry as a machine's n-th, from 0; False where another is in its place."""
        with self._change("a custody entry") as sql:
            rows = dict(
                sql.execute(
                    "SELECT number, body FROM custody WHERE machine = ? AND number >= ?",
                    (machine, number - 1),
                )
            )
            if number in rows:
                return bool(rows[number] == line)
            if number and number - 1 not in rows:
                return False
            sql.execute(
                "INSERT INTO custody (machine, number, place, body) VALUES (?, ?, ?, ?)",
                (machine, number, place, line),
            )
            return True

    def custody(self, machine: str) -> list[bytes]:
        """Return a machine's entries, as they came, in order."""
        with self._look("custody entries") as sql:
            rows = sql.execute(
                "SELECT body FROM custody WHERE machine = ? ORDER BY number", (machine,)
            ).fetchall()
        return [bytes(body) for (body,) in rows]

    def custody_at(self, place: str, limit: int = 256) -> list[bytes]:
        """Return the newest entries of any machine that name a place, oldest first."""
        with self._look("custody entries") as sql:
            rows = sql.execute(
                "SELECT body FROM custody WHERE place = ? ORDER BY n DESC LIMIT ?", (place, limit)
            ).fetchall()
        return [bytes(body) for (body,) in reversed(rows)]

    def custody_machines(self) -> list[str]:
        """Return every machine that has an entry, by name."""
        with self._look("custody entries") as sql:
            rows = sql.execute("SELECT DISTINCT machine FROM custody ORDER BY machine").fetchall()
        return [str(machine) for (machine,) in rows]

    def add_drill(self, record: DrillRecord) -> None:
        """Keep a graded drill."""
        with self._change("a drill") as sql:
            sql.execute("INSERT INTO drills (body) VALUES (?)", (msgspec.json.encode(record),))

    def drills(self, limit: int = 100) -> list[DrillRecord]:
        """Return graded drills, newest first."""
        with self._look("drills") as sql:
            rows = sql.execute("SELECT body FROM drills ORDER BY n DESC LIMIT ?", (limit,))
            return [msgspec.json.decode(body, type=DrillRecord) for (body,) in rows]


def _next_generation(sql: sqlite3.Connection) -> int:
    row = sql.execute(
        "UPDATE counters SET value = value + 1 WHERE name = 'generation' RETURNING value"
    ).fetchone()
    return int(row[0])


def _record_row(envelope: Envelope) -> Row:
    """Lay a record out.

    One whose body is not what its kind says is kept as `damaged`: it counts, and it cannot
    break every later page that it would be on.
    """
    body = bytes(envelope.body)
    at_unix_ms = envelope.at_unix_ms
    try:
        if envelope.kind == "event":
            event = _event.decode(body)
            labels = (event.site, event.node, event.kind, at_unix_ms, at_unix_ms)
        elif envelope.kind == "summary":
            summary = _summary.decode(body)
            span = (summary.from_unix_ms, summary.to_unix_ms)
            labels = (summary.site, summary.node, "", *span)
        else:
            labels = ("", "", "", at_unix_ms, at_unix_ms)
        return (envelope.key, envelope.kind, *labels, body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return (envelope.key, "damaged", "", "", "", at_unix_ms, at_unix_ms, body)
