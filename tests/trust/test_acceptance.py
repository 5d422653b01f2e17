"""A desired document is accepted whole, with every artifact signed, or not at all."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.schema.desired import DesiredModel
from skerry.schema.model import Manifest, Member, manifest_target
from skerry.schema.policy import policy_target
from skerry.schema.release import Facts, Release, Statement, release_target
from skerry.testing.signed_fleet import Counter
from skerry.trust.acceptance import AcceptedDesired, accept_desired
from skerry.trust.errors import (
    BundleMismatch,
    DirectorImageMismatch,
    HardwareMismatch,
    NeedsUnmet,
    ReleaseBelowFloor,
    TargetUnreadable,
    TargetUnsigned,
)


def accept(
    repo: Any, held: AcceptedDesired | None = None, hardware: str = "mini-pc"
) -> AcceptedDesired:
    client = repo.client()
    client.refresh()
    return accept_desired(client, "oslo", held=held, hardware=hardware)


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
    with pytest.raises(DirectorImageMismatch):
        accept(repo)
    repo.send(repo.desired(generation=3))
    assert accept(repo).desired.generation == 3


def test_an_unsigned_model_is_refused_by_name(repo: Any) -> None:
    repo.release()
    repo.send(repo.desired(generation=2, models=(model("evil", b"{}"),)))
    with pytest.raises(DirectorImageMismatch, match=r"prod/model/evil/1\.json") as refused:
        accept(repo)
    assert refused.value.reason == "DIRECTOR_IMAGE_MISMATCH"


def test_other_bytes_than_were_signed_are_refused(repo: Any) -> None:
    repo.release()
    repo.send(repo.desired(generation=2, models=(model("magika", b"other"),)))
    with pytest.raises(DirectorImageMismatch, match="is signed"):
        accept(repo)
    repo.send(repo.desired(generation=2, policy_sha256="0" * 64))
    with pytest.raises(DirectorImageMismatch, match="policy/clinic"):
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


MAGIKA, POLICY = manifest_target("prod", "magika", 1), policy_target("clinic")


def test_a_whole_release_with_all_that_is_said_of_it_is_accepted(repo: Any) -> None:
    facts = Facts(hw=("mini-pc", "jetson"), needs={POLICY: ""}, min_release=1)
    desired = repo.release_bundle(1, {MAGIKA: facts})
    accepted = accept(repo)
    assert accepted.desired == desired
    assert accepted.min_release == 1
    assert set(desired.artifacts) == {MAGIKA, POLICY, release_target("clinic", 1)}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"sha256": "0" * 64}, "sha256"),
        ({"length_bytes": 7}, "length_bytes 7"),
        ({"hw": ("mini-pc",)}, "hw"),
    ],
)
def test_what_central_says_must_equal_what_is_signed(
    repo: Any, change: dict[str, Any], found: str
) -> None:
    desired = repo.release_bundle(1, {})
    said = msgspec.structs.replace(desired.artifacts[MAGIKA], **change)
    repo.send(
        msgspec.structs.replace(desired, generation=2, artifacts=desired.artifacts | {MAGIKA: said})
    )
    with pytest.raises(DirectorImageMismatch, match=found):
        accept(repo)


def test_a_central_that_says_nothing_is_believed_until_there_is_something_to_say(
    repo: Any,
) -> None:
    desired = repo.release_bundle(1, {})
    silent = msgspec.structs.replace(desired, generation=2, release=0, artifacts={})
    repo.send(silent)
    assert accept(repo).desired == silent
    repo.add({}, facts={MAGIKA: Facts(hw=("jetson",))})
    with pytest.raises(DirectorImageMismatch, match="jetson"):
        accept(repo)


@pytest.mark.parametrize("hardware", ["", "jetson"])
def test_other_kinds_of_machine_refuse(repo: Any, hardware: str) -> None:
    repo.release_bundle(1, {MAGIKA: Facts(hw=("mini-pc",))})
    with pytest.raises(HardwareMismatch, match="it is for mini-pc"):
        accept(repo, hardware=hardware)
    assert accept(repo).desired.release == 1


def test_needs_must_be_signed_named_and_of_those_bytes(repo: Any) -> None:
    for needs, why in (
        ({"prod/model/ocr/1.json": ""}, "nobody who may has signed"),
        ({POLICY: "0" * 64}, "000000000000"),
    ):
        repo.release_bundle(1, {MAGIKA: Facts(needs=needs)})
        with pytest.raises(NeedsUnmet, match=why):
            accept(repo)
    repo.add({"prod/model/ocr/1.json": b"{}"})
    repo.release_bundle(1, {MAGIKA: Facts(needs={"prod/model/ocr/1.json": ""})})
    with pytest.raises(NeedsUnmet, match="not to run here"):
        accept(repo)


def test_members_of_other_releases_do_not_mix(repo: Any) -> None:
    desired = repo.release_bundle(1, {})
    other = Release(fleet="clinic", release=2, members={POLICY: desired.policy_sha256})
    path, content = release_target("clinic", 2), msgspec.json.encode(other)
    repo.add({path: content})
    said = Statement(sha256=hashlib.sha256(content).hexdigest(), length_bytes=len(content))
    mixed = msgspec.structs.replace(
        desired, generation=2, release=2, artifacts=desired.artifacts | {path: said}
    )
    repo.send(mixed)
    with pytest.raises(BundleMismatch, match="magika"):
        accept(repo)


def test_no_release_below_the_floor_is_accepted(repo: Any) -> None:
    repo.release_bundle(3, {})
    client = repo.client()
    client.raise_release_floor(3)
    assert accept(repo).desired.release == 3
    repo.release_bundle(2, {}, generation=2)
    with pytest.raises(ReleaseBelowFloor, match="release 2, and 3"):
        accept(repo)
    repo.send(repo.desired(generation=3))  # of no release at all
    with pytest.raises(ReleaseBelowFloor, match="release 0, and 3"):
        accept(repo)


def test_a_release_that_forbids_itself_is_refused_and_locks_nobody_out(repo: Any) -> None:
    repo.release_bundle(1, {MAGIKA: Facts(min_release=2**40)})
    with pytest.raises(ReleaseBelowFloor):
        accept(repo)
    repo.release_bundle(1, {}, generation=2)
    assert accept(repo).desired.generation == 2


def test_the_counter_in_the_tpm_outlives_the_disk(repo: Any) -> None:
    counter = Counter()
    repo.client("one", counter=counter).raise_release_floor(5)
    blank = repo.client("two", counter=counter)
    assert (blank.release_floor(), repo.client("three").release_floor()) == (5, 0)
    blank.raise_release_floor(4)
    assert counter.count == 5


@pytest.mark.parametrize(
    ("chunk_bytes", "chunks"),
    [(0, ("a" * 64,)), (10, ("a" * 64,)), (10, ("a" * 64,) * 4), (10, ("a", "b", "c"))],
)
def test_chunks_must_be_exactly_the_whole_file(
    repo: Any, chunk_bytes: int, chunks: tuple[str, ...]
) -> None:
    repo.release()
    member = Member(
        path="x", sha256="a" * 64, length_bytes=25, chunk_bytes=chunk_bytes, chunks=chunks
    )
    content = msgspec.json.encode(Manifest(name="odd", version=1, members=(member,)))
    repo.add({manifest_target("prod", "odd", 1): content})
    repo.send(repo.desired(generation=2, models=(model("odd", content),)))
    with pytest.raises(TargetUnreadable, match="do not cover"):
        accept(repo)
