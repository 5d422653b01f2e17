"""The ledger's readers meet files that others wrote: verdict or named refusal, and soon."""

import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.testing.clock import ManualClock
from skerry.trust.errors import TrustError
from skerry.trust.ledger import open_ledger
from skerry.trust.ledger_export import syslog_message
from skerry.trust.ledger_notes import NoteKey, read_note
from skerry.trust.ledger_ocsf import line_of, read_line
from skerry.trust.ledger_store import LEDGER_FILE
from skerry.trust.ledger_verify import verify_folder, verify_lines
from skerry.trust.ledger_witness import Witness

OWNER = "oslo.eu.clinic.example/node/1"
SECONDS_MAX = 0.1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger of a few entries: one file, nothing beside it to repair it from."""
    folder = tmp_path_factory.mktemp("whole")
    ledger = open_ledger(folder, OWNER, ManualClock())
    for n in range(8):
        ledger.note_now(
            AuditEvent(kind=AuditKind.BAN, outcome=AuditOutcome.DONE, actor="a", target=f"t{n}")
        )
    ledger.close()
    return folder


@pytest.fixture(scope="module")
def line(whole: Path) -> bytes:
    ledger = open_ledger(whole, OWNER, ManualClock())
    (entry,) = ledger.store.entries(3, 1)
    made = line_of(
        entry.body,
        chain=ledger.origin,
        seq=entry.seq,
        previous=ledger.store.previous(entry.seq),
        leaf=entry.leaf,
    )
    ledger.close()
    return made


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300
)
@given(at=st.integers(0, 10**6), data=st.binary(min_size=1, max_size=64))
def test_a_damaged_database_is_judged_by_name(
    whole: Path, tmp_path: Path, at: int, data: bytes
) -> None:
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    content = bytearray((whole / LEDGER_FILE).read_bytes())
    at %= len(content)
    content[at : at + len(data)] = data[: len(content) - at]
    (copy / LEDGER_FILE).write_bytes(content)
    try:
        verify_folder(copy)
    except TrustError:
        return


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET body = 7",
        "UPDATE entry SET body = NULL",
        "UPDATE entry SET leaf = 'x'",
        "UPDATE fact SET value = x'ff' WHERE name = 'origin'",
        "DELETE FROM fact",
        "UPDATE checkpoint SET note = x'ffff'",
        "UPDATE checkpoint SET note = 3.5",
        "DROP TABLE entry",
        "UPDATE entry SET seq = seq + 9223372036854775000",
    ],
)
def test_a_database_of_other_types_is_judged_by_name(
    whole: Path, tmp_path: Path, change: str
) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy" / LEDGER_FILE) as base:
        try:
            base.execute(change)
        except sqlite3.IntegrityError:
            return
    with pytest.raises(TrustError):
        verify_folder(tmp_path / "copy")
    ledger = open_ledger(tmp_path / "copy", OWNER, ManualClock())  # put aside, begun anew
    assert ledger.store.size() == 1
    ledger.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**4), cut=st.integers(0, 40), data=st.binary(max_size=40))
@example(at=0, cut=0, data=b"[" * 40)
def test_a_damaged_line_is_judged_by_name(line: bytes, at: int, cut: int, data: bytes) -> None:
    at %= len(line)
    changed = line[:at] + data + line[at + cut :]
    try:
        if read_line(changed).fits:
            syslog_message(changed)
        verify_lines([changed], "fuzz")
    except TrustError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"attestation_list":[{}]}',
        b'{"attestation_list":[{"chain_uid":1,"uid":2,"fingerprint":{"value":3}}],"metadata":{}}',
        b'{"attestation_list":["x"]}',
        b'{"attestation_list":{"a":1}}',
        b"\xff" * 1000,
        b"9" * 100_000,
    ],
)
def test_a_hostile_line_is_refused_soon(data: bytes) -> None:
    began_s = time.thread_time()
    with pytest.raises(TrustError):
        read_line(data)
    assert time.thread_time() - began_s < SECONDS_MAX


@given(st.text(max_size=200), st.text(max_size=200), st.lists(st.binary(max_size=33), max_size=5))
def test_a_witness_is_not_moved_by_what_is_no_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, note: str, key: str, proof: list[bytes]
) -> None:
    witness = Witness(tmp_path_factory.getbasetemp() / "fuzz-witness", "w", now_unix_s=0)
    for read in (read_note, NoteKey.parse):
        with pytest.raises(TrustError):
            read(note)
    with pytest.raises(TrustError):
        witness.see(note, key, proof, owner=OWNER, old_size=0, now_unix_s=0)
    assert witness.all() == []
    witness.close()
