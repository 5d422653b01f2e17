"""Bring a backup back into service: its files, and for central numbers that nodes still take.

Nodes never go back below what they have seen. A central that was restored from yesterday counts on
from far above, and every site's document is sealed again under a newer number. What offline roles
signed since the backup it does not have; a region's mirror does, and may be named. It also knows
of hash bins that a fleet which grew since has by now.

Errors:  BackupError, SealError, PublishError.
"""

from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.central.settings import CentralFolder
from skerry.central.sqlite_store import SqliteStore
from skerry.central.store import Sealed
from skerry.local.backup import restore_files
from skerry.schema.backup import BackupManifest, BackupOf
from skerry.schema.desired import Desired, desired_target
from skerry.trust.bins import count_in
from skerry.trust.ledger import begin_again
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OnlineKeys, read_metadata

AHEAD = 100_000
"""How many numbers a restored central leaves out: more than it can have used since the backup."""
_OFFLINE = ("targets", "models", "canary")


def restore(
    path: Path,
    state: Path,
    *,
    passphrase: str | None,
    clock: Clock,
    mirror: Path | None = None,
) -> BackupManifest:
    """Restore a backup into an empty folder; central's numbers go ahead of what nodes have seen."""
    manifest = restore_files(path, state, passphrase=passphrase)
    begin_again(state / "audit", clock, f"restored from {path.name}")
    if manifest.of is BackupOf.CENTRAL:
        place = CentralFolder(state)
        publisher = Publisher.open(place.repository, OnlineKeys.load(place.online_keys), clock)
        store = SqliteStore(place.store)
        try:
            store.go_ahead(AHEAD)
            again = [_renumbered(store, sealed) for sealed in store.sealed().values()]
            publisher.go_ahead(
                AHEAD,
                {desired_target(one.site): one.document for one in again},
                _offline_roles(mirror) if mirror is not None else {},
                bins_min=_bins_of(mirror) if mirror is not None else 0,
            )
            for one in again:
                store.put_sealed(one)
        finally:
            store.close()
    return manifest


def _renumbered(store: SqliteStore, sealed: Sealed) -> Sealed:
    """Return what a site has, under a generation that no node has seen."""
    generation = store.next_generation()
    document = msgspec.json.decode(sealed.document, type=Desired)
    document = msgspec.structs.replace(document, generation=generation)
    return msgspec.structs.replace(
        sealed, generation=generation, document=msgspec.json.encode(document)
    )


def _offline_roles(mirror: Path) -> dict[str, tuple[bytes, dict[str, bytes]]]:
    """Return the newest offline roles of a region's mirror, each with the files that it lists."""
    found: dict[str, tuple[bytes, dict[str, bytes]]] = {}
    for role in _OFFLINE:
        versions = {
            int(file.name.partition(".")[0]): file
            for file in (mirror / "metadata").glob(f"*.{role}.json")
            if file.name.partition(".")[0].isdigit()
        }
        if not versions:
            continue
        data = versions[max(versions)].read_bytes()
        files: dict[str, bytes] = {}
        for path, target in read_metadata(role, data).signed.targets.items():
            folder, _, name = path.rpartition("/")
            place = mirror / "targets" / folder / f"{target.hashes.get('sha256', '')}.{name}"
            if place.is_file():
                files[path] = place.read_bytes()
        found[role] = data, files
    return found


def _bins_of(mirror: Path) -> int:
    """Return how many hash bins the nodes behind a mirror have seen: they never want fewer."""
    return count_in({file.name.split(".")[1] for file in (mirror / "metadata").glob("*.*.json")})
