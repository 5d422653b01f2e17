"""What a bundle brought to a node: read where no region answers, moved without a second copy."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Timestamp

from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings
from skerry.node.stick import Stick
from skerry.node.upstream import Mirror
from skerry.schema.model import Member
from skerry.spine.blobs import BlobStore
from skerry.spine.errors import BlobFetchError
from skerry.testing.clock import ManualClock

BLOB = b"a model"
DIGEST = hashlib.sha256(BLOB).hexdigest()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def folder(tmp_path: Path, clock: ManualClock) -> NodeFolder:
    """A node's folder with a stick that ends in an hour."""
    folder = NodeFolder(tmp_path).make()
    ends = datetime.fromtimestamp(int(clock.unix_s()), UTC) + timedelta(hours=1)
    (folder.stick / "metadata").mkdir(parents=True)
    (folder.stick / "blobs").mkdir()
    stamp = Metadata(Timestamp(expires=ends)).to_bytes()
    (folder.stick / "metadata" / "timestamp.json").write_bytes(stamp)
    (folder.stick / "blobs" / DIGEST).write_bytes(BLOB)
    return folder


def mirror(folder: NodeFolder, clock: ManualClock) -> Mirror:
    settings = NodeSettings(
        fleet="clinic", domain="clinic.example", region="eu", site="oslo", number=1, tier="edge",
        region_url="https://127.0.0.1:9", region_host="eu.clinic.example",
    )  # fmt: skip
    return Mirror(settings, IdentityFiles(folder.identity), Stick(folder, clock))


def test_after_every_region_the_stick_is_asked(folder: NodeFolder, clock: ManualClock) -> None:
    brought = mirror(folder, clock).fetches[-1]
    held = (folder.stick / "metadata" / "timestamp.json").read_bytes()
    assert b"".join(brought("metadata/timestamp.json", 10_000)) == held
    assert len(b"".join(brought("metadata/timestamp.json", 10))) == 11, "one too many is seen"
    with pytest.raises(FileNotFoundError):
        list(brought("metadata/2.root.json", 10))


def test_a_stick_past_its_end_is_not_looked_at(folder: NodeFolder, clock: ManualClock) -> None:
    clock.advance(3601)
    with pytest.raises(BlobFetchError):
        list(mirror(folder, clock).fetches[-1]("metadata/timestamp.json", 10_000))


def test_a_model_file_moves_without_a_second_copy(folder: NodeFolder, clock: ManualClock) -> None:
    store = BlobStore(folder.blobs)
    member = Member(path="model.onnx", sha256=DIGEST, length_bytes=len(BLOB))
    path = mirror(folder, clock).fetch_member(member, store)
    assert path.read_bytes() == BLOB
    assert path.samefile(folder.stick / "blobs" / DIGEST)


def test_a_damaged_model_file_counts_as_not_brought(folder: NodeFolder, clock: ManualClock) -> None:
    (folder.stick / "blobs" / DIGEST).write_bytes(b"a mode1")
    assert Stick(folder, clock).blob(DIGEST, BlobStore(folder.blobs)) is None
    assert not (folder.stick / "blobs" / DIGEST).exists()
