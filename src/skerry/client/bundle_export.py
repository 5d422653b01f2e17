"""Making a bundle: what the nodes of some sites would fetch, fetched once and put into one file.

    central signs for the stick's journey -> a node's own checks, site by site, remember each file
    -> model bytes into a folder beside the bundle, resumed after a break -> the bundle

Blocking. What is written passed the checks that will be made again where it arrives.

Errors:  OperatorError, OperatorUnreachableError, UpdateRefused, BlobFetchError, UsageError.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import UsageError
from skerry.client.operator import Operator
from skerry.schema.bundle import BundleIndex
from skerry.schema.model import Manifest
from skerry.spine.blobs import CHUNK_BYTES, BlobStore
from skerry.trust.bundle import Bundle, Chunks, blob_place, write_bundle
from skerry.trust.bundle_check import first_of, good_until_unix_s, verify


class _Meta(msgspec.Struct):
    version: int


class _Target(msgspec.Struct):
    hashes: dict[str, str]


class _Signed(msgspec.Struct):
    meta: dict[str, _Meta] = {}
    targets: dict[str, _Target] = {}


class _Metadata(msgspec.Struct):
    signed: _Signed


def export_bundle(
    central: Operator,
    out: Path,
    *,
    fleet: str,
    sites: Sequence[str],
    bootstrap_root: bytes,
    life_s: float,
    since: str,
    clock: Clock,
) -> BundleIndex:
    """Write what these sites need to `out`, and return its index.

    `since` leaves out what an earlier bundle (a path) or snapshot (its number) brought; empty
    for all of it.
    """
    stamped = {f"metadata/{name}": data for name, data in central.stamp(life_s).metadata.items()}
    found = verify(
        first_of(_held(stamped), lambda place, _: iter([central.repository_file(place)])),
        sites,
        name="central",
        bootstrap_root=bootstrap_root,
        clock=clock,
    )
    left_out, since_version = _since(since, central)
    small = {place: data for place, data in found.files.items() if place not in left_out}
    parts = out.with_name(f".{out.name}.parts")
    store = BlobStore(parts, limit_bytes=1 << 50)
    blobs: dict[str, tuple[int, Chunks]] = {}
    for sha256, length in found.blobs().items():
        if blob_place(sha256) not in left_out:
            path = central.fetch_blob(sha256, length, store)
            blobs[sha256] = length, _chunks_of(path)
    index = BundleIndex(
        fleet=fleet,
        sites=tuple(found.accepted),
        snapshot_version=found.snapshot_version,
        made_at_unix_s=clock.unix_s(),
        good_until_unix_s=good_until_unix_s(found.files),
        since_snapshot_version=since_version,
        members=(),
    )
    index = write_bundle(out, index, small, blobs)
    shutil.rmtree(parts)
    return index


def _held(files: dict[str, bytes]) -> Callable[[str, int], Iterator[bytes]]:
    def fetch(place: str, length_max: int) -> Iterator[bytes]:
        if place not in files:
            raise FileNotFoundError(place)
        yield files[place]

    return fetch


def _chunks_of(path: Path) -> Chunks:
    def chunks() -> Iterable[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    return chunks


def _since(since: str, central: Operator) -> tuple[set[str], int]:
    """Return the places that the receiver has already, and the snapshot that brought them."""
    if not since:
        return set(), 0
    if since.isdecimal():
        return _brought_by(int(since), central), int(since)
    with Bundle.open(Path(since)) as bundle:
        places = {member.place for member in bundle.index.members}
        brought = {place for place in places if not place.startswith("metadata/")}
        return brought, bundle.index.snapshot_version


def _brought_by(snapshot_version: int, central: Operator) -> set[str]:
    """Return every target and blob that a snapshot led to.

    Nothing here is verified: too much left out is named by whoever imports the bundle.
    """
    places: set[str] = set()
    try:
        snapshot = _read(_snapshot(snapshot_version, central))
        for name, meta in snapshot.meta.items():
            role = _read(central.repository_file(f"metadata/{meta.version}.{name}"))
            for path, target in role.targets.items():
                folder, _, base = path.rpartition("/")
                place = f"targets/{folder}/{target.hashes['sha256']}.{base}"
                places.add(place)
                if "/model/" in path:
                    data = central.repository_file(place)
                    manifest = msgspec.json.decode(data, type=Manifest)
                    places |= {blob_place(member.sha256) for member in manifest.members}
    except FileNotFoundError as error:
        raise UsageError(
            f"central does not keep snapshot {snapshot_version} any more ({error})",
            "name the earlier bundle's file with --since, or leave it out",
        ) from error
    return places


def _snapshot(version: int, central: Operator) -> bytes:
    """Return a snapshot, or the next: one that was signed for a bundle is never served itself."""
    try:
        return central.repository_file(f"metadata/{version}.snapshot.json")
    except FileNotFoundError:
        return central.repository_file(f"metadata/{version + 1}.snapshot.json")


def _read(data: bytes) -> _Signed:
    return msgspec.json.decode(data, type=_Metadata).signed
