"""Two machines with one identity: one login that is alive on two connections at once.

A renewal brings a key of its own, so a key is used twice in three cases: its process dialled
again and the old connection is not dead yet (then nothing comes over the old one any more), or
two machines hold copies. In the second case both must lose the login; the one with the
enrolment key gets another.

Units:   seconds since 1970, as the NATS server notes them.
"""

from collections.abc import Iterable
from itertools import pairwise

from skerry.spine.nats_admin import LiveConnection

REASON = "IDENTITY_CLONED"
OVERLAP_S = 1.0
"""How much later something must come over an older connection for both to count as alive."""


def cloned(connections: Iterable[LiveConnection]) -> set[str]:
    """Return the user keys that are alive on more than one connection."""
    by_key: dict[str, list[LiveConnection]] = {}
    for one in connections:
        by_key.setdefault(one.public, []).append(one)
    return {key for key, held in by_key.items() if _overlap(held)}


def _overlap(held: list[LiveConnection]) -> bool:
    held.sort(key=lambda one: one.began_unix_s)
    return any(
        older.active_unix_s > newer.began_unix_s + OVERLAP_S for older, newer in pairwise(held)
    )
