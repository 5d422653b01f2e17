"""Whoever joins, renews, makes tokens, bans or changes the fleet is in a ledger before it is so."""

import sqlite3
import ssl
from pathlib import Path
from typing import Any, cast

import pytest

from skerry.node.audit_link import AuditLink
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings
from skerry.schema import api
from skerry.schema.audit import AuditEvent
from skerry.testing.clock import ManualClock
from skerry.trust.ledger import open_ledger
from skerry.trust.ledger_errors import CheckpointError
from skerry.trust.ledger_ocsf import event_of
from skerry.trust.ledger_sender import WITNESS_S, Sender
from skerry.trust.ledger_store import LedgerStore
from skerry.trust.ledger_verify import verify_folder
from skerry.trust.ledger_witness import Witness, seen_notes
from skerry.trust.tls import client_context

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

    def signed() -> bool:
        with sqlite3.connect(region / "ledger.db") as base:
            return bool(base.execute("SELECT count(*) FROM signature").fetchone()[0])

    wait_until(signed, "central's signature is back", deadline_s=30)


class Files:
    """What a node's link reads of its identity."""

    def __init__(self, house: Any, joined: Any) -> None:
        self._house, self._joined = house, joined

    def client_tls(self) -> ssl.SSLContext:
        return client_context(self._joined.identity, self._house.roots)


class Node:
    """A node's ledger and its way to the region, without the rest of it."""

    def __init__(self, house: Any, site: str, folder: Path, clock: ManualClock) -> None:
        self.joined = house.join(site)
        settings = NodeSettings(
            fleet="clinic",
            domain="clinic.example",
            region=REGION,
            site=site,
            number=1,
            tier="closet",
            region_url=house.region_url,
            region_host=f"{REGION}.clinic.example",
        )
        link = AuditLink(settings, cast(IdentityFiles, Files(house, self.joined)))
        name = str(self.joined.identity.id).removeprefix("spiffe://")
        self.ledger = open_ledger(folder / site, name, clock)
        self.witness = Witness(folder / f"{site}-peers", name, now_unix_s=0)
        self.sender = Sender(self.ledger, self.witness, clock, link.bring)

    def grow(self, event: AuditEvent) -> None:
        self.ledger.note_now(event)
        self.ledger.sign_now()


def test_nodes_bring_checkpoints_and_neighbours_sign_them(shared: Any, tmp_path: Path) -> None:
    clock = ManualClock()
    nodes = [Node(shared, site, tmp_path, clock) for site in ("near", "next")]
    event = noted(shared.folder / "region" / "audit")[0]
    for _ in range(3):
        for node in nodes:
            node.grow(event)
            node.sender.turn()
        clock.advance(WITNESS_S)
    for node, other in (nodes, nodes[::-1]):
        signers = {line.split(" ")[1] for line in node.ledger.store.signatures()}
        assert f"{REGION}.clinic.example/region" in signers
        assert other.sender.ledger.origin.rpartition("/")[0] in signers
        assert other.witness.size_of(node.ledger.origin) >= 2
    notes = seen_notes(shared.folder / "region" / "audit")
    for node in nodes:
        node.ledger.close()
        folder = node.ledger.folder
        own = [note for note in notes if note.checkpoint.origin == node.ledger.origin]
        assert verify_folder(folder, witnessed=own).witnessed == 3


def test_a_node_speaks_for_its_own_ledger_only(shared: Any, tmp_path: Path) -> None:
    clock = ManualClock()
    one, two = (Node(shared, site, tmp_path, clock) for site in ("mine", "yours"))
    one.grow(noted(shared.folder / "region" / "audit")[0])
    two.sender.ledger = one.ledger
    with pytest.raises(CheckpointError, match="brought by"):
        two.sender.turn()
    alarms = [e for e in noted(shared.folder / "region" / "audit") if e.kind == "tamper"]
    assert alarms[-1].target == "yours.region-eu.clinic.example/node/1"
    assert alarms[-1].reason == "CHECKPOINT_INVALID"
