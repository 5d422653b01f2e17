"""A whole fleet's ledgers: every process keeps one, each is witnessed above, all can be checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from skerry.trust.ledger_verify import verify_folder
from skerry.trust.ledger_witness import seen_notes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def ledgers(fleet: Any) -> dict[str, Path]:
    state = fleet.folder / ".skerry"
    return {
        path.parent.parent.name: path.parent
        for path in sorted(state.rglob("audit/ledger.db"))
        if path.parent.name == "audit"
    }


def test_every_ledger_is_whole_and_witnessed_by_the_process_above(
    fleet: Any, wait_for: Any
) -> None:
    found = ledgers(fleet)
    assert {"central", "region-eu", "oslo-1", "oslo-2", "bergen-1"} <= found.keys()
    below = found.keys() - {"central"}

    def witnessed() -> set[str]:
        """Return whose ledger continues what somebody else saw of it."""
        seen = {
            note.checkpoint.origin: note for folder in found.values() for note in seen_notes(folder)
        }
        origins = {name: verify_folder(found[name]).chain for name in below}
        return {
            name
            for name, origin in origins.items()
            if origin in seen and verify_folder(found[name], witnessed=[seen[origin]]).witnessed
        }

    wait_for(lambda: witnessed() == below, "a witnessed checkpoint of every process", 45.0)
    told = json.loads(fleet.done("audit", "verify", ".skerry", "--json"))
    assert told["bad"] == 0
    assert len(told["ledgers"]) == len(found)


def test_what_people_and_machines_did_can_be_read(fleet: Any) -> None:
    told = json.loads(fleet.done("audit", "show", ".skerry", "--last", "10000", "--json"))
    kinds = {(entry["event"]["kind"], entry["event"]["outcome"]) for entry in told["entries"]}
    assert {("apply", "done"), ("publish", "done"), ("join", "done"), ("update", "done")} <= kinds
