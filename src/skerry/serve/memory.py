"""Bounded memory of loaded models: which versions give way when another one needs room.

Least recently used first, pinned ones never. Plain numbers in and out; the repository
acts on the answer.

Units:   bytes; seconds on the clock's monotonic scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One loaded version, as the choice sees it."""

    memory_bytes: int
    used_at_s: float
    """When a request for it last came, or when it was loaded."""
    pinned: bool = False


def give_way(held: Sequence[Held], need_bytes: int, limit_bytes: int) -> list[int] | None:
    """Return the places in `held` to unload, first one first, so that `need_bytes` more fit.

    None where there is no room even without all that may go; then nothing should go.
    """
    over_bytes = sum(one.memory_bytes for one in held) + need_bytes - limit_bytes
    going: list[int] = []
    for place in sorted(range(len(held)), key=lambda place: held[place].used_at_s):
        if over_bytes <= 0:
            break
        if not held[place].pinned:
            going.append(place)
            over_bytes -= held[place].memory_bytes
    return going if over_bytes <= 0 else None
