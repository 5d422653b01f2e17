"""Pairs of places and their measured round trips, read from a file, with what is impossible.

A pair has its distance from coordinates (its own, or a file of cities) or from a column
`distance_km`; with both, coordinates are what counts and the column is checked beside it.

Units:   km, degrees, ms (round trips).
Shapes:  (pairs,).
Errors:  ColumnError, with row and column.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.plan.columns import Columns, Number, Text, names_of, read_columns
from skerry.plan.latency.model import Floats, fibre_ms, haversine_km, vacuum_ms

_NAMES: Final = ("src_city", "dst_city")
_POINTS: Final = ("src_lat", "src_lon", "dst_lat", "dst_lon")
_LATITUDE, _LONGITUDE = Number(low=-90, high=90), Number(low=-180, high=180)
_MS: Final = Number(low=0, high=600_000)
IMPOSSIBLE_MAX: Final = 0.5
"""With a larger part of rows faster than light, the unit is wrong, not the places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs as read. `column_km` and `haversine_km` are None where the file gives neither."""

    path: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    column_km: Floats | None
    haversine_km: Floats | None
    measured_ms: Floats | None
    least_ms: Floats | None
    """What is held against the bounds: the least round trip, else the measured one."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def distance_km(self) -> Floats:
        """Return the distance that predictions go by: haversine where coordinates are known."""
        distance = self.column_km if self.haversine_km is None else self.haversine_km
        assert distance is not None  # noqa: S101 - reading refuses pairs without any
        return distance

    def by(self) -> dict[str, Floats]:
        """Return every distance that is known, by name."""
        both = {"distance_column": self.column_km, "haversine": self.haversine_km}
        return {name: distance for name, distance in both.items() if distance is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Measurements that cannot be, by one distance: indices of pairs below each bound."""

    by: str
    below_vacuum: NDArray[np.intp]
    """Faster than light in a vacuum: a wrong place, or another machine answered."""
    below_fibre: NDArray[np.intp]
    """Faster than light in straight fibre; holds those below vacuum too."""


def faults(pairs: Pairs) -> list[Faults]:
    """Return the impossible measurements by each known distance."""
    if pairs.least_ms is None:
        return []
    return [
        Faults(
            by=name,
            below_vacuum=np.flatnonzero(pairs.least_ms < vacuum_ms(distance)),
            below_fibre=np.flatnonzero(pairs.least_ms < fibre_ms(distance)),
        )
        for name, distance in pairs.by().items()
    ]


def read_pairs(
    path: Path, cities_path: Path | None, *, measured: str, needed: bool, spread: bool = False
) -> Pairs:
    """Read a file of pairs; `measured` names the column of round trips, which may be `needed`.

    With `spread` two distances are needed, as a fit needs them.
    """
    names = names_of(path)
    named = all(name in names for name in _NAMES)
    placed = all(name in names for name in _POINTS)
    wanted: dict[str, Number | Text] = {name: Text() for name in _NAMES} if named else {}
    if placed:
        wanted |= dict(zip(_POINTS, (_LATITUDE, _LONGITUDE) * 2, strict=True))
    if not placed and (cities_path is None or not named):
        wanted["distance_km"] = Number(low=0, high=20_040)
    if needed:
        wanted[measured] = _MS
    optional = {"distance_km": Number(low=0, high=20_040), measured: _MS, "min_ms": _MS}
    rows = read_columns(path, wanted, optional=optional)
    if named:
        _each_once(rows)
    blank = tuple(str(row + 1) for row in range(len(rows)))
    pairs = Pairs(
        path=str(path),
        source=tuple(rows.texts.get("src_city", blank)),
        target=tuple(rows.texts.get("dst_city", blank)),
        column_km=rows.numbers.get("distance_km"),
        haversine_km=_distances(rows, cities_path, placed=placed, named=named),
        measured_ms=rows.numbers.get(measured),
        least_ms=rows.numbers.get("min_ms", rows.numbers.get(measured)),
    )
    _believe(rows, pairs, measured, spread=spread)
    return pairs


def _each_once(rows: Columns) -> None:
    """Refuse a pair that is there twice in one direction."""
    seen: set[tuple[str, str]] = set()
    for row, pair in enumerate(zip(*(rows.texts[name] for name in _NAMES), strict=True)):
        if pair in seen:
            raise rows.error(row, _NAMES[1], f"{pair[0]!r} to {pair[1]!r} again", "a pair once")
        seen.add(pair)


def _believe(rows: Columns, pairs: Pairs, measured: str, *, spread: bool) -> None:
    """Refuse seconds for milliseconds, and a fit over one distance."""
    if pairs.measured_ms is not None:
        wrong = pairs.measured_ms < vacuum_ms(pairs.distance_km)
        if wrong.mean() > IMPOSSIBLE_MAX:
            row = int(wrong.argmax())
            found = f"{pairs.measured_ms[row]:g} ms over {pairs.distance_km[row]:,.0f} km"
            wanted = "milliseconds: most rows are faster than light"
            raise rows.error(row, measured, found, wanted)
    if spread and np.ptp(pairs.distance_km) == 0:
        raise rows.error(0, "distance_km", "the same distance in all rows", "two at least")


def _distances(
    rows: Columns, cities_path: Path | None, *, placed: bool, named: bool
) -> Floats | None:
    if placed:
        return haversine_km(*(rows.numbers[name] for name in _POINTS))
    if cities_path is None or not named:
        return None
    known = read_cities(cities_path)
    ends = []
    for name in _NAMES:
        found = np.empty((len(rows), 2))
        for row, city in enumerate(rows.texts[name]):
            if city not in known:
                raise rows.error(row, name, repr(city), f"a city of {cities_path}")
            found[row] = known[city]
        ends.append(found)
    one, other = ends
    return haversine_km(one[:, 0], one[:, 1], other[:, 0], other[:, 1])


def read_cities(path: Path) -> dict[str, tuple[float, float]]:
    """Return latitude and longitude of each city; a name stands once."""
    rows = read_columns(path, {"city": Text(), "lat": _LATITUDE, "lon": _LONGITUDE})
    found: dict[str, tuple[float, float]] = {}
    for row, city in enumerate(rows.texts["city"]):
        if city in found:
            raise rows.error(row, "city", f"{city!r} again", "a name used once")
        found[city] = float(rows.numbers["lat"][row]), float(rows.numbers["lon"][row])
    return found
