"""What a node has already seen and accepted: it never goes back below this.

Two copies are kept, written one after the other; reading takes the higher value of each and makes
them equal again, so one torn or lost file lowers nothing. Where the machine has a TPM, a counter
in it stands beside `min_release`: that one survives a disk that was wiped or put back.

Units:   `time_s` is unix seconds.
Errors:  ClockBack, UpdateRollback, ReleaseBelowFloor.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from skerry.base.files import write_private
from skerry.base.units import SECONDS_PER_DAY
from skerry.trust.errors import ClockBack, ReleaseBelowFloor, UpdateRollback

WHAT = "the fleet's signed state"
CLOCK_SLACK_S = 300.0  # what a time service may step back without a word
STALE_S = 3 * SECONDS_PER_DAY

_FILES = ("floor.json", "floor-2.json")


class NvCounter(Protocol):
    """A number in the machine's TPM: it only rises, whatever happens to the disk."""

    def read(self) -> int:
        """Return the number; 0 if it was never raised. Raises `TrustError`."""
        ...

    def raise_to(self, count: int) -> int:
        """Raise it to `count` if it is lower; return what it is then. Raises `TrustError`."""
        ...


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of metadata, generations of documents, and a time that is known to be past."""

    time_s: float = 0.0
    versions: dict[str, int] = {}
    generations: dict[str, int] = {}
    online_keys: list[str] = []
    """Key ids of snapshot and timestamp that the versions were counted under."""
    min_release: int = 0
    """The lowest release that may still be installed."""

    def with_versions(self, versions: dict[str, int], keys: list[str], time_s: float) -> "Floor":
        """Return a floor at these versions."""
        return msgspec.structs.replace(self, versions=versions, online_keys=keys, time_s=time_s)

    def with_generation(self, name: str, generation: int) -> "Floor":
        """Return a floor with one generation more."""
        return msgspec.structs.replace(self, generations=self.generations | {name: generation})

    def with_min_release(self, release: int) -> "Floor":
        """Return a floor below which no release is installed."""
        return msgspec.structs.replace(self, min_release=max(self.min_release, release))


def read_floor(folder: Path) -> Floor:
    """Read the floor from whichever copies are whole, and mend the other."""
    copies = []
    for name in _FILES:
        try:
            copies.append(msgspec.json.decode((folder / name).read_bytes(), type=Floor))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
    if not copies:
        return Floor()
    newest = max(copies, key=lambda floor: (floor.versions.get("root", 0), floor.time_s))
    generations: dict[str, int] = {}
    for floor in copies:
        for key, value in floor.generations.items():
            generations[key] = max(value, generations.get(key, 0))
    min_release = max(floor.min_release for floor in copies)
    whole = msgspec.structs.replace(newest, generations=generations, min_release=min_release)
    if copies != [whole] * len(_FILES):
        write_floor(folder, whole)
    return whole


def write_floor(folder: Path, floor: Floor) -> None:
    """Write both copies, each whole or not at all."""
    data = msgspec.json.encode(floor)
    for name in _FILES:
        write_private(folder / name, data)


def check_clock(floor: Floor, now_s: float) -> None:
    """Refuse a clock that stands before a time known to be past: expired things would pass."""
    back_s = floor.time_s - now_s
    if back_s > CLOCK_SLACK_S:
        past = datetime.fromtimestamp(floor.time_s, UTC)
        why = f"the clock is {back_s:.0f} s before {past:%Y-%m-%d %H:%M} UTC, known to be past"
        raise ClockBack(WHAT, why)


def time_known(before_s: float, issued_s: float, now_s: float) -> float:
    """Return the latest time that is known to be past, after a good check.

    It is when central signed, not what the clock here says: a clock that ran ahead for a while
    would else lock the node out once it is right again. What was signed without a time counts as
    of now, and no signature makes the future past.
    """
    return max(before_s, min(issued_s, now_s) if issued_s > 0 else now_s)


def check_versions(known: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Refuse a role whose version is lower than one that was seen before, or that is gone."""
    for role, version in known.items():
        if found.get(role, 0) < version:
            why = f"{role} version {found.get(role, 0)}, and {version} was seen before"
            raise UpdateRollback(WHAT, why)


def check_release(path: str, release: int, least: int) -> None:
    """Refuse an artifact of a release below the floor, however validly it is signed."""
    if release < least:
        raise ReleaseBelowFloor(path, f"it is of release {release}, and {least} is the lowest")


def is_stale(age_s: float) -> bool:
    """Tell whether the last good news is so old that somebody may be holding news back."""
    return age_s > STALE_S
