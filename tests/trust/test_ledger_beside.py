"""Noting beside the process that holds a ledger: in the chain before the command acts."""

import threading
from pathlib import Path

import pytest

from skerry.base.files import FolderLock
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.testing.clock import ManualClock
from skerry.trust import ledger_beside
from skerry.trust.ledger import open_ledger
from skerry.trust.ledger_beside import note_beside
from skerry.trust.ledger_errors import LedgerError
from skerry.trust.ledger_inbox import INBOX, leave, waiting
from skerry.trust.ledger_store import LedgerStore
from skerry.trust.ledger_verify import verify_folder

NAME = "spiffe://eu.clinic.example/region"
EVENT = AuditEvent(
    kind=AuditKind.UPDATE, outcome=AuditOutcome.DONE, actor="ann", target="bundle stick"
)


def entries(folder: Path) -> list[bytes]:
    store = LedgerStore(folder, writable=False)
    try:
        return [entry.body for entry in store.entries(0, 100)]
    finally:
        store.close()


def test_where_no_process_runs_the_ledger_is_opened_here(tmp_path: Path) -> None:
    for count in (1, 2):
        note_beside(tmp_path / "audit", NAME, EVENT, ManualClock())
        noted = [body for body in entries(tmp_path / "audit") if b"bundle stick" in body]
        assert len(noted) == count
    assert verify_folder(tmp_path / "audit").entries >= 2


def test_a_process_that_runs_takes_it_from_its_inbox(tmp_path: Path) -> None:
    clock, folder = ManualClock(), tmp_path / "audit"
    with FolderLock(tmp_path):
        ledger = open_ledger(folder, NAME, clock)
        command = threading.Thread(target=note_beside, args=(folder, NAME, EVENT, clock))
        command.start()
        while not list((folder / INBOX).glob("*.json")):
            assert command.is_alive()
        while command.is_alive():
            clock.advance(11)  # its next look
            ledger.note_now(EVENT)
            command.join(0.1)
        ledger.close()
    assert sum(b"bundle stick" in body for body in entries(folder)) >= 2
    assert not list((folder / INBOX).iterdir())


def test_what_a_process_does_not_take_is_taken_back_and_the_command_must_not_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_beside, "WAIT_S_MAX", 0.2)
    with FolderLock(tmp_path), pytest.raises(LedgerError, match="has not taken it"):
        note_beside(tmp_path / "audit", NAME, EVENT, ManualClock())
    assert not list((tmp_path / "audit" / INBOX).iterdir())


@pytest.mark.parametrize("junk", [b"", b"{", b"\xff\xfe", b'{"kind":"nothing"}', b"[" * 5000])
def test_what_is_no_event_is_removed_and_holds_nothing_up(tmp_path: Path, junk: bytes) -> None:
    leave(tmp_path, EVENT)
    (tmp_path / INBOX / "0.json").write_bytes(junk)
    assert [event for _, event in waiting(tmp_path)] == [EVENT]
    assert not (tmp_path / INBOX / "0.json").exists()
