"""The SQLite store under what only a file can suffer: a full disk, a torn file, a newer layout."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from skerry.base.errors import Exit
from skerry.central.errors import StoreError, StoreFullError
from skerry.central.sqlite_store import SqliteStore
from skerry.schema.records import Envelope, Event, Keep


def event(key: str, text: str = "x") -> Envelope:
    body = Event(kind="k", at_unix_ms=1, site="oslo", node="oslo/1", text=text)
    return Envelope(
        key=key,
        keep=Keep.MUST,
        kind="event",
        at_unix_ms=1,
        body=msgspec.Raw(msgspec.json.encode(body)),
    )


def test_a_full_disk_is_a_clear_error_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """SQLite's own page limit gives the very error that a full disk gives (SQLITE_FULL)."""
    store = SqliteStore(tmp_path / "central.db")
    store.add_records([event("first")])
    store._writer.execute("PRAGMA max_page_count = 40")
    with pytest.raises(StoreFullError, match=r"no room left in .*central\.db.*records"):
        store.add_records([event("small"), *(event(f"big{n}", "y" * 4000) for n in range(200))])
    assert [one.key for one in store.events()] == ["first"]
    store._writer.execute("PRAGMA max_page_count = 100000")
    assert store.add_records([event("first"), event("small")]) == 1
    store.close()


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    path.write_bytes(b"not a database, by any means" * 100)
    with pytest.raises(StoreError, match=r"central\.db: opening failed"):
        SqliteStore(path)


def test_a_file_of_a_newer_layout_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    SqliteStore(path).close()
    with sqlite3.connect(path) as sql:
        sql.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="its layout is 99, wanted 1"):
        SqliteStore(path)


def test_the_file_is_readable_by_its_owner_only_and_syncs_fully(tmp_path: Path) -> None:
    path = tmp_path / "central.db"
    store = SqliteStore(path)
    assert path.stat().st_mode & 0o077 == 0
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_store_error_says_what_to_do_and_ends_with_its_code() -> None:
    error = StoreFullError("/s/central.db", "records")
    assert error.code == "E1201"
    assert error.exit_code is Exit.BAD_OUTCOME
    assert "free some disk space" in error.hint


def test_a_change_that_breaks_off_half_way_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "central.db")

    def half() -> None:
        with store._change("a test") as sql:
            sql.execute("INSERT INTO rollouts VALUES (1, 'half')")
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        half()
    assert store.rollout() is None
    assert store.next_generation() == 1
    store.close()
