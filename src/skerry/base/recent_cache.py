"""A cache of what was used lately, bounded by bytes, that costs one dictionary look-up.

Two generations: what is put in goes to the young one, and when that is full it becomes
the old one, whose predecessor is dropped. A find in the old one moves back to the young.
So what is in use stays, and a flood of keys that never come back turns nothing but the
generations over.

Units:   bytes, as stated by whoever puts something in.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class RecentCache(Generic[Key, Value]):
    """Holds at most about `bytes_max` of keys and values, half of it in each generation."""

    def __init__(self, bytes_max: int) -> None:
        self.young: dict[Key, Value] = {}
        """For a look-up where every 0.1 us counts: a miss here says nothing, `get` does."""
        self._old: dict[Key, Value] = {}
        self._sizes: dict[Key, int] = {}
        self._old_sizes: dict[Key, int] = {}
        self._young_bytes = 0
        self._generation_bytes_max = bytes_max // 2

    def get(self, key: Key) -> Value | None:
        """Return what is kept for a key, or None."""
        found = self.young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found, self._old_sizes[key])
        return found

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value; `size` is what key and value take. One too large is not kept."""
        if size > self._generation_bytes_max:
            return
        if self._young_bytes + size > self._generation_bytes_max:
            self._old, self._old_sizes = self.young, self._sizes
            self.young, self._sizes = {}, {}
            self._young_bytes = 0
        self._young_bytes += size - self._sizes.get(key, 0)
        self.young[key] = value
        self._sizes[key] = size

    def __len__(self) -> int:
        """Return how many are kept; one in both generations counts twice."""
        return len(self.young) + len(self._old)
