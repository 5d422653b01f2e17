"""Backups: whole or refused, made beside a running store, and nodes go on after a restore."""

import io
import shutil
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.base.files import FolderLock
from skerry.central.settings import CentralFolder, CentralSettings, write_settings
from skerry.central.sqlite_store import SqliteStore
from skerry.central.store import Sealed
from skerry.local.backup import BackupError, make_backup, restore_files, verify_backup
from skerry.local.restore import AHEAD, restore
from skerry.schema.backup import BackupOf
from skerry.schema.desired import Desired, Gate
from skerry.testing.clock import ManualClock
from skerry.trust import bins
from skerry.trust.errors import UpdateForged, UpdateRollback
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OfflineKeys, OnlineKeys
from skerry.trust.sealed_stream import SealError
from skerry.trust.update_client import UpdateClient

SECRET = "a stone in the water"
CLOCK = ManualClock()
TARGET = "prod/policy/clinic"
DESIRED = Desired(
    generation=3,
    fleet="clinic",
    domain="clinic.example",
    region="eu",
    site="oslo",
    tier="closet",
    jurisdiction="NO",
    models=(),
    policy_sha256="",
    tier_order=("closet",),
    peers=(),
    gate=Gate(hold_s=1),
)


class Fleet:
    """A central's state folder with a signed repository, and the offline keys beside it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "central"
        self.place = CentralFolder(self.state)
        self.offline = OfflineKeys.create(folder / "offline")
        online = OnlineKeys.create(self.place.online_keys)
        self.first = self.offline.found(online.public(), now_unix_s=CLOCK.unix_s())
        self.publisher = Publisher.found(self.place.repository, online, self.first, CLOCK)
        write_settings(
            self.place.settings, CentralSettings(fleet="clinic", domain="clinic.example")
        )
        SqliteStore(self.place.store).close()

    def release(self, policy: bytes) -> None:
        signed = self.offline.sign_models(
            self.publisher.role_bytes("models"), {TARGET: policy}, now_unix_s=CLOCK.unix_s()
        )
        self.publisher.publish(signed={"models": signed}, targets={TARGET: policy})

    def client(self, repository: Path, folder: Path) -> UpdateClient:
        def fetch(path: str, _: int) -> Any:
            return iter([(repository / path).read_bytes()])

        return UpdateClient(folder, self.first["root"], fetch, CLOCK)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def backup(fleet: Fleet, out: Path, passphrase: str | None = None) -> Path:
    make_backup(fleet.state, out, passphrase=passphrase, clock=CLOCK)
    return out


def test_what_was_copied_comes_back_byte_for_byte_and_private(fleet: Fleet, tmp_path: Path) -> None:
    fleet.place.nats.mkdir()
    (fleet.place.nats / "index.db").write_bytes(b"no SQLite file, whatever its name says")
    file = backup(fleet, tmp_path / "one", SECRET)
    assert (file.stat().st_mode & 0o777) == 0o600
    manifest = restore_files(file, tmp_path / "back", passphrase=SECRET)
    assert (manifest.of, manifest.fleet, manifest.running) == (BackupOf.CENTRAL, "clinic", False)
    for path in [*fleet.state.rglob("*.json"), fleet.place.nats / "index.db"]:
        copy = tmp_path / "back" / path.relative_to(fleet.state)
        assert copy.read_bytes() == path.read_bytes()
        assert (copy.stat().st_mode & 0o777) == 0o600


def test_a_running_store_is_copied_as_of_one_moment(fleet: Fleet, tmp_path: Path) -> None:
    with FolderLock(fleet.state):
        store = SqliteStore(fleet.place.store)
        store.next_generation()  # in the write-ahead log only
        (fleet.place.nats).mkdir()
        (fleet.place.nats / "index.db").write_bytes(b"the message server's own, and torn")
        manifest = make_backup(fleet.state, tmp_path / "one", passphrase=None, clock=CLOCK)
        store.close()
    assert manifest.running
    assert not [name for name in manifest.files if name.startswith("nats/")]
    restore_files(tmp_path / "one", tmp_path / "back", passphrase=None)
    with sqlite3.connect(tmp_path / "back" / "central.db") as sql:
        assert sql.execute("SELECT value FROM counters").fetchone() == (1,)


def test_nodes_take_a_restored_central_although_they_saw_newer(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.release(b"old")
    file = backup(fleet, tmp_path / "one")
    fleet.release(b"new")
    fleet.publisher.publish(desired={"desired/oslo.json": b"{}"})
    node = fleet.client(fleet.place.repository, tmp_path / "node")
    node.refresh()
    mirror = fleet.place.repository

    restore_files(file, tmp_path / "bare", passphrase=None)
    bare = fleet.client(tmp_path / "bare" / "repository", tmp_path / "node")
    with pytest.raises(UpdateRollback):
        bare.refresh()

    restore(file, tmp_path / "back", passphrase=None, clock=CLOCK, mirror=mirror)
    again = fleet.client(tmp_path / "back" / "repository", tmp_path / "node")
    again.refresh()
    assert again.target_bytes(TARGET) == b"new", "the mirror had what was signed after the backup"


def test_nodes_of_a_fleet_that_grew_since_take_a_restored_central(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes want every role that they have seen: how many hash bins those are, the mirror knows."""
    monkeypatch.setattr(bins, "UNBINNED_MAX", 1)
    monkeypatch.setattr(bins, "PER_BIN", 1)
    fleet.publisher.publish(desired={"desired/oslo.json": b"{}"})
    file = backup(fleet, tmp_path / "one")
    for content in (b"{}", b"[1]", b"[2]"):
        fleet.publisher.publish(desired={f"desired/s{n}.json": content for n in range(5)})
    node = fleet.client(fleet.place.repository, tmp_path / "node")
    node.refresh()
    shutil.copytree(tmp_path / "node", tmp_path / "like-it")

    restore(file, tmp_path / "alone", passphrase=None, clock=CLOCK)
    alone = fleet.client(tmp_path / "alone" / "repository", tmp_path / "like-it")
    with pytest.raises(UpdateForged, match="missing info"):
        alone.refresh()
    grow_again(tmp_path / "alone")
    alone.refresh()
    assert alone.target_bytes("desired/s4.json") == b"[]", "what grows again is above what was seen"

    mirror = fleet.place.repository
    restore(file, tmp_path / "back", passphrase=None, clock=CLOCK, mirror=mirror)
    again = fleet.client(tmp_path / "back" / "repository", tmp_path / "node")
    again.refresh()
    assert again.target_bytes("desired/oslo.json") == b"{}"
    grow_again(tmp_path / "back")
    again.refresh()
    assert again.target_bytes("desired/s4.json") == b"[]"


def grow_again(state: Path) -> None:
    place = CentralFolder(state)
    central = Publisher.open(place.repository, OnlineKeys.load(place.online_keys), CLOCK)
    central.publish(desired={f"desired/s{n}.json": b"[]" for n in range(5)})


def test_a_restored_central_seals_every_site_again_under_a_newer_number(
    fleet: Fleet, tmp_path: Path
) -> None:
    before = msgspec.json.encode(DESIRED)
    fleet.publisher.publish(desired={"desired/oslo.json": before})
    store = SqliteStore(fleet.place.store)
    store.put_sealed(
        Sealed(site="oslo", generation=3, applied_generation=2, document=before, at_unix_s=0.0)
    )
    store.close()
    node = fleet.client(fleet.place.repository, tmp_path / "node")
    node.refresh()
    restore(backup(fleet, tmp_path / "one"), tmp_path / "back", passphrase=None, clock=CLOCK)
    store = SqliteStore(tmp_path / "back" / "central.db")
    kept = store.sealed()["oslo"]
    store.close()
    assert (kept.generation, kept.applied_generation) == (AHEAD + 1, 2)
    node = fleet.client(tmp_path / "back" / "repository", tmp_path / "node")
    node.refresh()
    assert node.target_bytes("desired/oslo.json") == kept.document
    assert msgspec.json.decode(kept.document, type=Desired) == msgspec.structs.replace(
        DESIRED, generation=AHEAD + 1
    )


def test_a_folder_in_use_is_not_restored_into(fleet: Fleet, tmp_path: Path) -> None:
    file = backup(fleet, tmp_path / "one")
    with pytest.raises(BackupError, match="is not empty"):
        restore_files(file, fleet.state, passphrase=None)
    with pytest.raises(BackupError, match="is there already"):
        backup(fleet, file)


def test_nodes_need_no_backup_and_other_folders_are_none(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("{}")
    with pytest.raises(BackupError, match="nodes need no backup"):
        make_backup(tmp_path, tmp_path / "out", passphrase=None, clock=CLOCK)
    (tmp_path / "node.json").unlink()
    with pytest.raises(BackupError, match="holds none of"):
        make_backup(tmp_path, tmp_path / "out", passphrase=None, clock=CLOCK)


def test_a_sealed_backup_wants_its_passphrase(fleet: Fleet, tmp_path: Path) -> None:
    file = backup(fleet, tmp_path / "one", SECRET)
    with pytest.raises(BackupError, match="is sealed"):
        verify_backup(file, passphrase=None)
    with pytest.raises(SealError, match="wrong passphrase"):
        restore_files(file, tmp_path / "back", passphrase="guess")
    assert not (tmp_path / "back").exists()
    assert b"PRIVATE KEY" not in file.read_bytes()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=st.floats(0, 1, exclude_max=True), cut=st.booleans())
def test_a_damaged_backup_is_refused_and_nothing_is_left(
    fleet: Fleet, tmp_path: Path, where: float, cut: bool
) -> None:
    whole = tmp_path / "whole"
    if not whole.exists():
        backup(fleet, whole)
    data = bytearray(whole.read_bytes())
    end = data.rindex(b"}") + 1  # what follows is padding
    at = int(where * end)
    if cut:
        del data[at:]
    else:
        data[at] ^= 1
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    try:
        manifest = restore_files(bad, tmp_path / "back", passphrase=None)
    except BackupError:
        assert not (tmp_path / "back").exists()
    else:  # a bit of a member's head that says nothing here, a time or a group for example
        assert manifest == verify_backup(whole, passphrase=None)
        shutil.rmtree(tmp_path / "back")


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "a//b", "."])
def test_a_member_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "bad", "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(BackupError, match="damaged"):
        restore_files(tmp_path / "bad", tmp_path / "back", passphrase=None)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "back").exists()


def test_links_and_a_list_that_is_missing_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "link", "w") as tar:
        member = tarfile.TarInfo("central.json")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with tarfile.open(tmp_path / "short", "w") as tar:
        tar.addfile(tarfile.TarInfo("central.json"), io.BytesIO())
    for name, why in (("link", "does not belong"), ("short", "ends before its list")):
        with pytest.raises(BackupError, match=why):
            verify_backup(tmp_path / name, passphrase=None)


def test_the_list_is_json_that_people_can_read(fleet: Fleet, tmp_path: Path) -> None:
    with tarfile.open(backup(fleet, tmp_path / "one")) as tar:
        last = tar.getmembers()[-1]
        listed = msgspec.json.decode(tar.extractfile(last).read())  # type: ignore[union-attr]
    assert (last.name, listed["of"]) == ("backup.json", "central")
    assert listed["files"]["central.json"]["size_bytes"] > 0
