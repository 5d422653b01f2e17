"""The mirror: all of a state or none of it, and nothing that was not asked for."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from skerry.region.errors import CentralAwayError, MirrorBrokenError
from skerry.region.mirror import Mirror
from skerry.schema.model import Manifest, Member
from skerry.testing.signed_fleet import SignedFleet
from skerry.trust import bins
from skerry.trust.update_client import UpdateClient


class Central:
    """Files by name; `away` makes every call fail."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.away = False

    def file(self, name: str) -> bytes:
        if self.away:
            raise CentralAwayError(name, "refused")
        self.asked.append(name)
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def publish(self, version: int, targets: dict[str, bytes]) -> None:
        listed = {
            path: {"hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
            for path, data in targets.items()
        }
        for path, data in targets.items():
            folder, _, name = path.rpartition("/")
            self.files[f"targets/{folder}/{hashlib.sha256(data).hexdigest()}.{name}"] = data
        self._metadata("1.root.json", 1)
        self._metadata(f"{version}.models.json", version, targets=listed)
        self._metadata(
            f"{version}.snapshot.json", version, meta={"models.json": {"version": version}}
        )
        self._metadata("timestamp.json", version, meta={"snapshot.json": {"version": version}})

    def _metadata(self, name: str, version: int, **signed: object) -> None:
        document = {"signed": {"version": version, **signed}}
        self.files[f"metadata/{name}"] = msgspec.json.encode(document)


MANIFEST = msgspec.json.encode(
    Manifest(
        name="magika",
        version=1,
        members=(Member(path="model.onnx", sha256="a" * 64, length_bytes=7),),
    )
)


@pytest.fixture
def central() -> Central:
    one = Central()
    one.publish(
        1,
        {
            "prod/model/magika/1.json": MANIFEST,
            "desired/oslo.json": b"oslo",
            "desired/far.json": b"far",
        },
    )
    return one


@pytest.fixture
def mirror(tmp_path: Path, central: Central) -> Mirror:
    return Mirror(tmp_path, central, lambda: {"oslo"})  # type: ignore[arg-type]


def timestamp(mirror: Mirror) -> bytes:
    return (mirror.folder / "metadata" / "timestamp.json").read_bytes()


def test_it_carries_everything_of_its_own_and_nothing_of_other_regions(
    mirror: Mirror, central: Central
) -> None:
    assert mirror.refresh()
    held = {
        str(path.relative_to(mirror.folder)) for path in mirror.folder.rglob("*") if path.is_file()
    }
    assert held == {name for name in central.files if "far" not in name}
    assert mirror.blob_length("a" * 64) == 7
    assert mirror.blob_length("b" * 64) is None


def test_what_is_here_is_not_fetched_again(mirror: Mirror, central: Central) -> None:
    mirror.refresh()
    central.asked.clear()
    assert not mirror.refresh()
    assert central.asked == ["metadata/timestamp.json", "metadata/2.root.json"]


@pytest.mark.parametrize("lost", ["2.snapshot", "2.models", "targets/desired"])
def test_a_state_that_is_not_whole_leaves_the_old_timestamp_in_place(
    mirror: Mirror, central: Central, lost: str
) -> None:
    mirror.refresh()
    before = timestamp(mirror)
    central.publish(2, {"desired/oslo.json": b"newer"})
    name = hashlib.sha256(b"newer").hexdigest()
    gone = next(n for n in central.files if lost in n and ("targets" not in n or name in n))
    data = central.files.pop(gone)
    with pytest.raises(MirrorBrokenError, match="listed and not there"):
        mirror.refresh()
    assert timestamp(mirror) == before
    central.files[gone] = data
    assert mirror.refresh()
    assert timestamp(mirror) == central.files["metadata/timestamp.json"]


def test_target_bytes_that_are_not_the_listed_ones_are_not_kept(
    mirror: Mirror, central: Central
) -> None:
    name = next(name for name in central.files if name.endswith(".oslo.json"))
    central.files[name] = b"forged"
    with pytest.raises(MirrorBrokenError, match="not those it is listed with"):
        mirror.refresh()
    assert not (mirror.folder / name).exists()


@pytest.mark.parametrize("path", ["../../etc/x.json", "prod//x.json", "/abs.json", "a/../b.json"])
def test_a_listed_path_cannot_leave_the_folder(mirror: Mirror, central: Central, path: str) -> None:
    central.publish(2, {path: b"x"})
    with pytest.raises(MirrorBrokenError, match="it lists"):
        mirror.refresh()


def test_while_central_is_away_everything_stays(mirror: Mirror, central: Central) -> None:
    mirror.refresh()
    before = timestamp(mirror)
    central.away = True
    with pytest.raises(CentralAwayError):
        mirror.refresh()
    assert timestamp(mirror) == before
    assert mirror.blob_length("a" * 64) == 7


def test_a_site_that_arrives_later_gets_its_document_without_a_new_timestamp(
    tmp_path: Path, central: Central
) -> None:
    sites = {"oslo"}
    mirror = Mirror(tmp_path, central, lambda: sites)  # type: ignore[arg-type]
    mirror.refresh()
    sites.add("far")
    assert mirror.refresh()
    assert list(tmp_path.rglob("*.far.json"))


def test_a_fleet_with_hash_bins_is_carried_whole_and_by_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes of the region read their bins from it; documents of other regions stay away."""
    monkeypatch.setattr(bins, "UNBINNED_MAX", 1)
    fleet = SignedFleet.found(tmp_path / "fleet")
    central = Central()
    mirror = Mirror(tmp_path / "region", central, lambda: {"oslo"})  # type: ignore[arg-type]
    fleet.publisher.publish(desired={f"desired/{site}.json": b"1" for site in ("oslo", "far")})
    central.files = files_of(fleet)
    assert mirror.refresh()
    fleet.publisher.publish(desired={"desired/oslo.json": b"2"})
    central.files = files_of(fleet)
    central.asked.clear()
    assert mirror.refresh()
    asked = [name.split(".")[-2].removeprefix("metadata/") for name in central.asked]
    mine = bins.bin_of("desired/oslo.json", 2)
    assert sorted(asked) == sorted(["timestamp", "root", "snapshot", mine, "oslo"])
    root = fleet.first["root"]
    node = UpdateClient(
        tmp_path / "node",
        root,
        lambda name, _: iter([(mirror.folder / name).read_bytes()]),
        fleet.clock,
    )
    node.refresh()
    assert node.target_bytes("desired/oslo.json") == b"2"
    assert not list(mirror.folder.rglob("*.far.json"))


def files_of(fleet: SignedFleet) -> dict[str, bytes]:
    return {
        str(path.relative_to(fleet.files)): path.read_bytes()
        for path in fleet.files.rglob("*.json")
    }
