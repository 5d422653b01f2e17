"""A desired document is accepted whole, with every artifact signed, or not at all."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.schema.desired import DesiredModel
from skerry.schema.model import Manifest, Member, manifest_target
from skerry.trust.acceptance import AcceptedDesired, accept_desired
from skerry.trust.errors import ReleaseBelowFloor, TargetUnreadable, TargetUnsigned


def accept(repo: Any, held: AcceptedDesired | None = None) -> AcceptedDesired:
    client = repo.client()
    client.refresh()
    return accept_desired(client, "oslo", held=held)


def model(name: str, content: bytes, version: int = 1) -> DesiredModel:
    digest = hashlib.sha256(content).hexdigest()
    return DesiredModel(name=name, version=version, manifest_sha256=digest)


def test_a_whole_release_is_accepted(repo: Any) -> None:
    desired = repo.release()
    accepted = accept(repo)
    assert accepted.desired == desired
    assert accepted.manifests["magika"].members[0].path == "model.onnx"
    assert accepted.policy.fleet == "clinic"


def test_the_same_document_is_returned_untouched(repo: Any) -> None:
    repo.release()
    held = accept(repo)
    assert accept(repo, held) is held


def test_an_older_generation_never_wins(repo: Any) -> None:
    repo.release(generation=5)
    accept(repo)
    repo.send(repo.desired(generation=4))
    with pytest.raises(ReleaseBelowFloor, match="generation 4, and 5"):
        accept(repo)
    repo.send(repo.desired(generation=6))
    assert accept(repo).desired.generation == 6


def test_a_refused_document_does_not_raise_the_floor(repo: Any) -> None:
    repo.release(generation=2)
    repo.send(repo.desired(generation=9, policy_sha256="0" * 64))
    with pytest.raises(TargetUnsigned):
        accept(repo)
    repo.send(repo.desired(generation=3))
    assert accept(repo).desired.generation == 3


def test_an_unsigned_model_is_refused_by_name(repo: Any) -> None:
    repo.release()
    repo.send(repo.desired(generation=2, models=(model("evil", b"{}"),)))
    with pytest.raises(TargetUnsigned, match=r"prod/model/evil/1\.json") as refused:
        accept(repo)
    assert refused.value.reason == "TARGET_UNSIGNED"


def test_other_bytes_than_were_signed_are_refused(repo: Any) -> None:
    repo.release()
    repo.send(repo.desired(generation=2, models=(model("magika", b"other"),)))
    with pytest.raises(TargetUnsigned, match="is signed"):
        accept(repo)
    repo.send(repo.desired(generation=2, policy_sha256="0" * 64))
    with pytest.raises(TargetUnsigned, match="policy/clinic"):
        accept(repo)


def test_a_document_for_another_site_is_refused(repo: Any) -> None:
    repo.release(site="bergen")
    with pytest.raises(TargetUnreadable, match="for the site bergen"):
        accept(repo)


def test_a_site_without_a_document_is_told(repo: Any) -> None:
    with pytest.raises(TargetUnsigned, match=r"desired/oslo\.json"):
        accept(repo)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", ".", "a//b", "a/./b"])
def test_a_manifest_cannot_reach_outside_its_folder(repo: Any, path: str) -> None:
    """Even a signed one: a slip at signing must not write over a node."""
    repo.release()
    member = Member(path=path, sha256="a" * 64, length_bytes=1)
    content = msgspec.json.encode(Manifest(name="odd", version=1, members=(member,)))
    repo.add({manifest_target("prod", "odd", 1): content})
    repo.send(repo.desired(generation=2, models=(model("odd", content),)))
    with pytest.raises(TargetUnreadable, match="a file of it"):
        accept(repo)


def test_a_manifest_of_another_model_is_refused(repo: Any) -> None:
    repo.release()
    content = msgspec.json.encode(Manifest(name="magika", version=1, members=()))
    repo.add({manifest_target("prod", "swap", 1): content})
    repo.send(repo.desired(generation=2, models=(model("swap", content),)))
    with pytest.raises(TargetUnreadable, match="it is for magika v1"):
        accept(repo)


def test_signed_nonsense_is_unreadable(repo: Any) -> None:
    repo.publisher.publish(desired={"desired/oslo.json": b'{"generation": "one"}'})
    with pytest.raises(TargetUnreadable):
        accept(repo)


def test_what_was_accepted_survives_a_cold_start(repo: Any, tmp_path: Path) -> None:
    repo.release()
    accepted = accept(repo)
    path = tmp_path / "accepted.json"
    assert AcceptedDesired.load(path) is None
    accepted.save(path)
    assert AcceptedDesired.load(path) == accepted
    path.write_bytes(path.read_bytes()[:100])
    assert AcceptedDesired.load(path) is None
