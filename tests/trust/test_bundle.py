"""A bundle's form: one header per member, places of a fixed form, bounds, and nothing else."""

import io
import tarfile
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.schema.bundle import BundleIndex, BundleMember
from skerry.trust.bundle import Bundle, write_bundle
from skerry.trust.bundle_check import first_of, targets_of
from skerry.trust.bundle_errors import BundleShort, BundleUnreadable


@pytest.mark.parametrize(
    "place",
    [
        "targets/../../etc/passwd",
        "/etc/passwd",
        "metadata/../../x.json",
        "blobs/" + "a" * 63 + "/",
        "targets/a/" + "0" * 64 + ".x/../y",
        "metadata/timestamp.json\n",
    ],
)
def test_a_member_cannot_belong_outside(place: str) -> None:
    index = index_with(place)
    with pytest.raises(BundleUnreadable, match="belongs at"):
        read(tar_of(index))


def test_an_index_has_bounds() -> None:
    twice = index_with("metadata/timestamp.json", "metadata/timestamp.json")
    with pytest.raises(BundleUnreadable, match="two members"):
        read(tar_of(twice))
    member = BundleMember(place="metadata/root.json", sha256="0" * 64, length_bytes=10**12)
    with pytest.raises(BundleUnreadable, match="no fit length"):
        read(tar_of(msgspec.structs.replace(twice, members=(member,))))
    with pytest.raises(BundleUnreadable, match="no bundle that can be used"):
        read(b"")
    with pytest.raises(BundleUnreadable, match="goes on after its end"):
        read(tar_of(msgspec.structs.replace(twice, members=())) + b"x")


def index_with(*places: str) -> BundleIndex:
    members = tuple(BundleMember(place=p, sha256="0" * 64, length_bytes=0) for p in places)
    return BundleIndex(
        fleet="clinic", sites=(), snapshot_version=1, made_at_unix_s=0, good_until_unix_s=0,
        members=members,
    )  # fmt: skip


def tar_of(index: BundleIndex) -> bytes:
    """Return a bundle of this index with nothing behind it."""
    data = msgspec.json.encode(index)
    info = tarfile.TarInfo("bundle.json")
    info.size = len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512) + bytes(1024)


def read(data: bytes) -> Bundle:
    return Bundle(io.BytesIO(data), "stick", len(data))


SOUND = tar_of(index_with("metadata/timestamp.json"))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=2048),
        st.tuples(st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=64)).map(
            lambda cut: SOUND[: cut[0]] + cut[1] + SOUND[cut[0] + len(cut[1]) :]
        ),
        st.binary(max_size=512).map(lambda data: SOUND[:512] + data),
    )
)
def test_whatever_lies_on_a_stick_is_read_or_refused_at_once(data: bytes) -> None:
    begun = time.process_time()
    try:
        bundle = read(data)
        b"".join(
            b"".join(bundle.chunks(m.place)) for m in bundle.index.members if bundle.has(m.place)
        )
    except (BundleUnreadable, BundleShort, FileNotFoundError):
        pass
    assert time.process_time() - begun < 0.1


def test_sources_are_asked_in_turn_and_a_folder_gives_no_metadata(tmp_path: Path) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "a").write_bytes(b"there")
    source = first_of(lambda *_: iter(()), targets_of(tmp_path))
    assert b"".join(source("targets/a", 9)) == b""
    with pytest.raises(FileNotFoundError):
        list(targets_of(tmp_path)("metadata/timestamp.json", 9))


@settings(deadline=None, max_examples=30)  # each waits for the disk
@given(st.dictionaries(st.integers(1, 99), st.binary(max_size=1500), max_size=5), st.binary())
def test_what_was_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, small: dict[int, bytes], blob: bytes
) -> None:
    import hashlib

    path = tmp_path_factory.mktemp("stick") / "a"
    files = {f"metadata/{number}.root.json": data for number, data in small.items()}
    sha256 = hashlib.sha256(blob).hexdigest()
    write_bundle(path, index_with(), files, {sha256: (len(blob), lambda: [blob])})
    with Bundle.open(path) as bundle:
        assert not bundle.cut
        read_back = {m.place: b"".join(bundle.chunks(m.place)) for m in bundle.index.members}
    assert read_back == files | {f"blobs/{sha256}": blob}


def test_a_blob_that_changes_while_it_is_written_makes_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleShort):
        write_bundle(tmp_path / "a", index_with(), {}, {"0" * 64: (3, lambda: [b"abc"])})
    assert not list(tmp_path.iterdir())
