"""A model folder, whole or absent: staged beside its place, then renamed into it.

    <repository>/<name>/<version>/model.onnx, card.json, manifest.json

The layout is Triton's; Triton skips what is not a number beside the versions and what it
does not know inside them. The manifest names every other file by its SHA-256; it is the
document that gets signed, so its own digest is the model's address.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from skerry.base.files import sync_folder
from skerry.learn.errors import DuplicateVersionError, UnusableModelError
from skerry.schema.model import CARD_FILE, CHUNK_BYTES, MODEL_FILE, Card, Manifest, Member, Origin

MANIFEST_FILE = "manifest.json"


@contextmanager
def staged(repository: Path, name: str) -> Iterator[Path]:
    """Give a folder that is gone afterwards, with every trace, unless `put` moved it."""
    home = repository / name
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f".staging-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for empty in (home, repository):  # a failed first version leaves no empty model
            with suppress(OSError):
                empty.rmdir()


def complete(
    folder: Path,
    card: Card,
    files: Sequence[str] = (MODEL_FILE,),
    origin: Origin | None = None,
) -> tuple[Manifest, str]:
    """Write card and manifest beside staged files; returns the manifest and its SHA-256."""
    _write(folder / CARD_FILE, msgspec.json.format(msgspec.json.encode(card), indent=1))
    members = tuple(member(folder, path) for path in (CARD_FILE, *files))
    manifest = Manifest(
        name=card.name,
        version=card.version,
        members=members,
        origin=origin or msgspec.UNSET,
    )
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    _write(folder / MANIFEST_FILE, encoded)
    sync_folder(folder)
    return manifest, hashlib.sha256(encoded).hexdigest()


def put(folder: Path, repository: Path, manifest: Manifest) -> Path:
    """Move a completed folder into its place, and return that place.

    The same bytes again are no change; other bytes under a version that exists raise
    `DuplicateVersionError`.
    """
    target = repository / manifest.name / str(manifest.version)
    refuse_other_bytes(target, manifest, manifest_sha256(folder))
    if target.exists():
        return target
    folder.rename(target)
    sync_folder(target.parent)
    return target


def refuse_other_bytes(target: Path, manifest: Manifest, digest: str) -> None:
    """Raise `DuplicateVersionError` if a version folder exists with another manifest."""
    if target.exists() and manifest_sha256(target) != digest:
        raise DuplicateVersionError(manifest.name, manifest.version, str(target))


def member(folder: Path, path: str) -> Member:
    """Return one file's entry in the manifest."""
    digest, length = hashlib.sha256(), 0
    chunks: list[str] = []
    with (folder / path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            chunks.append(hashlib.sha256(chunk).hexdigest())
            length += len(chunk)
    if len(chunks) < 2:
        return Member(path=path, sha256=digest.hexdigest(), length_bytes=length)
    return Member(
        path=path,
        sha256=digest.hexdigest(),
        length_bytes=length,
        chunk_bytes=CHUNK_BYTES,
        chunks=tuple(chunks),
    )


def read_card(folder: Path) -> Card:
    """Read the card of a version folder."""
    path = folder / CARD_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableModelError(str(path), f"no readable card ({error})", "a card.json") from error


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a version folder."""
    path = folder / MANIFEST_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableModelError(str(path), f"unreadable ({error})", "a manifest") from error


def manifest_sha256(folder: Path) -> str:
    """Return the digest of a version folder's manifest: the model's address."""
    path = folder / MANIFEST_FILE
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UnusableModelError(str(path), "unreadable", "a manifest") from error


def versions(repository: Path) -> list[Path]:
    """Return every version folder that has a card, by name and number."""
    found = [
        path.parent for path in repository.glob(f"*/*/{CARD_FILE}") if path.parent.name.isdigit()
    ]
    return sorted(found, key=lambda path: (path.parent.name, int(path.name)))


def write_model(folder: Path, data: bytes) -> Path:
    """Write the staged model file."""
    path = folder / MODEL_FILE
    _write(path, data)
    return path


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
