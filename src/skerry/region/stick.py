"""Taking a bundle in at a region: into the mirror and the blobs that its nodes fetch from.

The region's process may run meanwhile; nodes find what is new at their next look. The region
keeps floors of its own for bundles: it refuses an older one before any node is asked to.

Errors:  those of `skerry.trust.bundle_import`.
"""

from pathlib import Path

from skerry.base.clock import Clock
from skerry.region.settings import RegionFolder, read_settings
from skerry.spine.blobs import BlobStore
from skerry.trust.bundle import Bundle
from skerry.trust.bundle_check import Verified
from skerry.trust.bundle_import import take
from skerry.trust.ledger_beside import note_beside
from skerry.trust.spiffe import region_id


def bring(bundle: Bundle, state: Path, clock: Clock) -> Verified:
    """Take a bundle in at the region of a state folder."""
    folder = RegionFolder(state)
    settings = read_settings(folder.settings)
    name = str(region_id(settings.domain, settings.region))
    return take(
        bundle,
        folder.mirror,
        BlobStore(folder.blobs, limit_bytes=settings.blobs_bytes_max),
        here=settings.region,
        for_here=lambda _, region: region == settings.region,
        bootstrap_root=folder.tuf_root.read_bytes(),
        floors=folder.stick,
        clock=clock,
        keep_floors=True,
        note=lambda event: note_beside(folder.audit, name, event, clock),
    )
