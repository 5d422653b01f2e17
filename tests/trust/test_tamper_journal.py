"""The tamper journal: what it returned for is there, in order, signed, and bounded."""

import sqlite3
from pathlib import Path

import pytest

from skerry.schema.tamper import TamperWord
from skerry.trust import tamper_journal
from skerry.trust.identity import new_key
from skerry.trust.tamper_events import TamperEventsError, check_events
from skerry.trust.tamper_journal import TamperJournal, TamperJournalError

NODE = "oslo/1"


def journal(folder: Path, boot: str = "b1") -> TamperJournal:
    return TamperJournal(folder, node=NODE, boot=boot)


def add(one: TamperJournal, word: TamperWord = TamperWord.LID_OPEN, at_ms: int = 1) -> int:
    return one.append(word, at_unix_ms=at_ms, monotonic_ms=at_ms, sensor="lid").n


def test_events_count_on_over_boots_and_the_series_holds(tmp_path: Path) -> None:
    key = new_key()
    first = journal(tmp_path)
    first.append(TamperWord.WATCH_STARTED, at_unix_ms=1, monotonic_ms=1, enrolment_key=key)
    assert add(first) == 2
    first.close()
    second = journal(tmp_path, "b2")
    assert add(second) == 3
    signed = [one for _, one in second.after(0)]
    found = check_events(signed, node=NODE, enrolment_key=key.public_key())
    assert [event.boot for event in found] == ["b1", "b1", "b2"]
    assert [n for n, _ in second.after(1)] == [2, 3]


def test_the_key_of_a_past_event_is_nowhere_on_the_disk(tmp_path: Path) -> None:
    one = journal(tmp_path)
    seeds = []
    for _ in range(5):
        add(one)
        seeds.append(one._fact("key"))
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [seed in on_disk for seed in seeds] == [False, False, False, False, True]


def test_an_event_changed_on_the_disk_is_named(tmp_path: Path) -> None:
    one = journal(tmp_path)
    for _ in range(3):
        add(one)
    one.close()
    with sqlite3.connect(tmp_path / "tamper.db") as base:
        base.execute("UPDATE event SET payload = replace(payload, 'lid', 'lod') WHERE n = 2")
    signed = [event for _, event in journal(tmp_path).after(0)]
    with pytest.raises(TamperEventsError, match="event 2"):
        check_events(signed, node=NODE)


def test_old_events_go_once_they_are_sent_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tamper_journal, "EVENTS_MAX", 3)
    one = journal(tmp_path)
    for _ in range(5):
        add(one)
    assert len(one.events()) == 5
    one.mark_sent(4)
    add(one)
    assert [event.n for event in one.events()] == [4, 5, 6]


def test_the_raw_series_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tamper_journal, "RAW_MAX", 10)
    one = journal(tmp_path)
    one.add_raw([("lid", at_ms, "open") for at_ms in range(25)])
    assert [at_ms for at_ms, _ in one.raw("lid")] == list(range(15, 25))


def test_a_torn_journal_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "tamper.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(TamperJournalError, match="not a database"):
        journal(tmp_path)


def test_a_webhooks_counter_survives_a_restart(tmp_path: Path) -> None:
    one = journal(tmp_path)
    assert one.counter("door") == 0
    one.keep_counter("door", 7)
    one.close()
    assert journal(tmp_path).counter("door") == 7
