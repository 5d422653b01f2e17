"""Downloads over mutual TLS: signatures first, bodies follow in the next commit. Plain blocking calls (use a thread)."""

import ssl
from collections.abc import Iterator
from pathlib import Path

from skerry.spine.blobs import BlobStore

RATE_MIN_BYTES_PER_S = 4096.0


def fetch_blob(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    sha256: str,
    length: int,
    into: BlobStore,
    deadline_s: float = 600.0,
    rate_min_bytes_per_s: float = RATE_MIN_BYTES_PER_S,
) -> Path:
    """Fetch a blob, resuming a partial one; `BlobFetchError`, `BlobMismatchError`. At once if it is here."""
    raise NotImplementedError


def fetch_file(
    url: str,
    *,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None,
    length_max: int,
    deadline_s: float = 30.0,
    rate_min_bytes_per_s: float = RATE_MIN_BYTES_PER_S,
) -> Iterator[bytes]:
    """Yield a small file's bytes; `BlobFetchError` (its `status` is the HTTP status, 0 if none came)."""
    raise NotImplementedError
