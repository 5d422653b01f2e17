"""What a node fetches from its region's mirror: update metadata, targets, blobs.

Blocking, over mutual TLS; the mirror is never trusted: metadata and targets are
verified by the update client, blobs by the digest in a signed manifest.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings
from skerry.schema.model import Manifest, Member
from skerry.spine.blobs import BlobStore
from skerry.spine.errors import BlobFetchError
from skerry.spine.fetch import fetch_blob, fetch_file

REGION = "region"
"""The name of the region's API in the `dial` settings."""
NOT_FOUND = 404


class Mirror:
    """The region's API as one node sees it. Reads the identity afresh at every call."""

    def __init__(self, settings: NodeSettings, files: IdentityFiles) -> None:
        self._files = files
        self._host = settings.region_host
        self.url = region_address(settings)

    def fetch(self, relative_path: str, length_max: int) -> Iterator[bytes]:
        """Yield `metadata/<file>` or `targets/<file>`: the update client's `Fetch`."""
        try:
            yield from fetch_file(
                f"{self.url}/tuf/{quote(relative_path)}",
                ssl_context=self._files.client_tls(),
                server_hostname=self._host,
                length_max=length_max,
            )
        except BlobFetchError as error:
            if error.status == NOT_FOUND:
                raise FileNotFoundError(relative_path) from error
            raise

    def fetch_member(self, member: Member, into: BlobStore) -> Path:
        """Fetch one member of a model, going on where an earlier try broke off."""
        return fetch_blob(
            f"{self.url}/blob/{member.sha256}",
            ssl_context=self._files.client_tls(),
            server_hostname=self._host,
            sha256=member.sha256,
            length=member.length_bytes,
            into=into,
        )


def region_address(settings: NodeSettings) -> str:
    """Return the region's API as this node dials it: through a link where one is set."""
    dial = settings.dial.get(REGION, "")
    return (
        urlsplit(settings.region_url)._replace(netloc=dial).geturl()
        if dial
        else (settings.region_url)
    )


def stage(
    manifest: Manifest, models: Path, blobs: BlobStore, fetch: Callable[[Member, BlobStore], Path]
) -> Path:
    """Bring a whole model version into the repository folder; returns its version folder.

    Members are hard links to blobs, so a version costs no second copy. The folder gets
    its name only when it is whole: after a crash there is all of it or none.
    """
    place = models / manifest.name / str(manifest.version)
    if place.is_dir():
        return place
    half = models / manifest.name / f".{manifest.version}.staging"
    half.mkdir(parents=True, exist_ok=True)
    for member in manifest.members:
        target = half / member.path
        if half.resolve() not in target.resolve().parents:
            raise BlobFetchError(member.path, "a member may not leave its version folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.hardlink_to(fetch(member, blobs))
    half.rename(place)
    return place
