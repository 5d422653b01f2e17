"""Whoever joins, renews, makes tokens, bans or changes the fleet is in a ledger before it is so."""

import sqlite3
from pathlib import Path
from typing import Any

from skerry.schema import api
from skerry.schema.audit import AuditEvent
from skerry.schema.audit_api import CheckpointPush, CheckpointReply, Proof
from skerry.trust.ledger_ocsf import event_of
from skerry.trust.ledger_store import LedgerStore
from skerry.trust.ledger_verify import verify_folder
from skerry.trust.ledger_witness import seen_notes

REGION = "region-eu"


def noted(folder: Path) -> list[AuditEvent]:
    store = LedgerStore(folder, writable=False)
    entries = store.entries(0, 10_000)
    store.close()
    return [event_of(entry.body)[0] for entry in entries]


def told(events: list[AuditEvent], about: str) -> list[tuple[str, str, str]]:
    return [(e.kind, e.outcome, e.reason) for e in events if about in f"{e.actor} {e.target}"]


def test_privileged_calls_are_noted_with_who_and_what(shared: Any) -> None:
    shared.join("audited")
    assert shared.renew("audited").status == 200
    ban = api.BanRequest(node="audited/1", banned=True, reason="stolen")
    shared.ask("region", "POST", "/v1/bans", api.Registration, ban)
    assert shared.renew("audited").status == 403
    ban = api.BanRequest(node="audited/1", banned=False, reason="found")
    shared.ask("region", "POST", "/v1/bans", api.Registration, ban)
    events = noted(shared.folder / "region" / "audit")
    seen = told(events, "audited.region-eu.clinic.example/node/1")
    assert seen == [("key", "done", ""), ("join", "done", ""), ("renew", "done", "")]
    bans = [event for event in events if "audited/1" in event.target and "ban" in event.kind]
    assert [(event.kind, event.outcome) for event in bans] == [
        ("ban", "done"),
        ("lift-ban", "done"),
    ], bans
    token = next(event for event in events if event.kind == "key")
    assert token.actor == "spiffe://clinic.example/operator/local"
    refused = [event for event in events if event.outcome == "refused"]
    assert ("renew", "BANNED") in {(event.kind, event.reason) for event in refused}


def test_a_change_of_the_fleet_is_noted_at_central(shared: Any) -> None:
    shared.add_model(41)
    audit = shared.folder / "central" / "audit"
    publish = [event for event in noted(audit) if event.kind == "publish"][-1]
    assert publish.outcome == "done"
    assert "magika/41" in publish.target
    assert publish.actor == "spiffe://clinic.example/operator/local"
    joined = shared.join("insider")
    reply = shared.call("central", "POST", "/v1/apply", {}, identity=joined.identity)
    assert reply.status == 403
    refused = noted(audit)[-1]
    assert (refused.kind, refused.outcome) == ("access", "refused")
    assert refused.actor == "spiffe://insider.region-eu.clinic.example/node/1"


def test_central_witnesses_the_regions_ledger(shared: Any, wait_until: Any) -> None:
    shared.join("witnessed")
    region, central = (shared.folder / name / "audit" for name in ("region", "central"))

    def seen() -> bool:
        notes = seen_notes(central)
        return bool(notes) and any(
            verify_folder(region, witnessed=[note]).witnessed for note in notes
        )

    wait_until(seen, "central has seen a checkpoint of the region", deadline_s=30)
    assert verify_folder(central).entries
    with sqlite3.connect(region / "ledger.db") as base:
        assert base.execute("SELECT count(*) FROM signature").fetchone()[0] >= 1


def test_a_node_brings_its_own_checkpoint_and_nobody_elses(shared: Any, tmp_path: Path) -> None:
    from skerry.testing.clock import ManualClock
    from skerry.trust.ledger import open_ledger

    joined = shared.join("s9")
    ledger = open_ledger(tmp_path, str(joined.identity.id), ManualClock())
    ledger.note_now(noted(shared.folder / "region" / "audit")[0])
    ledger.sign_now()
    push = CheckpointPush(
        note=ledger.store.checkpoints()[-1][1],
        key=ledger.store.first_key,
        proof=Proof(old_size=0),
    )
    ledger.close()
    path = "/v1/audit/checkpoints"
    reply = shared.call("region", "POST", path, push, identity=joined.identity)
    assert reply.status == 200, reply.body
    import msgspec

    assert msgspec.json.decode(reply.body, type=CheckpointReply).known_size == 1
    other = shared.join("s10")
    reply = shared.call("region", "POST", path, push, identity=other.identity)
    assert shared.refusal(reply).code == "E0237"
    alarms = [e for e in noted(shared.folder / "region" / "audit") if e.kind == "tamper"]
    assert alarms[-1].target == "s10.region-eu.clinic.example/node/1"
