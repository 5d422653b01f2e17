"""What a node has already seen and accepted: it never goes back below this.

Two copies are kept, written one after the other; reading takes the higher value of each, so one
torn or lost file lowers nothing.

Units:   `time_s` is unix seconds.
"""

from pathlib import Path

import msgspec

from skerry.base.files import write_private

_FILES = ("floor.json", "floor-2.json")


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of metadata, generations of documents, and the last time that was trusted."""

    time_s: float = 0.0
    versions: dict[str, int] = {}
    generations: dict[str, int] = {}
    online_keys: list[str] = []
    """Key ids of snapshot and timestamp that the versions were counted under."""

    def with_versions(self, versions: dict[str, int], keys: list[str], time_s: float) -> "Floor":
        """Return a floor at these versions."""
        return msgspec.structs.replace(self, versions=versions, online_keys=keys, time_s=time_s)

    def with_generation(self, name: str, generation: int) -> "Floor":
        """Return a floor with one generation more."""
        return msgspec.structs.replace(self, generations=self.generations | {name: generation})


def read_floor(folder: Path) -> Floor:
    """Read the floor from whichever copies are whole."""
    floors = []
    for name in _FILES:
        try:
            floors.append(msgspec.json.decode((folder / name).read_bytes(), type=Floor))
        except (OSError, msgspec.DecodeError):
            continue
    if not floors:
        return Floor()
    newest = max(floors, key=lambda floor: (floor.versions.get("root", 0), floor.time_s))
    generations: dict[str, int] = {}
    for floor in floors:
        for key, value in floor.generations.items():
            generations[key] = max(value, generations.get(key, 0))
    return msgspec.structs.replace(newest, generations=generations)


def write_floor(folder: Path, floor: Floor) -> None:
    """Write both copies, each whole or not at all."""
    data = msgspec.json.encode(floor)
    for name in _FILES:
        write_private(folder / name, data)
