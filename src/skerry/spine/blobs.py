"""Blobs: signatures first, bodies follow in the next commit."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO


class BlobStore:
    """Content-addressed files `<folder>/<sha256>`."""

    def __init__(self, folder: Path, *, limit_bytes: int = 8 << 30) -> None:
        raise NotImplementedError

    def has(self, sha256: str) -> bool:
        """Whether the whole blob is here."""
        raise NotImplementedError

    def path(self, sha256: str) -> Path:
        """Where the blob is; `KeyError` if it is not here."""
        raise NotImplementedError

    def put(self, chunks: Iterable[bytes], *, sha256: str, length: int) -> Path:
        """Store; `BlobMismatchError`, `BlobStoreFullError`. Idempotent."""
        raise NotImplementedError

    def put_bytes(self, data: bytes) -> str:
        """Store and return its SHA-256."""
        raise NotImplementedError

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading."""
        raise NotImplementedError

    def remove(self, sha256: str) -> None:
        """Forget one."""
        raise NotImplementedError

    def names(self) -> list[str]:
        """All names."""
        raise NotImplementedError
