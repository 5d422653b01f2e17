"""`skerry plan energy`: solar power, a battery and a load; what the grid still gives and takes.

    solar + import = load + export + stored at the end - stored at the start + lost

Units:   kW and kWh as names say; a step is a fixed number of hours.
Shapes:  series are (steps,).
Errors:  ColumnError for a profile; those of `energy.battery` and `energy.solar`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import SECONDS_PER_HOUR
from skerry.energy.battery import Battery, battery_step
from skerry.energy.solar import Weather
from skerry.plan.columns import Kind, Number, Time, names_of, read_columns
from skerry.plan.compiled import compiled, kernel
from skerry.plan.errors import ColumnError

Series = NDArray[np.float64]

OUTPUT_MAX: Final = 1.5
"""kW per kW peak; bright edges of clouds lift it a little above 1."""
_step = compiled(battery_step)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """A solar output in kW per kW peak, at fixed steps."""

    source: str
    place: str
    step_h: float
    output: Series

    @property
    def hours(self) -> float:
        """The whole span."""
        return self.step_h * len(self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Where energy came from and went to, in kWh over the span."""

    pv_kwh: float
    load_kwh: float
    import_kwh: float
    export_kwh: float
    lost_kwh: float
    stored_start_kwh: float
    stored_end_kwh: float
    import_kw_max: float

    @property
    def self_consumption_ratio(self) -> float | None:
        """The share of solar energy that was not exported; None where there was none."""
        return 1 - self.export_kwh / self.pv_kwh if self.pv_kwh > 0 else None

    @property
    def autarky_ratio(self) -> float | None:
        """The share of the load that the grid did not give; None where there was no load."""
        return 1 - self.import_kwh / self.load_kwh if self.load_kwh > 0 else None


def balance(pv_kw: Series, load_kw: Series, *, step_h: float, battery: Battery) -> Balance:
    """Run a battery between an array and a load."""
    pv_kwh, load_kwh = pv_kw * step_h, load_kw * step_h
    start_kwh = battery.capacity_kwh * battery.start_ratio
    way = battery.way_ratio
    stored_kwh, exported, imported, moved = _run(
        pv_kwh - load_kwh, start_kwh, battery.capacity_kwh, battery.power_kw * step_h, way
    )
    into_kwh, out_kwh = moved
    return Balance(
        pv_kwh=float(pv_kwh.sum()),
        load_kwh=float(load_kwh.sum()),
        import_kwh=float(imported.sum()),
        export_kwh=float(exported.sum()),
        lost_kwh=into_kwh * (1 - way) / way + out_kwh * (1 - way),
        stored_start_kwh=start_kwh,
        stored_end_kwh=stored_kwh,
        import_kw_max=float(imported.max()) / step_h,
    )


@kernel
def _run(
    surplus_kwh: Series, stored_kwh: float, capacity_kwh: float, power_kwh: float, way_ratio: float
) -> tuple[float, Series, Series, tuple[float, float]]:
    """Return what is stored last, exports, imports, and what went into and out of the cells."""
    exported, imported = np.empty(len(surplus_kwh)), np.empty(len(surplus_kwh))
    into_kwh = out_kwh = 0.0
    for step in range(len(surplus_kwh)):
        before_kwh = stored_kwh
        stored_kwh, exported[step], imported[step] = _step(
            stored_kwh, surplus_kwh[step], capacity_kwh, power_kwh, way_ratio
        )
        into_kwh += max(stored_kwh - before_kwh, 0.0)
        out_kwh += max(before_kwh - stored_kwh, 0.0)
    return stored_kwh, exported, imported, (into_kwh, out_kwh)


def read_profiles(path: Path, *, column: str | None) -> list[Profile]:
    """Read a solar profile: `time` in seconds, one column of kW per kW peak per place.

    Gives the place that `column` names, or all of them in the file's order.
    """
    places = [name for name in names_of(path) if name != "time"] if column is None else [column]
    output = Number(low=0, high=OUTPUT_MAX)
    read = read_columns(path, {"time": Number(ascending=True), **dict.fromkeys(places, output)})
    if not places:
        raise ColumnError(str(path), 1, "", "no place", "a column of kW per kW peak beside time")
    times = read.numbers["time"]
    if len(times) < 2:
        raise read.error(0, "time", "one row", "two or more, as their distance is the step")
    steps = np.diff(times)
    wrong = (steps != steps[0]) | (steps <= 0)
    if wrong.any():
        row = int(wrong.argmax()) + 1
        found = f"{steps[row - 1]:g} s after the row before"
        raise read.error(row, "time", found, f"one row every {steps[0]:g} s, without gaps")
    return [
        Profile(
            source=f"{path}, {place}",
            place=place,
            step_h=float(steps[0]) / SECONDS_PER_HOUR,
            output=read.numbers[place],
        )
        for place in places
    ]


def read_weather(path: Path) -> tuple[Series, Weather]:
    """Read hourly weather for the solar chain; return its times and values."""
    wanted: dict[str, Kind] = {
        "hour_utc": Time(zone="UTC", ascending=True),
        "ghi_w_m2": Number(low=0, high=1500),
        "air_c": Number(low=-90, high=60),
        "wind_m_s": Number(low=0, high=100),
    }
    read = read_columns(path, wanted)
    times = read.numbers["hour_utc"]
    wrong = np.diff(times) != SECONDS_PER_HOUR
    if wrong.any():
        row = int(wrong.argmax()) + 1
        found = f"{times[row] - times[row - 1]:g} s after the row before"
        raise read.error(row, "hour_utc", found, "one row an hour, without gaps")
    weather = Weather(
        ghi_w_m2=read.numbers["ghi_w_m2"],
        air_c=read.numbers["air_c"],
        wind_m_s=read.numbers["wind_m_s"],
    )
    return times, weather
