"""Checkpoints go up, neighbours sign them, and what nobody would sign is an alarm."""

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.audit_api import CheckpointPush, CheckpointReply
from skerry.testing.clock import ManualClock
from skerry.trust.ledger import open_ledger
from skerry.trust.ledger_desk import Desk, neighbours_of
from skerry.trust.ledger_errors import LogForkError
from skerry.trust.ledger_sender import WITNESS_S, Sender
from skerry.trust.ledger_witness import Witness

REGION = "eu.clinic.example/region"
NODES = tuple(f"{site}.eu.clinic.example/node/1" for site in ("bern", "oslo", "rome"))


class Fleet:
    """A region's desk and three nodes at three sites, with no network between them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, ManualClock()
        self.alarms: list[AuditEvent] = []
        self.desk = Desk(self.witness("region", REGION), self.note, self.clock, name=REGION)
        self.senders: dict[str, Sender] = {}
        for name in NODES:
            self.start(name, folder / name.partition(".")[0])

    def start(self, name: str, folder: Path) -> None:
        ledger = open_ledger(folder, name, self.clock)
        witness = self.witness(f"{name.partition('.')[0]}-witness", name)

        def call(push: CheckpointPush) -> CheckpointReply:
            return asyncio.run(self.desk.push(name, push))

        self.senders[name] = Sender(ledger, witness, self.clock, call)

    def witness(self, folder: str, name: str) -> Witness:
        return Witness(self.folder / folder, name, now_unix_s=self.clock.unix_s())

    async def note(self, event: AuditEvent) -> None:
        self.alarms.append(event)

    def grow(self, name: str, entries: int = 1) -> None:
        sender = self.senders[name]
        for n in range(entries):
            sender.ledger.note_now(
                AuditEvent(
                    kind=AuditKind.UPDATE, outcome=AuditOutcome.DONE, actor=name, target=f"m{n}"
                )
            )
        sender.ledger.sign_now()

    def turns(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            for sender in self.senders.values():
                sender.turn()
            self.clock.advance(WITNESS_S)

    def end(self) -> None:
        for sender in self.senders.values():
            sender.ledger.close()


def test_every_checkpoint_ends_with_the_region_and_two_neighbours(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for entries in (1, 300, 7):
        for name in NODES:
            fleet.grow(name, entries)
        fleet.turns()
    for name, sender in fleet.senders.items():
        chain = sender.ledger.origin
        assert fleet.desk._witness.size_of(chain) == 308
        others = [fleet.senders[other].witness for other in NODES if other != name]
        assert [witness.size_of(chain) for witness in others if witness] == [308, 308]
        signers = {line.split(" ")[1] for line in sender.ledger.store.signatures()}
        assert signers == {REGION, *(other for other in NODES if other != name)}
    assert fleet.alarms == []
    fleet.end()


def test_a_ledger_that_was_put_back_is_an_alarm_told_once(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    oslo = NODES[1]
    for name in NODES:
        fleet.grow(name)
    fleet.senders[oslo].ledger.close()
    shutil.copytree(tmp_path / "oslo", tmp_path / "older")
    fleet.start(oslo, tmp_path / "oslo")
    fleet.grow(oslo, 5)
    fleet.turns()
    fleet.senders[oslo].ledger.close()
    shutil.rmtree(tmp_path / "oslo")
    (tmp_path / "older").rename(tmp_path / "oslo")
    fleet.start(oslo, tmp_path / "oslo")
    for _ in range(2):
        fleet.grow(oslo)
        with pytest.raises(LogForkError):
            fleet.senders[oslo].turn()
    (alarm,) = fleet.alarms
    assert (alarm.reason, alarm.target) == ("LOG_FORK", oslo)
    fleet.end()


def test_a_view_that_only_a_neighbour_finds_forked_is_an_alarm_too(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for name in NODES:
        fleet.grow(name)
    fleet.turns()
    bern = NODES[0]
    push = CheckpointPush(
        note=fleet.senders[bern].ledger.store.checkpoints()[-1][1],
        key=fleet.senders[bern].ledger.store.first_key,
        proof=fleet.senders[bern]._proof(1, 1),
        refused={fleet.senders[NODES[1]].ledger.origin: "LOG_FORK"},
    )
    asyncio.run(fleet.desk.push(bern, push))
    asyncio.run(fleet.desk.push(bern, push))  # again: it is told once
    made_up = {fleet.senders[NODES[1]].ledger.origin: "MADE_UP", "nobody.x/node/1/0": "LOG_FORK"}
    asyncio.run(fleet.desk.push(bern, msgspec.structs.replace(push, refused=made_up)))
    (alarm,) = fleet.alarms
    assert (alarm.actor, alarm.target, alarm.reason) == (bern, NODES[1], "LOG_FORK")
    fleet.end()


def test_neighbours_are_of_other_sites_and_at_most_two() -> None:
    assert neighbours_of("a.r/node/1", []) == []
    owners = ["a.r/node/1", "a.r/node/2", "b.r/node/1", "b.r/node/2", "c.r/node/1", "d.r/node/1"]
    assert neighbours_of("a.r/node/1", owners) == ["b.r/node/1", "c.r/node/1"]
    assert neighbours_of("d.r/node/1", owners) == ["a.r/node/1", "b.r/node/1"]
    assert neighbours_of("a.r/node/1", ["a.r/node/1", "a.r/node/2"]) == []
