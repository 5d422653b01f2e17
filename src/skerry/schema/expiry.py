"""What ends in a fleet and when: signed roles, certificates, logins; and how near that is.

Units:  unix seconds, seconds; `ends_unix_s` 0 for what never ends, `life_s` 0 where it is unknown.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from skerry.base.units import SECONDS_PER_DAY

SOON_RATIO = 1 / 6
SOON_S_MAX = 90 * SECONDS_PER_DAY
SOON_S_UNKNOWN = 30 * SECONDS_PER_DAY
LATE_RATIO = 1 / 4
"""Renewal starts at half of a life: with a quarter left, it has failed for a while."""


class Ending(StrEnum):
    """How an end looks from now. Stable words: alarms and searches name them."""

    FAR = "ok"
    SOON = "ENDS_SOON"
    """People have to renew it, and less than a sixth of its life (at most 90 days) is left."""
    LATE = "RENEWAL_LATE"
    """It should have renewed itself by now."""
    ENDED = "ENDED"


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that ends."""

    kind: str
    """`role`, `root`, `authority`, `certificate` or `login`."""
    name: str
    ends_unix_s: float
    life_s: float = 0.0
    renews_itself: bool = False
    text: str = ""
    """What else is known of it: version, threshold, holders."""


class ExpiriesReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/expiries`: everything that ends and that this process knows of."""

    expiries: tuple[Expiry, ...]


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should look at soon."""

    word: str
    """Stable: `ENDS_SOON`, `RENEWAL_LATE`, `ENDED`."""
    what: str
    text: str


def alarms(expiries: Sequence[Expiry], now_unix_s: float) -> tuple[Alarm, ...]:
    """Return an alarm for each end that is near, the nearest first."""
    found = []
    for one in sorted(expiries, key=lambda one: one.ends_unix_s):
        word = ending(one, now_unix_s)
        if word is not Ending.FAR:
            what = f"{one.kind} {one.name}"
            found.append(Alarm(word=word, what=what, text=left_text(one, now_unix_s)))
    return tuple(found)


def left_text(expiry: Expiry, now_unix_s: float) -> str:
    """Return how long something still lives, in the unit that fits."""
    if not expiry.ends_unix_s:
        return "never ends"
    left_s = expiry.ends_unix_s - now_unix_s
    size_s = abs(left_s)
    for unit, unit_s in (("d", SECONDS_PER_DAY), ("h", 3600.0), ("min", 60.0)):
        if size_s >= 2 * unit_s:
            span = f"{size_s / unit_s:.0f} {unit}"
            break
    else:
        span = f"{size_s:.0f} s"
    return f"{span} left" if left_s > 0 else f"ended {span} ago"


def ending(expiry: Expiry, now_unix_s: float) -> Ending:
    """Say how near an end is."""
    if not expiry.ends_unix_s:
        return Ending.FAR
    left_s = expiry.ends_unix_s - now_unix_s
    if left_s <= 0:
        return Ending.ENDED
    if expiry.renews_itself:
        return Ending.LATE if left_s < expiry.life_s * LATE_RATIO else Ending.FAR
    soon_s = min(expiry.life_s * SOON_RATIO, SOON_S_MAX) if expiry.life_s else SOON_S_UNKNOWN
    return Ending.SOON if left_s < soon_s else Ending.FAR
