"""Metadata and documents from anybody: refused by name and at once, whatever bytes they are.

What a thief of the keys could sign is tried too: changed metadata is signed again where it still
is metadata.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata

from skerry.schema.desired import Desired
from skerry.schema.model import Manifest
from skerry.schema.release import Release
from skerry.testing.signed_fleet import DESIRED, MODEL, SITE, SignedFleet
from skerry.trust import bins
from skerry.trust.acceptance import AcceptedDesired, _check_members, accept_desired
from skerry.trust.errors import TargetUnreadable, TrustError
from skerry.trust.floor import read_floor
from skerry.trust.roles import ISSUED, ONLINE
from skerry.trust.update_client import UpdateClient

LIMIT_S = 0.1  # of processor time
BIN = bins.bin_of(DESIRED, 2)
ROLES = ("timestamp", "snapshot", "root", "models", "desired", BIN)

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z", "../x", "\x00", "root"])
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)


@pytest.fixture(scope="module")
def fleet() -> Iterator[SignedFleet]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(bins, "UNBINNED_MAX", 0)
        fleet = SignedFleet.found(Path(folder))
        fleet.release_bundle(1, {})
        yield fleet


def soon(work: Callable[[], object]) -> None:
    """Run it; it may refuse by name, within the limit of processor time."""
    before_s = time.thread_time()
    with contextlib.suppress(TrustError):
        work()
    assert time.thread_time() - before_s < LIMIT_S


def look(fleet: SignedFleet) -> None:
    """A new node's whole look, so that nothing is remembered from the example before."""
    with tempfile.TemporaryDirectory() as folder:
        root = fleet.first["root"]
        client = UpdateClient(Path(folder), root, fleet.mirror.fetch, fleet.clock)

        def check() -> None:
            client.refresh()
            accept_desired(client, SITE, hardware="")

        try:
            soon(check)
        finally:
            fleet.mirror.lies.clear()


def file_of(fleet: SignedFleet, role: str) -> str:
    if role == "timestamp":
        return "metadata/timestamp.json"
    if role == "root":
        return "metadata/2.root.json"
    version = json.loads(fleet.publisher.role_bytes(role))["signed"]["version"]
    return f"metadata/{version}.{role}.json"


def leaf_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document at which something else could stand."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            found += leaf_paths(one, (*path, key))
    return found


def changed(fleet: SignedFleet, role: str, data: st.DataObject) -> bytes:
    """Real metadata with something else in one place, signed again if it still is metadata."""
    document = json.loads(fleet.publisher.role_bytes(role))
    path = data.draw(st.sampled_from(leaf_paths(document)))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(values)
    raw = json.dumps(document).encode()
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(raw)
        if bins.family(role) in ONLINE:
            return bytes(fleet.online.sign(bins.family(role), metadata, None))
        return bytes(fleet.offline.sign(role, metadata))
    except Exception:  # not metadata any more: sent as it is
        return raw


@settings(max_examples=60, deadline=None)
@given(role=st.sampled_from(ROLES), data=st.data())
def test_changed_metadata_is_taken_or_refused_by_name(
    fleet: SignedFleet, role: str, data: st.DataObject
) -> None:
    fleet.mirror.lie(file_of(fleet, role), changed(fleet, role, data))
    look(fleet)


@settings(max_examples=40, deadline=None)
@given(role=st.sampled_from(ROLES), content=st.binary(max_size=200))
@example("timestamp", b"[" * 16_000)
@example("timestamp", b'{"signed":' * 1_600)
@example("root", b"[" * 400_000)
@example("root", b'{"signatures": [], "signed": {"version": ' + b"9" * 16_000 + b"}}")
@example("snapshot", b"\xff\xfe")
def test_any_bytes_for_metadata_are_refused_by_name(
    fleet: SignedFleet, role: str, content: bytes
) -> None:
    fleet.mirror.lie(file_of(fleet, role), content)
    look(fleet)


@pytest.mark.parametrize("issued", [None, True, -1, 2**70, "x", [], {}, 10**300])
def test_any_signed_time_is_taken_or_left_alone(fleet: SignedFleet, issued: object) -> None:
    def say(timestamp: Any) -> None:
        timestamp.unrecognized_fields[ISSUED] = issued

    fleet.mirror.lie(file_of(fleet, "timestamp"), fleet.forge("timestamp", say))
    look(fleet)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from([Desired, Manifest, Release]), data=st.data())
def test_any_signed_document_is_read_or_unreadable(
    fleet: SignedFleet, kind: type[Any], data: st.DataObject
) -> None:
    """By central's own key: desired documents are signed online, so they may say anything."""
    if kind is not Desired:
        content = data.draw(st.binary(max_size=100) | values.map(lambda v: json.dumps(v).encode()))
        try:
            msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError:
            return
    document = json.loads(msgspec.json.encode(fleet.desired(generation=3)))
    path = data.draw(st.sampled_from(leaf_paths(document)))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(values)
    fleet.publisher.publish(desired={DESIRED: json.dumps(document).encode()})
    look(fleet)


@given(
    st.text(max_size=30),
    st.text(max_size=70),
    st.integers(-5, 2**62),
    st.integers(-5, 2**62),
    st.lists(st.text(max_size=70), max_size=3),
)
def test_members_of_any_form_are_checked_at_once(
    path: str, sha256: str, length: int, chunk: int, chunks: list[str]
) -> None:
    member = {
        "path": path,
        "sha256": sha256,
        "length_bytes": length,
        "chunk_bytes": chunk,
        "chunks": chunks,
    }
    content = json.dumps({"name": "m", "version": 1, "members": [member]}).encode()
    manifest = msgspec.json.decode(content, type=Manifest)
    before_s = time.thread_time()
    try:
        _check_members(MODEL, manifest)
    except TargetUnreadable:
        pass
    assert time.thread_time() - before_s < LIMIT_S


@given(one=st.binary(max_size=80), two=st.binary(max_size=80))
def test_any_floor_file_and_any_memory_is_read(one: bytes, two: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "floor.json").write_bytes(one)
        (folder / "floor-2.json").write_bytes(two)
        assert read_floor(folder) == read_floor(folder)
        (folder / "accepted.json").write_bytes(one)
        assert AcceptedDesired.load(folder / "accepted.json") is None
