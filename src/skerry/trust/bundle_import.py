"""Taking a bundle in: what was found good goes into a repository folder, its blobs into a store.

    verify -> noted in the ledger -> blobs, each checked -> files -> timestamp last -> floors

The folder is a region's mirror, or a node's own small one. Whatever dies in between leaves the
old state or the new one; done again, it goes on with what is missing.

Errors:  those of `bundle_check`, UpdateRollback where the folder is newer, BundleElsewhere,
         LedgerError: then nothing was taken in.
"""

import getpass
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.files import private_folder, write_atomic
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.trust.bundle import Bundle, blob_place, is_place
from skerry.trust.bundle_check import TIMESTAMP, Verified, check_blobs, first_of, targets_of, verify
from skerry.trust.bundle_errors import BundleElsewhere, BundleUnreadable
from skerry.trust.errors import TrustError, UpdateRollback
from skerry.trust.floor import write_floor
from skerry.trust.roles import read_metadata
from skerry.trust.update_client import Fetch


class Blobs(Protocol):
    """Where model bytes go."""

    def has(self, sha256: str) -> bool:
        """Tell whether the whole blob is here."""
        ...

    def put(self, chunks: Iterable[bytes], *, sha256: str, length: int) -> object:
        """Keep a blob if it is what its name says."""
        ...


def take(
    bundle: Bundle,
    repository: Path,
    blobs: Blobs,
    *,
    here: str,
    for_here: Callable[[str, str], bool],
    bootstrap_root: bytes,
    floors: Path,
    clock: Clock,
    keep_floors: bool,
    note: Callable[[AuditEvent], object],
    also_has: Callable[[str], bool] = lambda _: False,
    also_here: Fetch | None = None,
) -> Verified:
    """Verify a bundle and put what it brings for here into a repository folder and a blob store.

    `for_here(site, region)` says which sites' documents belong here, and `here` names the
    place. `also_has` and `also_here` tell of blobs and targets that lie elsewhere on this
    machine. `floors` is the folder of an update client; with `keep_floors` they are raised to
    what was taken, without it their owner will do so when it takes the state itself. `note`
    writes down that it is taken in, before it is, or that it is refused; if it raises, nothing is.
    """
    try:
        found = _good(
            bundle,
            repository,
            here=here,
            for_here=for_here,
            bootstrap_root=bootstrap_root,
            floors=floors,
            clock=clock,
            also_here=also_here,
        )
        missing = check_blobs(bundle, found, lambda name: blobs.has(name) or also_has(name))
    except TrustError as error:
        note(event_of(bundle, AuditOutcome.REFUSED, reason=error.reason, text=str(error)))
        raise
    note(event_of(bundle, AuditOutcome.DONE, text="a bundle is taken in"))
    try:
        _put(bundle, found, missing, repository, blobs)
    except SkerryError as error:
        note(event_of(bundle, AuditOutcome.FAILED, text=str(error)))
        raise
    if keep_floors:
        write_floor(private_folder(floors), found.floor)
    return found


def _put(
    bundle: Bundle, found: Verified, missing: Iterable[str], repository: Path, blobs: Blobs
) -> None:
    for sha256 in missing:
        blobs.put(bundle.chunks(blob_place(sha256)), sha256=sha256, length=found.blobs()[sha256])
    for place, data in found.files.items():  # the timestamp is the last of them
        if not is_place(place):
            raise BundleUnreadable(bundle.name, f"a file belongs at {place[:80]!r}")
        path = repository / place
        private_folder(path.parent)
        write_atomic(path, data)


def event_of(bundle: Bundle, outcome: AuditOutcome, *, text: str, reason: str = "") -> AuditEvent:
    """Return what the ledger says of a bundle that somebody brought."""
    return AuditEvent(
        kind=AuditKind.UPDATE,
        outcome=outcome,
        actor=getpass.getuser(),
        target=f"bundle {bundle.name}",
        reason=reason,
        text=text,
        fields={
            "snapshot": str(bundle.index.snapshot_version),
            "sites": " ".join(bundle.index.sites)[:500],
        },
    )


def _good(
    bundle: Bundle,
    repository: Path,
    *,
    here: str,
    for_here: Callable[[str, str], bool],
    bootstrap_root: bytes,
    floors: Path,
    clock: Clock,
    also_here: Fetch | None,
) -> Verified:
    """Verify a bundle; what is wrong with it leaves as an error of its own."""
    source = first_of(bundle.fetch, *([also_here] if also_here else []), targets_of(repository))
    found = verify(
        source,
        bundle.index.sites,
        name=bundle.name,
        bootstrap_root=bootstrap_root,
        clock=clock,
        floors=floors,
    )
    check_for_here(bundle, found, here, for_here)
    check_not_older(repository, found)
    return found


def check_for_here(
    bundle: Bundle, found: Verified, here: str, for_here: Callable[[str, str], bool]
) -> None:
    """Refuse a bundle without a document for this place."""
    if not any(for_here(site, one.desired.region) for site, one in found.accepted.items()):
        raise BundleElsewhere(bundle.name, bundle.index.sites, here)


def check_not_older(repository: Path, found: Verified) -> None:
    """Refuse to put an older timestamp in place of a newer one, unless root was replaced since."""
    held = repository / TIMESTAMP
    if not held.exists():
        return
    before = read_metadata("timestamp", held.read_bytes()).signed.version
    now = read_metadata("timestamp", found.files[TIMESTAMP]).signed.version
    newest_root = max(_root_versions(found.files), default=0)
    if now < before and not (newest_root and not (repository / _root(newest_root)).exists()):
        why = f"its timestamp has version {now}, and {before} is here"
        raise UpdateRollback("the bundle's signed state", why)


def _root(version: int) -> str:
    return f"metadata/{version}.root.json"


def _root_versions(places: Iterable[str]) -> list[int]:
    return [
        int(place.removeprefix("metadata/").partition(".")[0])
        for place in places
        if place.endswith(".root.json")
    ]
