"""The ledger: what was noted is there for ever, in order, and anybody can check it."""

import asyncio
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.testing.clock import ManualClock
from skerry.trust.ledger import Ledger, LedgerFullError, begin_again, open_ledger
from skerry.trust.ledger_errors import LedgerError, LedgerTamperedError, LogForkError
from skerry.trust.ledger_keys import KEY_LIFE_S
from skerry.trust.ledger_notes import read_note
from skerry.trust.ledger_ocsf import body_of, canonical, event_of
from skerry.trust.ledger_store import LEDGER_FILE, LedgerStore
from skerry.trust.ledger_verify import verify_folder

NAME = "spiffe://oslo.eu.clinic.example/node/1"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no event wait for others to come."""
    monkeypatch.setattr("skerry.trust.ledger.GROUP_S_MAX", 0)


def event(n: int = 0, **changed: object) -> AuditEvent:
    facts: dict[str, object] = {
        "kind": AuditKind.BAN,
        "outcome": AuditOutcome.DONE,
        "actor": "spiffe://clinic.example/operator/ann",
        "target": f"oslo/{n}",
        "reason": "STOLEN",
    }
    return AuditEvent(**facts | changed)  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(tmp_path, NAME, ManualClock())
    yield opened
    opened.close()


def test_a_note_is_on_disk_when_it_returns(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.note_now(event(7)) == 1
    with sqlite3.connect(tmp_path / LEDGER_FILE) as other:
        (body,) = other.execute("SELECT body FROM entry").fetchone()
    found, _ = event_of(body)
    assert found.target == "oslo/7"


def test_many_at_once_become_few_groups_and_one_chain(ledger: Ledger, tmp_path: Path) -> None:
    async def all_at_once() -> None:
        await asyncio.gather(*(ledger.note(event(n)) for n in range(500)))

    asyncio.run(all_at_once())
    ledger.close()
    verdict = verify_folder(tmp_path)
    assert (verdict.entries, verdict.signed) == (500, 500)


def test_threads_and_the_loop_share_it(ledger: Ledger, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=lambda: [ledger.note_now(event(n)) for n in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    assert verify_folder(tmp_path).entries == 80


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    origins = set()
    for life in range(4):
        ledger = open_ledger(tmp_path, NAME, ManualClock())
        for n in range(150):
            ledger.note_now(event(n))
        origins.add(ledger.origin)
        ledger.close()
        assert verify_folder(tmp_path).entries == 150 * (life + 1)
    assert len(origins) == 1


def test_a_closed_ledger_refuses(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.note_now(event())


# --- canonical form -------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
plain = st.dictionaries(
    st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20), max_size=8),
    st.one_of(texts, st.integers(-(2**53) + 1, 2**53 - 1), st.booleans()),
    max_size=5,
)


@given(plain)
def test_the_canonical_form_is_that_of_rfc_8785(document: dict[str, object]) -> None:
    assert canonical(document) == rfc8785.dumps(document)  # type: ignore[arg-type]


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_can_be_noted(actor: str, reason: str) -> None:
    """Half a surrogate pair included: whoever is refused chooses what their name is."""
    noted = event(actor=actor, reason=reason, fields={actor: reason})
    body = body_of(noted, chain="c/1", seq=1, at_unix_ms=0, sealed=None)
    assert canonical(json.loads(body)) == body


# --- tampering ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of 40 entries, with checkpoints at 20 and at 40."""
    folder = tmp_path_factory.mktemp("whole")
    for _ in range(2):
        ledger = open_ledger(folder, NAME, ManualClock())
        for n in range(20):
            ledger.note_now(event(n))
        ledger.close()
    return folder


@pytest.mark.parametrize(
    ("change", "first_bad"),
    [
        ("UPDATE entry SET body = replace(body, 'STOLEN', 'BROKEN') WHERE seq = 7", 7),
        ("DELETE FROM entry WHERE seq = 7", 7),
        ("DELETE FROM entry WHERE seq > 30", 31),
        ("UPDATE entry SET leaf = zeroblob(32) WHERE seq = 12", 12),
        ("INSERT INTO entry SELECT 41, leaf, body FROM entry WHERE seq = 3", 41),
        ("UPDATE checkpoint SET note = replace(note, '40', '41') WHERE size = 40", 40),
    ],
)
def test_the_first_bad_entry_is_named(
    whole: Path, tmp_path: Path, change: str, first_bad: int
) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy" / LEDGER_FILE) as base:
        base.execute(change)
    with pytest.raises(LedgerTamperedError) as refused:
        verify_folder(tmp_path / "copy")
    assert refused.value.seq == first_bad


def test_a_chain_made_anew_does_not_fit_what_was_signed(whole: Path, tmp_path: Path) -> None:
    """Every hash recomputed after the change: only the signature still knows."""
    shutil.copytree(whole, tmp_path / "copy")
    rechain(tmp_path / "copy", lambda seq, body: body.replace(b"oslo/9", b"oslo/8"))
    with pytest.raises(LedgerTamperedError, match="not those that were signed") as refused:
        verify_folder(tmp_path / "copy")
    assert refused.value.seq == 1


def test_an_older_copy_is_whole_and_does_not_fit_what_a_witness_saw(
    whole: Path, tmp_path: Path
) -> None:
    ledger = open_ledger(tmp_path / "copy", NAME, ManualClock())
    ledger.note_now(event())
    ledger.close()
    shutil.copytree(tmp_path / "copy", tmp_path / "older")
    ledger = open_ledger(tmp_path / "copy", NAME, ManualClock())
    ledger.note_now(event())
    ledger.close()
    store = LedgerStore(tmp_path / "copy", writable=False)
    seen = read_note(store.checkpoints()[-1][1])
    store.close()
    assert verify_folder(tmp_path / "copy", witnessed=[seen]).witnessed == 2
    assert verify_folder(tmp_path / "older").entries == 1
    with pytest.raises(LogForkError):
        verify_folder(tmp_path / "older", witnessed=[seen])


def rechain(folder: Path, change: Callable[[int, bytes], bytes]) -> None:
    """Rewrite a ledger as somebody would who knows how it works but has no key."""
    from skerry.trust.ledger_tree import chain_start, leaf_hash

    store = LedgerStore(folder, writable=False)
    entries, last = store.entries(0, 10_000), chain_start(store.origin)
    store.close()
    with sqlite3.connect(folder / LEDGER_FILE) as base:
        for entry in entries:
            body = change(entry.seq, entry.body)
            last = leaf_hash(last, body)
            base.execute(
                "UPDATE entry SET body = ?, leaf = ? WHERE seq = ?", (body, last, entry.seq)
            )


def test_a_tampered_ledger_is_put_aside_and_the_new_one_says_so(
    whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy" / LEDGER_FILE) as base:
        base.execute("DELETE FROM entry WHERE seq > 30")
    ledger = open_ledger(tmp_path / "copy", NAME, ManualClock())
    (first,) = ledger.store.entries(0, 10)
    assert event_of(first.body)[0].reason == "AUDIT_TAMPERED"
    ledger.close()
    (aside,) = (tmp_path / "copy").glob("tampered-*")
    with pytest.raises(LedgerTamperedError):
        verify_folder(aside)


def test_a_restored_ledger_is_put_aside_with_what_it_witnessed(whole: Path, tmp_path: Path) -> None:
    """Going on from a backup would be a second history of one ledger."""
    shutil.copytree(whole, tmp_path / "copy")
    (tmp_path / "copy" / "witness.db").write_bytes(b"")
    begin_again(tmp_path / "copy", ManualClock(), "restored from monday")
    assert not (tmp_path / "copy" / "witness.db").exists()
    ledger = open_ledger(tmp_path / "copy", NAME, ManualClock())
    (first,) = ledger.store.entries(0, 10)
    noted, _ = event_of(first.body)
    assert (noted.kind, noted.text, noted.fields["entries"]) == (
        AuditKind.BACKUP,
        "restored from monday",
        "40",
    )
    ledger.close()
    (aside,) = (tmp_path / "copy").glob("restored-*")
    assert verify_folder(aside).entries == 40


# --- room -----------------------------------------------------------------------------


def test_a_nearly_full_disk_refuses_actions_and_keeps_room_for_evidence(tmp_path: Path) -> None:
    room = [10**9]
    ledger = open_ledger(tmp_path, NAME, ManualClock(), free=lambda _: room[0])
    ledger.note_now(event())
    room[0] = 1000
    with pytest.raises(LedgerFullError, match="1000 bytes are free"):
        ledger.note_now(event())
    ledger.note_now(event(outcome=AuditOutcome.REFUSED))
    ledger.note_now(event(kind=AuditKind.TAMPER))
    room[0] = 10**9
    ledger.note_now(event())
    ledger.close()
    assert verify_folder(tmp_path).entries == 4


def test_a_disk_that_fills_up_in_between_refuses_and_leaves_a_whole_chain(tmp_path: Path) -> None:
    """The database itself meets the end of its room, in the middle of a group."""
    ledger = open_ledger(tmp_path, NAME, ManualClock())
    ledger.note_now(event())
    (pages,) = ledger.store._base.execute("PRAGMA page_count").fetchone()
    ledger.store._base.execute(f"PRAGMA max_page_count={pages + 4}")

    def fill(outcome: AuditOutcome) -> None:
        for _ in range(100):
            ledger.note_now(event(outcome=outcome, text="x" * 1000))

    with pytest.raises(LedgerFullError):
        fill(AuditOutcome.DONE)
    assert (tmp_path / "reserve").exists()  # no action gets what is kept for evidence
    with pytest.raises(LedgerFullError):
        fill(AuditOutcome.REFUSED)
    assert not (tmp_path / "reserve").exists()
    ledger.store._base.execute("PRAGMA max_page_count=1000000")
    ledger.note_now(event())
    size = ledger.store.size()
    ledger.close()
    assert verify_folder(tmp_path).entries == size


def test_an_event_that_cannot_be_written_takes_no_other_with_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skerry.trust.ledger.GROUP_S_MAX", 0.2)

    async def two() -> list[object]:
        bad = event(personal={"person": 7})  # no text, whatever its type says
        return await asyncio.gather(
            ledger.note(event()), ledger.note(bad), ledger.note(event()), return_exceptions=True
        )

    one, failed, other = asyncio.run(two())
    assert (one, other) == (None, None)
    assert isinstance(failed, LedgerError)
    assert ledger.store.size() == 2


# --- keys -----------------------------------------------------------------------------


def test_checkpoints_are_followed_through_a_change_of_key(tmp_path: Path) -> None:
    clock, keys = ManualClock(), []
    for _ in range(3):
        ledger = open_ledger(tmp_path, NAME, clock)
        ledger.note_now(event())
        clock.advance(KEY_LIFE_S)
        ledger.close()
        keys.append(str(ledger.key))
    assert len(set(keys)) == 3
    verdict = verify_folder(tmp_path)
    assert verdict.entries == verdict.signed == 6
    with sqlite3.connect(tmp_path / LEDGER_FILE) as base:
        base.execute("UPDATE fact SET value = ? WHERE name = 'key'", (keys[-1],))
    with pytest.raises(LedgerTamperedError, match="no good signature"):
        verify_folder(tmp_path)


# --- people ---------------------------------------------------------------------------


def test_an_erased_person_leaves_the_chain_whole(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, NAME, ManualClock())
    ledger.note_now(event(personal={"person": "ann", "phone": "+47 123"}))
    ledger.note_now(event(personal={"person": "bo", "phone": "+47 456"}))
    assert personal(ledger, 1) == {"person": "ann", "phone": "+47 123"}
    assert ledger.people.ask("ann", actor="dpo", reason="asked to")
    assert not ledger.people.ask("carl", actor="dpo", reason="")
    ledger.close()
    ledger = open_ledger(tmp_path, NAME, ManualClock())
    assert personal(ledger, 1) is None
    assert personal(ledger, 2) == {"person": "bo", "phone": "+47 456"}
    ledger.close()
    assert verify_folder(tmp_path).entries == 3
    for file in tmp_path.iterdir():
        assert b"+47 123" not in file.read_bytes(), file


def personal(ledger: Ledger, seq: int) -> dict[str, str] | None:
    from skerry.trust.ledger_ocsf import sealed_of

    (entry,) = ledger.store.entries(seq - 1, 1)
    return ledger.people.open(sealed_of(entry.body), chain=ledger.origin, seq=seq)
