"""Witnesses: they sign what follows from what they saw, and nothing else."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.testing.clock import ManualClock
from skerry.trust.ledger import Ledger, open_ledger
from skerry.trust.ledger_errors import CheckpointError, LogForkError, WitnessRetiredError
from skerry.trust.ledger_keys import KEY_LIFE_S
from skerry.trust.ledger_notes import NoteKey, read_note
from skerry.trust.ledger_verify import verify_folder
from skerry.trust.ledger_witness import Witness, WitnessBehindError, compare, seen_notes

OWNER = "oslo.eu.clinic.example/node/1"
EVENT = AuditEvent(kind=AuditKind.BAN, outcome=AuditOutcome.DONE, actor="ann", target="oslo/1")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no event wait for others to come."""
    monkeypatch.setattr("skerry.trust.ledger.GROUP_S_MAX", 0)


def grow(folder: Path, entries: int, clock: ManualClock | None = None) -> tuple[str, str]:
    """Add entries; returns the newest checkpoint and the key of the ledger."""
    ledger = open_ledger(folder, OWNER, clock or ManualClock())
    for _ in range(entries):
        ledger.note_now(msgspec.structs.replace(EVENT, target=folder.name))
    if clock:
        clock.advance(KEY_LIFE_S)
    ledger.close()
    return reopened(folder, lambda one: (one.store.checkpoints()[-1][1], str(ledger.key)))


def reopened(folder: Path, ask: Callable[[Ledger], tuple[str, str]]) -> tuple[str, str]:
    ledger = open_ledger(folder, OWNER, ManualClock())
    answer = ask(ledger)
    ledger.close()
    return answer


def proof(folder: Path, old_size: int, size: int) -> list[bytes]:
    ledger = open_ledger(folder, OWNER, ManualClock())
    found = ledger.proof(old_size, size)
    ledger.close()
    return found


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    made = Witness(tmp_path / "witness", "eu.clinic.example/region", now_unix_s=0)
    yield made
    made.close()


def see(witness: Witness, note: str, key: str, path: list[bytes], old_size: int) -> str:
    return witness.see(note, key, path, owner=OWNER, old_size=old_size, now_unix_s=1234)


def test_what_follows_is_signed_with_the_time_of_the_sight(
    witness: Witness, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    note, key = grow(ledger, 3)
    line = see(witness, note, key, [], 0)
    assert read_note(note + line).seen_unix_s(witness.key) == 1234
    note, key = grow(ledger, 300)
    see(witness, note, key, proof(ledger, 3, 303), 3)
    assert witness.size_of(read_note(note).checkpoint.origin) == 303
    see(witness, note, key, [], 303)  # the same again
    assert verify_folder(ledger, witnessed=seen_notes(tmp_path / "witness")).witnessed == 303


def test_a_ledger_that_was_put_back_finds_no_witness(witness: Witness, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    old = grow(ledger, 3)
    shutil.copytree(ledger, tmp_path / "older")
    note, key = grow(ledger, 2)
    see(witness, note, key, [], 0)
    with pytest.raises(LogForkError, match="smaller"):
        see(witness, *old, [], 5)
    note, key = grow(tmp_path / "older", 4)
    with pytest.raises(LogForkError, match="no proof"):
        see(witness, note, key, proof(tmp_path / "older", 5, 7), 5)


def test_a_witness_says_from_where_it_needs_proof(witness: Witness, tmp_path: Path) -> None:
    note, key = grow(tmp_path / "ledger", 3)
    see(witness, note, key, [], 0)
    note, key = grow(tmp_path / "ledger", 3)
    with pytest.raises(WitnessBehindError) as asked:
        see(witness, note, key, proof(tmp_path / "ledger", 1, 6), 1)
    assert asked.value.known_size == 3


def test_nobody_speaks_for_another_and_no_other_key_signs(witness: Witness, tmp_path: Path) -> None:
    note, key = grow(tmp_path / "ledger", 3)
    with pytest.raises(CheckpointError, match="brought by"):
        witness.see(note, key, [], owner="x.eu.clinic.example/node/2", old_size=0, now_unix_s=0)
    see(witness, note, key, [], 0)
    (tmp_path / "ledger" / "checkpoint.key").unlink()
    note, key = grow(tmp_path / "ledger", 3)
    with pytest.raises(CheckpointError, match="not signed by the ledger's key"):
        see(witness, note, key, proof(tmp_path / "ledger", 3, 6), 3)


def test_a_change_of_key_is_followed(witness: Witness, tmp_path: Path) -> None:
    clock = ManualClock()
    note, key = grow(tmp_path / "ledger", 3)
    see(witness, note, key, [], 0)
    for size in (3, 5, 7):
        note, key = grow(tmp_path / "ledger", 1, clock)
        see(witness, note, key, proof(tmp_path / "ledger", size, size + 2), size)


def test_a_second_ledger_of_one_owner_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    witness = Witness(
        tmp_path / "w", "w", now_unix_s=0, on_new=lambda new, old: told.append((new, old))
    )
    for name in ("one", "two"):
        see(witness, *grow(tmp_path / name, 1), [], 0)
    assert len(told) == 1
    witness.close()


def test_a_witness_that_lost_its_memory_is_retired(witness: Witness, tmp_path: Path) -> None:
    witness.close()
    for file in (tmp_path / "witness").glob("witness.db*"):
        file.unlink()
    for _ in range(2):  # asking again does not help
        with pytest.raises(WitnessRetiredError):
            Witness(tmp_path / "witness", "w", now_unix_s=0)


def test_two_views_of_one_ledger_are_seen_by_comparing(tmp_path: Path) -> None:
    grow(tmp_path / "one", 3)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one = read_note(grow(tmp_path / "one", 1)[0])
    compare(one, one)
    moved = ManualClock(start_unix_s=99.0)
    ledger = open_ledger(tmp_path / "two", OWNER, moved)
    ledger.note_now(EVENT)
    ledger.close()
    two = read_note(reopened(tmp_path / "two", lambda led: (led.store.checkpoints()[-1][1], ""))[0])
    with pytest.raises(LogForkError, match="two trees"):
        compare(one, two)


@given(st.text(max_size=300))
def test_a_made_up_note_or_key_is_refused_by_name(text: str) -> None:
    for read in (read_note, NoteKey.parse):
        with pytest.raises(CheckpointError):
            read(text)


def test_a_changed_note_is_refused_or_not_signed(tmp_path: Path) -> None:
    note, key = grow(tmp_path / "ledger", 3)
    for at in range(len(note)):
        changed = note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :]
        try:
            assert not read_note(changed).signed_by(NoteKey.parse(key)), at
        except CheckpointError:
            continue
