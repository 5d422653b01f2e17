"""Attacks by USB stick: what a courier may alter, swap, cut short or bring twice."""

import hashlib
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from skerry.base.units import SECONDS_PER_DAY
from skerry.schema.audit import AuditEvent, AuditOutcome
from skerry.schema.bundle import BundleIndex, BundleMember
from skerry.spine.blobs import BlobStore
from skerry.spine.errors import BlobMismatchError
from skerry.testing.signed_fleet import SignedFleet, content_of
from skerry.trust.bundle import Bundle, write_bundle
from skerry.trust.bundle_check import TIMESTAMP, check_bundle, good_until_unix_s, verify
from skerry.trust.bundle_errors import BundleElsewhere, BundleShort, BundleUnreadable
from skerry.trust.bundle_import import take
from skerry.trust.errors import TargetForged, UpdateExpired, UpdateForged, UpdateRollback
from skerry.trust.ledger_errors import LedgerError
from skerry.trust.update_client import UpdateClient

ONNX = content_of(1)


class Courier:
    """Bundles of a small signed fleet, as central would make them, and a place that takes them."""

    def __init__(self, folder: Path) -> None:
        self.fleet = SignedFleet.found(folder)
        self.folder, self.clock, self.root = folder, self.fleet.clock, self.fleet.first["root"]
        self.files, self.mirror = self.fleet.files, folder / "mirror"
        self.blobs = BlobStore(folder / "blobs")
        self.note: Callable[[AuditEvent], object] = lambda event: None
        self.release(1)

    def release(self, version: int) -> None:
        """Sign a model version offline, and a document online that has oslo run it."""
        self.fleet.release_bundle(version, {}, generation=version, version=version)

    def pack(self, name: str, *models: bytes, days: float = 14.0, leave_out: str = "none") -> Path:
        """Write a bundle for oslo as central would, without places that contain `leave_out`."""
        stamp = self.fleet.publisher.stamp(days * SECONDS_PER_DAY)
        stamped = {f"metadata/{file}": data for file, data in stamp.items()}

        def central(place: str, _: int) -> Iterable[bytes]:
            return iter([stamped.get(place) or (self.files / place).read_bytes()])

        found = verify(
            central, ["oslo"], name="central", bootstrap_root=self.root, clock=self.clock
        )
        index = BundleIndex(
            fleet="clinic",
            sites=("oslo",),
            snapshot_version=found.snapshot_version,
            made_at_unix_s=self.clock.unix_s(),
            good_until_unix_s=good_until_unix_s(found.files),
            since_snapshot_version=int(leave_out != "none"),
            members=(),
        )
        small = {place: data for place, data in found.files.items() if leave_out not in place}
        blobs = {digest(model): (len(model), lambda model=model: [model]) for model in models}
        write_bundle(self.folder / name, index, small, blobs)
        return self.folder / name

    def take(self, path: Path, *, here: str = "oslo") -> None:
        with Bundle.open(path) as bundle:
            take(
                bundle,
                self.mirror,
                self.blobs,
                here=here,
                for_here=lambda site, _: site == here,
                bootstrap_root=self.root,
                floors=self.folder / "floors",
                clock=self.clock,
                keep_floors=True,
                note=self.note,
            )

    def check(self, path: Path) -> None:
        with Bundle.open(path) as bundle:
            check_bundle(bundle, bootstrap_root=self.root, clock=self.clock)

    @property
    def switched(self) -> bool:
        """Whether anything was put in force."""
        return (self.mirror / TIMESTAMP).exists()


@pytest.fixture
def courier(tmp_path: Path) -> Courier:
    return Courier(tmp_path)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_a_bundle_brings_is_what_a_node_takes(courier: Courier) -> None:
    courier.take(courier.pack("a", ONNX))
    assert courier.blobs.path(digest(ONNX)).read_bytes() == ONNX
    found = verify(
        lambda place, _: iter([(courier.mirror / place).read_bytes()]),
        ["oslo"],
        name="mirror",
        bootstrap_root=courier.root,
        clock=courier.clock,
    )
    assert found.accepted["oslo"].desired.models[0].version == 1


def test_any_tar_lists_a_bundle(courier: Courier) -> None:
    path = courier.pack("a", ONNX)
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert (names[0], names[-1]) == ("bundle.json", f"sha256/{digest(ONNX)}")
    listed = subprocess.run(["tar", "tf", path], capture_output=True, check=True, text=True)
    assert listed.stdout.split() == names


def test_what_is_signed_for_a_stick_is_passed_by_on_the_network(courier: Courier) -> None:
    path = courier.pack("a", ONNX, days=90)
    with Bundle.open(path) as bundle:
        stamped = b"".join(bundle.chunks(TIMESTAMP))
    served = {TIMESTAMP: (courier.files / TIMESTAMP).read_bytes()}
    assert served[TIMESTAMP] != stamped

    def fetch(place: str, _: int) -> Iterable[bytes]:
        return iter([served.get(place) or (courier.files / place).read_bytes()])

    client = UpdateClient(courier.folder / "node", courier.root, fetch, courier.clock)
    client.refresh()
    served[TIMESTAMP] = stamped
    with pytest.raises(UpdateRollback):
        client.refresh()


def test_it_is_noted_before_anything_is_taken_in_and_without_a_note_nothing_is(
    courier: Courier,
) -> None:
    seen: list[tuple[AuditOutcome, bool, list[str]]] = []

    def note(event: AuditEvent) -> None:
        seen.append((event.outcome, courier.switched, sorted(courier.blobs.names())))
        if len(seen) == 1:
            raise LedgerError("audit", "its disk is full")

    courier.note = note
    with pytest.raises(LedgerError):
        courier.take(courier.pack("a", ONNX))
    assert not courier.switched
    courier.take(courier.pack("a", ONNX))
    assert courier.switched
    assert seen == [(AuditOutcome.DONE, False, [])] * 2


def test_a_later_bundle_may_leave_out_what_is_here(courier: Courier) -> None:
    courier.take(courier.pack("a", ONNX))
    courier.fleet.send(courier.fleet.desired(generation=2))  # the same, sealed once more
    later = courier.pack("b", leave_out="/policy/")
    courier.take(later)
    courier.mirror = courier.folder / "a place that never got the first"
    with pytest.raises(BundleShort, match=r"prod/policy/.*not here"):
        courier.take(later)


@pytest.mark.attack(
    row="U05b",
    title="an older bundle is brought after a newer one",
    refused="UPDATE_ROLLBACK",
    off={
        "skerry.trust.bundle_import.check_not_older": lambda *_: None,
        "skerry.trust.bundle_check.copy_floors": lambda *_: None,
    },
)
def test_u05b_an_older_bundle_is_refused_after_a_newer(courier: Courier) -> None:
    old = courier.pack("old", ONNX)
    courier.release(2)
    courier.take(courier.pack("new", content_of(2)))
    with pytest.raises(UpdateRollback) as refusal:
        courier.take(old)
    assert refusal.value.reason == "UPDATE_ROLLBACK"


def test_a_bundle_outlives_signatures_of_the_network_and_then_ends(courier: Courier) -> None:
    path = courier.pack("a", ONNX)
    courier.clock.advance(13 * SECONDS_PER_DAY)
    courier.take(path)
    courier.clock.advance(2 * SECONDS_PER_DAY)
    with pytest.raises(UpdateExpired):
        courier.take(path)


@pytest.mark.attack(
    row="U11b",
    title="a bundle without a model file that its documents name",
    refused="BUNDLE_SHORT",
    off={"skerry.trust.bundle_check.check_whole": lambda *_: None},
)
def test_u11b_a_bundle_without_a_model_file_switches_nothing(courier: Courier) -> None:
    with pytest.raises(BundleShort, match="blobs/") as refusal:
        courier.take(courier.pack("a"))
    assert refusal.value.reason == "BUNDLE_SHORT"
    assert not courier.switched


@pytest.mark.attack(
    row="U11b",
    title="a bundle without a model file that its documents name",
    refused="BUNDLE_SHORT",
    off={"skerry.trust.bundle_check.check_whole": lambda *_: None},
)
def test_u11b_a_file_cut_short_switches_nothing_and_the_whole_one_goes_on(courier: Courier) -> None:
    courier.release(2)
    path = courier.pack("a", content_of(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    with pytest.raises(BundleShort, match="blobs/"):
        courier.take(path)
    path.write_bytes(whole)
    courier.take(path)
    assert courier.switched


def _unchecked(chunks: Iterable[bytes], file: object, **_: object) -> None:
    file.write(b"".join(chunks))  # type: ignore[attr-defined]


@pytest.mark.attack(
    row="U12b",
    title="a model file of a bundle with other bytes of the same length",
    refused="E0320",
    off={"skerry.spine.blobs.copy_checked": _unchecked},
)
def test_u12b_a_model_file_with_other_bytes_switches_nothing(courier: Courier) -> None:
    path = courier.pack("a", ONNX)
    path.write_bytes(path.read_bytes().replace(ONNX, ONNX[:-1] + b"!"))
    with pytest.raises(TargetForged):
        courier.check(path)
    with pytest.raises(BlobMismatchError):
        courier.take(path)
    assert not courier.switched


def test_a_document_with_other_bytes_is_refused(courier: Courier) -> None:
    path = courier.pack("a", ONNX)
    path.write_bytes(path.read_bytes().replace(b'"magika"', b'"magikb"'))
    with pytest.raises((TargetForged, UpdateForged)):
        courier.take(path)
    assert not courier.switched


@pytest.mark.attack(
    row="U16b",
    title="a bundle whose index promises a file without end",
    refused="BUNDLE_UNREADABLE",
    off={"skerry.trust.bundle.is_bounded": lambda _: True},
)
def test_u16b_a_member_without_end_is_refused_before_it_is_read(courier: Courier) -> None:
    path = with_index(courier, BundleMember(place=TIMESTAMP, sha256="0" * 64, length_bytes=10**12))
    with pytest.raises(BundleUnreadable) as refusal:
        courier.take(path)
    assert refusal.value.reason == "BUNDLE_UNREADABLE"


@pytest.mark.attack(
    row="U12c",
    title="a bundle with a file that belongs outside its folder",
    refused="BUNDLE_UNREADABLE",
    off={"skerry.trust.bundle.is_place": lambda _: True},
)
@pytest.mark.parametrize(
    "place", ["targets/../../outside", "/etc/outside", "metadata/../../x.json"]
)
def test_u12c_no_member_lands_outside_its_folder(courier: Courier, place: str) -> None:
    path = with_index(courier, BundleMember(place=place, sha256=digest(b""), length_bytes=0))
    with pytest.raises(BundleUnreadable, match="belongs at"):
        courier.take(path)


@pytest.mark.attack(
    row="U12d",
    title="a bundle that is another tar to other readers: a link, a second name, a longer file",
    refused="BUNDLE_UNREADABLE",
    off={"skerry.trust.bundle.is_header": lambda *_: True},
)
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"x"])
def test_u12d_a_header_other_than_the_one_expected_is_refused(
    courier: Courier, kind: bytes
) -> None:
    path = courier.pack("a", ONNX)
    whole = path.read_bytes()
    name = f"sha256/{digest(ONNX)}"
    forged = tarfile.TarInfo(name)
    forged.size, forged.type, forged.linkname = len(ONNX), kind, "../../etc/passwd"
    at = whole.index(name.encode() + b"\0")
    path.write_bytes(whole[:at] + forged.tobuf(tarfile.GNU_FORMAT) + whole[at + 512 :])
    with pytest.raises(BundleUnreadable, match="header"):
        courier.take(path)


@pytest.mark.attack(
    row="U19b",
    title="a sound bundle of another site",
    refused="BUNDLE_ELSEWHERE",
    off={"skerry.trust.bundle_import.check_for_here": lambda *_: None},
)
def test_u19b_a_bundle_of_another_site_is_refused_by_name(courier: Courier) -> None:
    noted: list[AuditEvent] = []
    courier.note = noted.append
    with pytest.raises(BundleElsewhere, match="nothing for bergen: it is for oslo") as refusal:
        courier.take(courier.pack("a", ONNX), here="bergen")
    assert [event.outcome for event in noted] == [AuditOutcome.REFUSED]
    assert refusal.value.reason == "BUNDLE_ELSEWHERE"


def with_index(courier: Courier, *members: BundleMember) -> Path:
    """Return a bundle of this index with nothing behind it."""
    index = BundleIndex(
        fleet="clinic",
        sites=("oslo",),
        snapshot_version=1,
        made_at_unix_s=0,
        good_until_unix_s=0,
        members=members,
    )
    data = msgspec.json.encode(index)
    info = tarfile.TarInfo("bundle.json")
    info.size = len(data)
    path = courier.folder / "forged"
    head = info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
    path.write_bytes(head + bytes(1024))
    return path
