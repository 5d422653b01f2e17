"""`skerry audit`: shows, checks, exports and erases."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.cli.main import run
from skerry.schema.access import AccessPolicy
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.testing.clock import ManualClock
from skerry.trust.ledger import open_ledger
from skerry.trust.ledger_store import LEDGER_FILE


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with a ledger of three entries."""
    ledger = open_ledger(tmp_path / "audit", "spiffe://clinic.example/central", ManualClock())
    for kind in (AuditKind.BAN, AuditKind.APPLY, AuditKind.BAN):
        ledger.note_now(
            AuditEvent(
                kind=kind,
                outcome=AuditOutcome.DONE,
                actor="ann",
                target="oslo/1",
                personal={"phone": "+47 123"},
            )
        )
    ledger.close()
    return tmp_path


def test_show_tells_who_did_what(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "show", str(state), "--kind", "ban"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "+47" not in lines[1]
    assert run(["audit", "show", str(state), "--personal", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)["entries"]
    assert first["personal"] == {"phone": "+47 123"}


def test_verify_says_ok_and_then_which_entry_is_bad(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "verify", str(state)]) == 0
    assert "3 entries, 3 of them signed" in capsys.readouterr().out
    with sqlite3.connect(state / "audit" / LEDGER_FILE) as base:
        base.execute("DELETE FROM entry WHERE seq = 2")
    assert run(["audit", "verify", str(state)]) == 1
    assert "entry 2 is the first that cannot be trusted" in capsys.readouterr().err


def test_an_export_is_checked_with_no_other_file(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "audit.jsonl"
    assert run(["audit", "export", str(state), "--out", str(out)]) == 0
    assert run(["audit", "verify", str(out)]) == 0
    lines = out.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    out.write_bytes(b"".join([lines[0], lines[2]]))
    assert run(["audit", "verify", str(out)]) == 0
    assert "2 to 2 not in this export" in capsys.readouterr().out
    out.write_bytes(b"".join(lines).replace(b'"apply"', b'"lift-ban"'))
    assert run(["audit", "verify", str(out)]) == 1


def test_erase_leaves_a_whole_chain_without_the_facts(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "erase", "ann", str(state), "--yes", "--actor", "dpo"]) == 0
    assert "erased from 1 of 1" in capsys.readouterr().err
    assert run(["audit", "show", str(state), "--personal", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    assert [entry.get("personal") for entry in entries[:3]] == ["erased"] * 3
    assert entries[3]["event"]["actor"] == "dpo"
    assert run(["audit", "verify", str(state)]) == 0


@pytest.mark.parametrize(
    "where", ["access.json", "repository/targets/prod/policy/ab.c.access.json"]
)
def test_where_it_takes_two_people_nobody_erases_at_the_disk(
    state: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (state / where).parent.mkdir(parents=True, exist_ok=True)

    def policy(**more: Any) -> None:
        document = AccessPolicy(fleet="clinic", generation=1, **more)
        (state / where).write_bytes(msgspec.json.encode(document))

    erase = ["audit", "erase", "ann", str(state), "--yes"]
    policy(people={"ann": ("security",), "bo": ("security",)})
    assert run(erase) == 6
    assert "takes two people" in capsys.readouterr().err
    assert run(["audit", "show", str(state), "--personal", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["entries"]) == 3
    policy(people={"ann": ("security",)}, two_person=())
    assert run(erase) == 0
