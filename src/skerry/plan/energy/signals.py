"""Carbon signals: grams of CO2e per kWh, hour by hour, one series per grid zone.

Two layouts are read, told apart by their columns:

    wide   a time column, then one column of g/kWh per zone
    long   a time column, zone, ci_direct_g_kwh and ci_lca_g_kwh, one row per zone and hour

The time column is `hour_utc` (start of the hour, UTC) or `hour`, whose cells carry an
offset or are all in the zone given as `time_zone`. Hours follow each other without a gap;
nothing is filled in. A wide file does not say whether its factors are direct or life
cycle; whoever asks must say, and a report tells where nobody did.

Units:   gCO2e/kWh inside; `unit` says what the file is in.
Shapes:  every series is (hours,).
Errors:  ColumnError with row and column; ZoneError for a zone that the file has not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.base.units import SECONDS_PER_HOUR
from skerry.plan.columns import Columns, Kind, Number, Text, Time, names_of, read_columns
from skerry.plan.errors import ColumnError, PlanError

Series = NDArray[np.float64]
Forecasts = Mapping[str, Series]
"""Zone to what a choice is made on."""

DIRECT, LIFE_CYCLE = "ci_direct_g_kwh", "ci_lca_g_kwh"
TIMES: Final = ("hour_utc", "hour")
UNITS: Final = {"g/kWh": 1.0, "kg/kWh": 1000.0, "kg/MWh": 1.0, "lb/MWh": 0.45359237}
FACTOR_MAX: Final = 5000.0
"""gCO2e/kWh; the dirtiest power stations emit about 1,500."""
FACTOR_TINY: Final = 2.0
"""A zone that never reaches this many g/kWh is more likely written in kg/kWh."""


class ZoneError(PlanError):
    """A zone that a signal does not have, or that was not chosen among several."""

    code = "E0970"
    exit_code = Exit.WRONG_USE

    def __init__(self, path: str, zone: str, known: Iterable[str]) -> None:
        super().__init__(path, zone, tuple(known))
        self.path, self.zone, self.known = path, zone, tuple(known)

    def __str__(self) -> str:
        if not self.zone:
            return f"{self.path} has {len(self.known)} zones and none was chosen"
        return f"{self.path} has no zone {self.zone!r}"

    @property
    def hint(self) -> str:
        """Name the nearest zone, or the first ones."""
        near = get_close_matches(self.zone, self.known, n=1)
        if near:
            return f"did you mean: {near[0]}"
        more = ", ..." if len(self.known) > 12 else ""
        return f"zones: {', '.join(self.known[:12])}{more}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signal:
    """Hourly factors of some zones, all over the same hours."""

    path: str
    start_unix_s: float
    hours: int
    factor: Mapping[str, Series]
    """The one factor of a wide file, the life-cycle factor of a long one."""
    direct: Mapping[str, Series] | None = None
    """The direct factor, where the file has both."""

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones that were read, in the file's order."""
        return tuple(self.factor)

    def one_zone(self, zone: str | None) -> str:
        """Return a zone's name, or the only one; raises ZoneError."""
        if zone is None and len(self.factor) == 1:
            return self.zones[0]
        if zone is None or zone not in self.factor:
            raise ZoneError(self.path, zone or "", self.zones)
        return zone

    def span(self, first: int = 0, hours: int | None = None) -> str:
        """Return a part of the signal in words, as dates in UTC, both inclusive."""
        count = self.hours - first if hours is None else hours
        ends = (first, first + count - 1)
        dates = (
            datetime.fromtimestamp(self.start_unix_s + hour * SECONDS_PER_HOUR, UTC)
            for hour in ends
        )
        return " to ".join(f"{date:%Y-%m-%d}" for date in dates)


def read_signal(
    path: Path,
    *,
    zones: Iterable[str] = (),
    time_zone: str | None = None,
    unit: str | None = None,
) -> Signal:
    """Read a signal; `zones` are the only ones wanted, all of them where none is named.

    `unit` is a key of UNITS; None means g/kWh and refuses a zone too small to be that.
    """
    columns = names_of(path)
    time = next((name for name in TIMES if name in columns), None)
    if time is None:
        found = ", ".join(columns)[:120] or "no column"
        raise ColumnError(str(path), 1, TIMES[0], f"the file has {found}", "this column or hour")
    kind = Time(zone="UTC" if time == "hour_utc" else time_zone)
    if "zone" in columns:
        return _long(path, time, kind, tuple(zones), unit)
    known = tuple(name for name in columns if name != time)
    if not known:
        layouts = f"a column per zone, or zone, {DIRECT} and {LIFE_CYCLE}"
        raise ColumnError(str(path), 1, "", f"no zone beside {time}", layouts)
    wanted = tuple(zones) or known
    for zone in wanted:
        if zone not in known:
            raise ZoneError(str(path), zone, known)
    factors: dict[str, Kind] = {zone: _factor(unit) for zone in wanted}
    read = read_columns(path, {time: kind, **factors})
    rows = np.arange(len(read))
    _hourly(read, time, rows)
    return Signal(
        path=str(path),
        start_unix_s=float(read.numbers[time][0]),
        hours=len(read),
        factor={zone: _grams(read, zone, rows, unit) for zone in wanted},
    )


def noisy(actual: Forecasts, *, error_ratio: float, seed: int) -> dict[str, Series]:
    """Return forecasts with a normal error whose deviation is a share of each zone's mean.

    As in Wiesner et al., "Let's Wait Awhile", Middleware 2021. One seed gives one forecast.
    """
    rng = np.random.default_rng(seed)
    return {
        zone: series + rng.normal(0.0, error_ratio * series.mean(), len(series))
        for zone, series in actual.items()
    }


def _long(path: Path, time: str, kind: Time, zones: tuple[str, ...], unit: str | None) -> Signal:
    factors = {DIRECT: _factor(unit), LIFE_CYCLE: _factor(unit)}
    read = read_columns(path, {time: kind, "zone": Text(), **factors})
    names = np.array(read.texts["zone"])
    known = tuple(dict.fromkeys(read.texts["zone"]))
    direct: dict[str, Series] = {}
    whole: dict[str, Series] = {}
    first = np.empty(0)
    for zone in zones or known:
        if zone not in known:
            raise ZoneError(str(path), zone, known)
        rows = np.flatnonzero(names == zone)
        _hourly(read, time, rows)
        hours = read.numbers[time][rows]
        if not len(first):
            first = hours
        elif len(hours) != len(first) or hours[0] != first[0]:
            found = f"{len(hours)} hours from {_shown(hours[0])}"
            wanted = f"{len(first)} from {_shown(first[0])}, as for {next(iter(whole))}"
            raise read.error(int(rows[0]), time, f"{zone} has {found}", wanted)
        direct[zone] = _grams(read, DIRECT, rows, unit, tiny=False)
        whole[zone] = _grams(read, LIFE_CYCLE, rows, unit)
        above = direct[zone] > whole[zone] + 1e-6
        if above.any():
            row = int(rows[above.argmax()])
            found = f"{read.numbers[DIRECT][row]:g}, above {LIFE_CYCLE}"
            raise read.error(row, DIRECT, found, "the part of the life-cycle factor that is burnt")
    return Signal(
        path=str(path), start_unix_s=float(first[0]), hours=len(first), factor=whole, direct=direct
    )


def _factor(unit: str | None) -> Number:
    return Number(low=0, high=FACTOR_MAX / UNITS[unit or "g/kWh"])


def _grams(
    read: Columns, column: str, rows: NDArray[np.int64], unit: str | None, *, tiny: bool = True
) -> Series:
    values = np.ascontiguousarray(read.numbers[column][rows])
    if tiny and unit is None and 0 < values.max() < FACTOR_TINY:
        found = f"no value above {values.max():g}"
        raise read.error(int(rows[0]), column, found, "g/kWh; name the unit where it is another")
    return values * UNITS[unit or "g/kWh"]


def _hourly(read: Columns, time: str, rows: NDArray[np.int64]) -> None:
    """Check that rows follow each other by one hour; name the first that does not."""
    hours = read.numbers[time][rows]
    bad = np.diff(hours) != SECONDS_PER_HOUR
    if not bad.any():
        return
    at = int(bad.argmax()) + 1
    step_s = hours[at] - hours[at - 1]
    what = "a duplicate of" if step_s == 0 else "before" if step_s < 0 else "after"
    found = f"{_shown(hours[at])} {what} {_shown(hours[at - 1])}"
    wanted = f"{_shown(hours[at - 1] + SECONDS_PER_HOUR)}, one row an hour without gaps"
    raise read.error(int(rows[at]), time, found, wanted)


def _shown(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%MZ}"
