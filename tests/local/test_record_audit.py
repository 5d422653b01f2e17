"""The count of records from the disks: nothing lost, nothing twice, or it says so."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.local.folder import LocalFolder
from skerry.local.record_audit import RecordAudit
from skerry.schema.records import Keep
from skerry.spine.outbox import Entry, Outbox


class Disks:
    """One node's outbox and central's store, as they lie on the disk."""

    def __init__(self, root: Path) -> None:
        self.folder = LocalFolder(root).make()
        node = self.folder.node("oslo/1")
        node.mkdir(parents=True)
        self.outbox = Outbox(
            node / "outbox.db", region="region-eu", site="oslo", node_number=1, boot="b1"
        )
        self.folder.central.mkdir()
        self.central = sqlite3.connect(self.folder.central / "central.db", isolation_level=None)
        self.central.execute("CREATE TABLE records (key TEXT PRIMARY KEY, node TEXT, body BLOB)")

    def put(self, *bodies: bytes) -> list[str]:
        return self.outbox.put_many([Entry(Keep.MUST, "summary", 0, body) for body in bodies])

    def store(self, key: str, body: bytes) -> None:
        self.central.execute("INSERT INTO records VALUES (?, 'oslo/1', ?)", (key, body))


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    disks = Disks(tmp_path / "a fleet % in #1?")  # people name folders as they like
    yield disks
    disks.outbox.close()
    disks.central.close()


def test_what_waits_is_neither_lost_nor_stored(disks: Disks) -> None:
    disks.put(b"1", b"2")
    found = RecordAudit(disks.folder).count(wait_s=0)
    assert (found.stored, found.lost, found.twice, found.waiting) == (0, 0, 0, 2)


def test_what_arrived_is_stored_even_while_its_word_is_on_the_way(disks: Disks) -> None:
    first, second = disks.put(b"1", b"2")
    disks.store(first, b"1")
    disks.store(second, b"2")
    disks.outbox.ack([first])
    found = RecordAudit(disks.folder).count(wait_s=0)
    assert (found.stored, found.lost, found.twice, found.waiting) == (2, 0, 0, 0)


def test_what_left_the_node_and_never_arrived_is_lost(disks: Disks) -> None:
    keys = disks.put(b"1", b"2", b"3")
    disks.store(keys[0], b"1")
    disks.outbox.ack(keys)
    assert RecordAudit(disks.folder).count(wait_s=0).lost == 2


def test_the_same_content_under_two_numbers_counts_twice(disks: Disks) -> None:
    keys = disks.put(b"1", b"1")
    for key in keys:
        disks.store(key, b"1")
    disks.outbox.ack(keys)
    assert RecordAudit(disks.folder).count(wait_s=0).twice == 1


def test_an_earlier_life_of_an_agent_stays_in_the_count(disks: Disks) -> None:
    audit = RecordAudit(disks.folder)
    disks.outbox.ack(disks.put(b"1"))
    audit.note()
    disks.outbox.close()
    disks.outbox = Outbox(
        disks.folder.node("oslo/1") / "outbox.db",
        region="region-eu",
        site="oslo",
        node_number=1,
        boot="b2",
    )
    disks.put(b"2")
    assert audit.count(wait_s=0).lost == 1


def test_a_fleet_that_has_stored_nothing_yet_counts_nothing(tmp_path: Path) -> None:
    found = RecordAudit(LocalFolder(tmp_path).make()).count(wait_s=0)
    assert (found.stored, found.lost, found.twice, found.waiting) == (0, 0, 0, 0)
