"""Model bytes at a region: fetched from central once, however many nodes ask, and kept.

Only blobs that a carried manifest names are fetched, so nobody can fill the disk by asking.

Errors:  BlobFetchError, BlobMismatchError, BlobStoreFullError; the next caller tries again.
"""

from collections.abc import Callable
from pathlib import Path

import anyio
from anyio import to_thread

from skerry.region.upstream import Upstream
from skerry.spine.blobs import BlobStore


class BlobCache:
    """A blob store with central behind it."""

    def __init__(
        self, store: BlobStore, upstream: Upstream, length_of: Callable[[str], int | None]
    ) -> None:
        self._store, self._upstream, self._length_of = store, upstream, length_of
        self._flights: dict[str, anyio.Lock] = {}
        self.fetched = 0
        """Blobs that came from central since the process began."""

    async def path(self, sha256: str) -> Path | None:
        """Return where a blob is, fetching it if need be; None if no manifest names it."""
        if self._store.has(sha256):
            return self._store.path(sha256)
        length = self._length_of(sha256)
        if length is None:
            return None
        # Those who come while one fetches wait here and then find it.
        async with self._flights.setdefault(sha256, anyio.Lock()):
            if not self._store.has(sha256):
                await to_thread.run_sync(self._upstream.blob, sha256, length, self._store)
                self.fetched += 1
        self._flights.pop(sha256, None)
        return self._store.path(sha256)
