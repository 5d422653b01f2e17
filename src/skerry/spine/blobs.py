"""Blobs: files named by the SHA-256 of their bytes, so a mirror or a stick needs no trust.

A blob is written beside its place, hashed as it streams, synced and then renamed: under its
own name there is either nothing or the right bytes. A download that broke off leaves a
partial file, from which the next try goes on.

Units:  bytes. Errors: BlobMismatchError, BlobStoreFullError.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from skerry.base.files import private_folder, sync_folder
from skerry.spine.errors import BlobMismatchError, BlobStoreFullError

CHUNK_BYTES = 1 << 18
_NAME = re.compile(r"[0-9a-f]{64}")


def check_name(sha256: str) -> str:
    """Return the name if it is a SHA-256 in lower-case hex; else it never reaches a path."""
    if not _NAME.fullmatch(sha256):
        raise BlobMismatchError(sha256[:64], "another name", "64 lower-case hex digits")
    return sha256


class BlobStore:
    """One folder of blobs, `<folder>/<sha256>`; partial downloads lie in `<folder>/.partial`."""

    def __init__(self, folder: Path, *, limit_bytes: int = 8 << 30) -> None:
        self._folder = private_folder(folder)
        self._partials = private_folder(folder / ".partial")
        self._limit_bytes = limit_bytes
        for left in self._partials.glob("*.tmp"):
            left.unlink(missing_ok=True)  # a `put` that was killed; downloads end in .part

    def has(self, sha256: str) -> bool:
        """Tell whether the whole blob is here."""
        return (self._folder / check_name(sha256)).is_file()

    def path(self, sha256: str) -> Path:
        """Return where the blob is; raises `KeyError` if it is not here."""
        if not self.has(sha256):
            raise KeyError(sha256)
        return self._folder / sha256

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading; raises `KeyError` if it is not here."""
        return self.path(sha256).open("rb")

    def names(self) -> list[str]:
        """Return the names of all blobs here."""
        return sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file())

    def total_bytes(self) -> int:
        """Return the size of everything here, partial downloads included."""
        folders = (self._folder, self._partials)
        return sum(
            entry.stat().st_size
            for folder in folders
            for entry in os.scandir(folder)
            if entry.is_file()
        )

    def put(self, chunks: Iterable[bytes], *, sha256: str, length: int) -> Path:
        """Store what `chunks` give if it is what its name says; at once if it is here already."""
        if self.has(sha256):
            return self.path(sha256)
        self.check_room(length)
        temporary = self._partials / f"{sha256}.{secrets.token_hex(4)}.tmp"
        try:
            with temporary.open("xb") as file:
                copy_checked(chunks, file, sha256=sha256, length=length)
            return self.adopt(temporary, sha256)
        finally:
            temporary.unlink(missing_ok=True)

    def put_bytes(self, data: bytes) -> str:
        """Store bytes, and return their name."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.put([data], sha256=sha256, length=len(data))
        return sha256

    def remove(self, sha256: str) -> None:
        """Forget a blob; it is no error if it is not here."""
        (self._folder / check_name(sha256)).unlink(missing_ok=True)
        self.partial(sha256).unlink(missing_ok=True)

    # -- for the fetcher ----------------------------------------------------------------------

    def partial(self, sha256: str) -> Path:
        """Return where a download of this blob collects its bytes."""
        return self._partials / f"{check_name(sha256)}.part"

    def check_room(self, length: int) -> None:
        """Raise `BlobStoreFullError` if a blob of this length would pass the limit or the disk."""
        disk = os.statvfs(self._folder)
        free = min(self._limit_bytes - self.total_bytes(), disk.f_bavail * disk.f_frsize)
        if length > free:
            raise BlobStoreFullError(str(self._folder), length, max(0, free))

    def adopt(self, checked: Path, sha256: str) -> Path:
        """Give a file whose bytes were checked its name, for good."""
        target = self._folder / check_name(sha256)
        checked.replace(target)
        sync_folder(self._folder)
        return target


def copy_checked(chunks: Iterable[bytes], file: BinaryIO, *, sha256: str, length: int) -> None:
    """Write chunks to disk, hashing on the way; raises `BlobMismatchError` at the first excess."""
    digest, got = hashlib.sha256(), 0
    for chunk in chunks:
        got += len(chunk)
        if got > length:
            raise BlobMismatchError(sha256, f"more than {length} bytes", f"{length} bytes")
        digest.update(chunk)
        file.write(chunk)
    if got != length:
        raise BlobMismatchError(sha256, f"{got} bytes", f"{length} bytes")
    if digest.hexdigest() != sha256:
        raise BlobMismatchError(sha256, f"SHA-256 {digest.hexdigest()[:12]}", "that of its name")
    file.flush()
    os.fsync(file.fileno())
