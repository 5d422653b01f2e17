"""`skerry plan cooling`: what air, containment and liquid cooling come to at one site.

Units:   kW, kWh, USD a year, degrees Celsius; hourly series are (hours,).
Errors:  CoolingError; ColumnError for a weather file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR
from skerry.energy.cooling import Loop, Plant, pue_ratio
from skerry.plan.assumptions import Assumptions
from skerry.plan.columns import Kind, Number, Time, read_columns
from skerry.plan.energy.signals import Series

CHOICES: Final = ("air", "containment", "chip")
YEAR_H: Final = 8760
DAY_H: Final = 24
WARMEST_H: Final = 15
"""Hour of the day, by the sun, at which made-up air is warmest."""
WARMEST_DAY: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hours:
    """Outside air and IT load, hour by hour."""

    source: str
    air_c: Series
    it_kw: Series

    def __len__(self) -> int:
        return len(self.air_c)

    def part(self, first: int, last: int) -> "Hours":
        """Return some of the hours."""
        return Hours(source=self.source, air_c=self.air_c[first:last], it_kw=self.it_kw[first:last])


def plant(choice: str, inputs: Assumptions, *, rated_kw: float) -> Plant:
    """Return one choice as the table states it."""
    liquid = choice == "chip"
    air = "containment" if liquid else choice  # what is left in the air, in aisles kept apart
    fans = inputs[f"{choice}_fan_ratio"]

    def loop(name: str, cop: str) -> Loop:
        return Loop(
            free_c=inputs[f"{name}_free_c"],
            full_c=inputs[f"{name}_full_c"],
            cop=inputs[f"{cop}_cop"],
            cop_per_k=inputs["cop_per_k_ratio"],
        )

    return Plant(
        name=choice,
        rated_kw=rated_kw,
        fixed_ratio=inputs["site_fixed_ratio"],
        loss_ratio=inputs["ups_loss_ratio"],
        fan_ratio=fans + (inputs["chip_pump_ratio"] if liquid else 0.0),
        air=loop(air, air),
        liquid_ratio=inputs["chip_liquid_ratio"] if liquid else 0.0,
        liquid=loop("chip", "containment") if liquid else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One choice over some hours; money is per year."""

    choice: str
    site_kwh: float
    it_kwh: float
    site_kw_max: float
    hours_above_feed: int
    it_kw_max: float | None
    """The most IT load that the feed carries at the warmest hour; None without a feed."""
    energy_usd: float
    plant_usd: float

    @property
    def pue_ratio(self) -> float | None:
        """Energy of the site over energy of its machines."""
        return pue_ratio(self.site_kwh, self.it_kwh)

    @property
    def usd(self) -> float:
        """Energy and the plant's share of a year."""
        return self.energy_usd + self.plant_usd


def outcome(one: Plant, hours: Hours, inputs: Assumptions, *, feed_kw: float | None) -> Outcome:
    """Run one choice through some hours."""
    site_kw = one.site_kw(hours.it_kw, hours.air_c)
    site_kwh = float(site_kw.sum())
    years = len(hours) / YEAR_H
    return Outcome(
        choice=one.name,
        site_kwh=site_kwh,
        it_kwh=float(hours.it_kw.sum()),
        site_kw_max=float(site_kw.max()),
        hours_above_feed=0 if feed_kw is None else int((site_kw > feed_kw + 1e-9).sum()),
        it_kw_max=None if feed_kw is None else one.it_kw_max(feed_kw, float(hours.air_c.max())),
        energy_usd=site_kwh * inputs["cooling_usd_per_kwh"] / years,
        plant_usd=one.rated_kw * inputs[f"{one.name}_usd_per_kw"] / inputs["cooling_life_years"],
    )


def read_hours(path: Path, *, it_kw: float) -> Hours:
    """Read `hour_utc` and `air_c`; a column `it_kw` replaces the constant load."""
    wanted: dict[str, Kind] = {
        "hour_utc": Time(zone="UTC", ascending=True),
        "air_c": Number(low=-90, high=60),
    }
    read = read_columns(path, wanted, optional={"it_kw": Number(low=0, high=1e6)})
    times = read.numbers["hour_utc"]
    wrong = np.diff(times) != SECONDS_PER_HOUR
    if wrong.any():
        row = int(wrong.argmax()) + 1
        found = f"{times[row] - times[row - 1]:g} s after the row before"
        raise read.error(row, "hour_utc", found, "one row an hour, without gaps")
    load = read.numbers.get("it_kw", np.full(len(read), it_kw))
    return Hours(source=str(path), air_c=read.numbers["air_c"], it_kw=load)


def made_up_hours(*, mean_c: float, day_swing_c: float, year_swing_c: float, it_kw: float) -> Hours:
    """Return a year of air that swings by day and by year about a mean; swings go each way."""
    hour = np.arange(YEAR_H, dtype=np.float64)
    by_year = np.cos(2 * np.pi * (hour / DAY_H - WARMEST_DAY) / 365)
    by_day = np.cos(2 * np.pi * (hour - WARMEST_H) / DAY_H)
    air_c = mean_c + year_swing_c * by_year + day_swing_c * by_day
    source = (
        f"made-up air: {mean_c:g} C, {year_swing_c:g} K each way by year, {day_swing_c:g} K by day"
    )
    return Hours(source=source, air_c=air_c, it_kw=np.full(YEAR_H, it_kw))
