"""What a node fetches from its region's mirror: update metadata, targets, blobs.

Blocking, over mutual TLS; the mirror is never trusted: metadata and targets are
verified by the update client, blobs by the digest in a signed manifest.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from skerry.base.files import sync_folder, write_atomic
from skerry.node.errors import StageError
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings
from skerry.node.stick import Stick
from skerry.schema.model import Manifest, Member
from skerry.spine.blobs import BlobStore
from skerry.spine.errors import (
    BlobFetchError,
    BlobMismatchError,
    BlobSlowError,
    BlobTooLongError,
)
from skerry.spine.fetch import Chunks, fetch_blob, fetch_file
from skerry.trust.update_client import Fetch

REGION = "region"
"""The name of the region's API in the `dial` settings."""
NOT_FOUND = 404
MARKER = ".manifest.json"
"""Beside the members of a version folder: which signed manifest it was made from."""


class Source:
    """One server with the fleet's files, as one node sees it."""

    def __init__(self, url: str, host: str, files: IdentityFiles) -> None:
        self.url, self._host, self._files = url.rstrip("/"), host, files

    def fetch(self, relative_path: str, length_max: int) -> Iterator[bytes]:
        """Yield `metadata/<file>` or `targets/<file>`: the update client's `Fetch`."""
        try:
            yield from fetch_file(
                f"{self.url}/tuf/{quote(relative_path)}",
                ssl_context=self._files.client_tls(),
                server_hostname=self._host,
                length_max=length_max,
            )
        except BlobSlowError as error:
            raise TimeoutError(str(error)) from error
        except BlobTooLongError as error:
            raise OverflowError(str(error)) from error
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
            chunks=Chunks(member.chunk_bytes, member.chunks) if member.chunks else None,
        )


class Mirror:
    """Everything with the fleet's files: the region's API, servers of the settings, a stick.

    Reads the identity afresh at every call.
    """

    def __init__(
        self, settings: NodeSettings, files: IdentityFiles, stick: Stick | None = None
    ) -> None:
        self._stick = stick
        self._sources = [Source(region_address(settings), settings.region_host, files)]
        self._sources += [
            Source(mirror.url, mirror.host or settings.region_host, files)
            for mirror in settings.mirrors
        ]

    @property
    def fetches(self) -> list[Fetch]:
        """Return how the update client asks each of them, in this order."""
        return [*(source.fetch for source in self._sources), self._fetch_brought]

    def _fetch_brought(self, relative_path: str, length_max: int) -> Iterator[bytes]:
        if self._stick is None or not self._stick.holds:
            raise BlobFetchError("stick", "none was brought, or what it holds has ended")
        yield from self._stick.fetch(relative_path, length_max)

    def fetch_member(self, member: Member, into: BlobStore) -> Path:
        """Fetch one member of a model from the first source that has it whole.

        What one source gave is kept where the next goes on. Raises the first one's error.
        """
        if self._stick is not None:
            brought = self._stick.blob(member.sha256, into)
            if brought is not None:
                return brought
        failures: list[BlobFetchError | BlobMismatchError] = []
        for source in self._sources:
            try:
                return source.fetch_member(member, into)
            except (BlobFetchError, BlobMismatchError) as error:
                failures.append(error)
        raise failures[0]


def region_address(settings: NodeSettings) -> str:
    """Return the region's API as this node dials it: through a link where one is set."""
    dial = settings.dial.get(REGION, "")
    return (
        urlsplit(settings.region_url)._replace(netloc=dial).geturl()
        if dial
        else (settings.region_url)
    )


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """What a version folder was made from, as its marker file says."""

    manifest_sha256: str
    manifest: Manifest


def stage(manifest: Manifest, manifest_sha256: str, models: Path, blobs: BlobStore) -> Path:
    """Make a version folder from blobs that are here; returns it.

    Members are hard links to blobs, so a version costs no second copy. The folder gets
    its name only when it is whole: after a crash there is all of it or none. Raises
    `StageError` where the same version is here with other bytes.
    """
    place = models / manifest.name / str(manifest.version)
    if place.is_dir():
        if staged(place).manifest_sha256 != manifest_sha256:
            raise StageError(str(place), "this version is here with other bytes")
        return place
    half = models / manifest.name / f".{manifest.version}.staging"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for member in manifest.members:
        target = half / member.path
        if half.resolve() not in target.resolve().parents:
            raise StageError(member.path, "a member may not leave its version folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(blobs.path(member.sha256))
    marker = Staged(manifest_sha256=manifest_sha256, manifest=manifest)
    write_atomic(half / MARKER, msgspec.json.encode(marker))
    half.rename(place)
    sync_folder(place.parent)
    return place


def staged(place: Path) -> Staged:
    """Return what a version folder was made from; raises `StageError` for one without marker."""
    try:
        return msgspec.json.decode((place / MARKER).read_bytes(), type=Staged)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StageError(str(place), f"is no version folder of ours: {error}") from error


def versions_here(models: Path) -> list[tuple[Path, Staged]]:
    """Return every version folder of ours and what it was made from."""
    found = []
    for place in sorted(models.glob("*/[0-9]*")):
        try:
            found.append((place, staged(place)))
        except StageError:
            continue  # not ours: it is neither used nor touched
    return found


def drop(place: Path) -> None:
    """Remove a version folder; killed half way, it no longer counts as one."""
    gone = place.parent / f".{place.name}.dropped"
    shutil.rmtree(gone, ignore_errors=True)
    if place.exists():
        place.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def intact(place: Path, manifest: Manifest) -> bool:
    """Tell whether a version folder holds the bytes that its signed manifest names."""
    try:
        for member in manifest.members:
            with (place / member.path).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != member.sha256:
                    return False
    except OSError:
        return False
    return True
