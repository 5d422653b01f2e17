"""A bundle held against the same checks as the network: what it holds is what a node would take.

To check is to run a node's update client with the bundle as its mirror, once for each site: the
same signatures, thresholds, versions, dates, floors and paths, by the same code. What that run
asked for is what the bundle is for; anything else in it is never looked at.

Errors:  UpdateRefused and its subclasses, BundleShort.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from skerry.base.clock import Clock
from skerry.schema.desired import desired_target
from skerry.trust.acceptance import AcceptedDesired, accept_desired
from skerry.trust.bundle import Bundle, blob_place
from skerry.trust.bundle_errors import BundleShort
from skerry.trust.errors import TargetForged, UpdateUnreachable
from skerry.trust.floor import Floor, read_floor, write_floor
from skerry.trust.roles import read_metadata
from skerry.trust.update_client import Fetch, UpdateClient

TIMESTAMP = "metadata/timestamp.json"


@dataclass(slots=True)
class Verified:
    """What was found good: documents by site, the files they came in, and the blobs they name."""

    accepted: dict[str, AcceptedDesired] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    """Every metadata and target file that the checks asked for, by place; timestamp last."""
    snapshot_version: int = 0
    floor: Floor = field(default_factory=Floor)
    """Where the floors stand once this is taken."""

    def blobs(self) -> dict[str, int]:
        """Return the digest and length of every blob that the documents lead to."""
        return {
            member.sha256: member.length_bytes
            for one in self.accepted.values()
            for manifest in one.manifests.values()
            for member in manifest.members
        }


@dataclass(slots=True)
class _Recording:
    """A `Fetch` that keeps what it handed out, and what it did not have."""

    source: Fetch
    files: dict[str, bytes] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def fetch(self, place: str, length_max: int) -> Iterator[bytes]:
        """Hand out a file of the source."""
        data = bytearray()
        try:
            for chunk in self.source(place, length_max):
                data += chunk
                yield chunk
        except FileNotFoundError:
            if not place.endswith(".root.json"):  # the root after the last is asked for, always
                self.absent.append(place)
            raise
        self.files[place] = bytes(data)


def verify(
    source: Fetch,
    sites: Sequence[str],
    *,
    name: str,
    bootstrap_root: bytes,
    clock: Clock,
    floors: Path | None = None,
) -> Verified:
    """Take the signed state of these sites from a source as a node would, and return it.

    `floors` is the folder of an update client whose floors hold here too; nothing is written
    there. Raises what a node would refuse it with, or `BundleShort` with the `name` of
    the source.
    """
    with tempfile.TemporaryDirectory(prefix="skerry-bundle-") as scratch:
        folder = Path(scratch)
        copy_floors(floors, folder)
        recording = _Recording(source)
        client = UpdateClient(folder, bootstrap_root, recording.fetch, clock)
        found = Verified()
        try:
            found.snapshot_version = client.refresh().snapshot_version
            for site in sites:
                if client.target_sha256(desired_target(site)) is not None:
                    found.accepted[site] = accept_desired(client, site)
            client.read_bins()
        except UpdateUnreachable as error:
            if recording.absent:
                raise BundleShort(name, recording.absent) from error
            raise
        found.files = recording.files
        found.files[TIMESTAMP] = found.files.pop(TIMESTAMP)
        found.floor = read_floor(folder)
        return found


def good_until_unix_s(files: Mapping[str, bytes]) -> float:
    """Return when the first signature ends among the newest metadata of each role."""
    newest: dict[str, Any] = {}
    for place, data in files.items():
        if place.startswith("metadata/"):
            role = place.removeprefix("metadata/").removesuffix(".json").rpartition(".")[2]
            signed = read_metadata(role, data).signed
            if role not in newest or signed.version > newest[role].version:
                newest[role] = signed
    return float(min(signed.expires.timestamp() for signed in newest.values()))


def copy_floors(source: Path | None, folder: Path) -> None:
    """Let the floors of one update client hold for another."""
    if source is not None:
        write_floor(folder, read_floor(source))


def check_bundle(
    bundle: Bundle, *, bootstrap_root: bytes, clock: Clock, earlier: Bundle | None = None
) -> Verified:
    """Verify a bundle alone, or on top of the earlier one whose content it leaves out."""
    found = verify(
        bundle.fetch if earlier is None else first_of(bundle.fetch, earlier.fetch),
        bundle.index.sites,
        name=bundle.name,
        bootstrap_root=bootstrap_root,
        clock=clock,
    )
    for sha256 in check_blobs(
        bundle, found, lambda name: earlier is not None and earlier.has(blob_place(name))
    ):
        _check_blob(bundle, sha256)
    return found


def _check_blob(bundle: Bundle, sha256: str) -> None:
    digest = hashlib.sha256()
    for chunk in bundle.chunks(blob_place(sha256)):
        digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise TargetForged(blob_place(sha256), "its bytes are not those that were signed")


def first_of(*sources: Fetch) -> Fetch:
    """Return a source that asks each in turn until one has the file."""

    def fetch(place: str, length_max: int) -> Iterator[bytes]:
        for source in sources[:-1]:
            try:
                first = next(chunks := iter(source(place, length_max)), b"")
            except FileNotFoundError:
                continue
            yield first
            yield from chunks
            return
        yield from sources[-1](place, length_max)

    return fetch


def targets_of(folder: Path) -> Fetch:
    """Return a source of a repository folder's targets; metadata comes from the bundle alone."""

    def fetch(place: str, length_max: int) -> Iterator[bytes]:
        if not place.startswith("targets/"):
            raise FileNotFoundError(place)
        yield (folder / place).read_bytes()

    return fetch


def kept_by(client_folder: Path) -> Fetch:
    """Return a source of the targets that an update client keeps in its folder."""

    def fetch(place: str, length_max: int) -> Iterator[bytes]:
        folder, _, base = place.removeprefix("targets/").rpartition("/")
        path = f"{folder}/{base.partition('.')[2]}"
        yield (client_folder / "targets" / quote(path, safe="")).read_bytes()

    return fetch


def check_blobs(bundle: Bundle, found: Verified, here: Callable[[str], bool]) -> list[str]:
    """Return the digests of the blobs to take out of the bundle.

    Raises `BundleShort` where a document names one that is neither in it nor here, or
    that lies in it with another length.
    """
    lengths = {member.place: member.length_bytes for member in bundle.index.members}
    wanted, missing = [], []
    for sha256, length in found.blobs().items():
        place = blob_place(sha256)
        if here(sha256):
            continue
        if bundle.has(place) and lengths[place] == length:
            wanted.append(sha256)
        else:
            missing.append(place)
    check_whole(bundle, missing)
    return wanted


def check_whole(bundle: Bundle, missing: list[str]) -> None:
    """Refuse a bundle that leaves something missing: what is switched over is whole."""
    if missing:
        raise BundleShort(bundle.name, missing)
