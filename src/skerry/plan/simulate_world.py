"""The world around a fleet, hour by hour: demand, sun, warmth, carbon, price.

Hour 0 is 00:00 UTC of the first day, which the signal's first row dates; without a signal
it is a Monday, 1 January. People ask by their own clock, which is the sun's (15 degrees of
longitude are an hour; no summer time).

    asked = requests per day / 24 * weight(hour of the local week) * day's chance * demand

Units:   `weights` have the mean 1 over a week; `warmth` multiplies what cooling adds to
         the machines' draw; `solar` is the output per installed watt; g per kWh.
Shapes:  (R, H) by region and hour, (Z, H) by grid zone and hour, (168,) by hour of the week.
Source:  the shipped profile is *stated*, as is every value of the table `simulate`.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR
from skerry.plan.columns import Number, Time, names_of, read_columns
from skerry.plan.compiled import kernel
from skerry.plan.fleet_arrays import FleetArrays, Floats, Ints
from skerry.plan.simulate_errors import SpanError
from skerry.plan.simulate_scenario import Happening
from skerry.schema.simulation import IncidentKind

WEEK_H: Final = 168
DAY_FACTORS: Final = 4096
"""Draws of a site's good and bad days, which a hash of site and day picks from."""
HOURS_MAX: Final = 8784
CLOCKS: Final = 15
"""Clocks run from 12 hours behind to 14 ahead of UTC: a place's is kept as a number above 0."""
_DAY_FACTOR_MAX: Final = 10.0


def quiet(share: float, what: str = "") -> None:
    """Tell nobody how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Everything that is outside the fleet."""

    hours: int
    weekday: int
    """0 is Monday."""
    weights: Floats
    day_cv: float
    demand: Floats
    warmth: Floats
    solar: Floats
    grid_g_per_kwh: Floats
    carbon: Floats
    price: Floats
    solar_w: Floats
    battery_wh: Floats
    battery_w: Floats
    charge_ratio: float
    notes: tuple[str, ...] = ()

    def day_factor(self, seed: int) -> Floats:
        """Return the factors of days, with a mean of 1; the same for the same seed."""
        sigma = math.sqrt(math.log1p(self.day_cv**2))
        drawn = np.random.default_rng((seed, 99)).lognormal(0.0, sigma, DAY_FACTORS)
        drawn = np.minimum(drawn, _DAY_FACTOR_MAX)
        return np.asarray(drawn / drawn.mean())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signal:
    """Hourly carbon intensity by grid zone, and the day that it begins on."""

    source: str
    begins: datetime
    g_per_kwh: dict[str, Floats]


def read_signal(path: Path) -> Signal:
    """Read `hour_utc` and one column of g/kWh per grid zone; an hour may not be missing."""
    zones = [name for name in names_of(path) if name != "hour_utc"]
    wanted = {"hour_utc": Time(zone="UTC", ascending=True)}
    read = read_columns(path, {**wanted, **{name: Number(low=0.0) for name in zones}})
    at_s = read.numbers["hour_utc"]
    steps = np.diff(at_s)
    if (steps != SECONDS_PER_HOUR).any():
        row = int((steps != SECONDS_PER_HOUR).argmax()) + 1
        found = f"{steps[row - 1] / SECONDS_PER_HOUR:g} h after the row before"
        raise read.error(row, "hour_utc", found, "one hour after it, with no gap")
    return Signal(
        source=str(path),
        begins=datetime.fromtimestamp(float(at_s[0]), UTC),
        g_per_kwh={name: read.numbers[name] for name in zones},
    )


def read_profile(path: Path) -> Floats:
    """Read the 168 weights of a local week: `hour_of_week` (0 is Monday 00:00) and `weight`."""
    wanted = {"hour_of_week": Number(low=0, high=167, ascending=True), "weight": Number(low=0.0)}
    read = read_columns(path, wanted)
    hours = read.numbers["hour_of_week"]
    for row in range(WEEK_H):
        if row >= len(hours) or hours[row] != row:
            found = f"{hours[row]:g}" if row < len(hours) else "the end of the file"
            raise read.error(row, "hour_of_week", found, f"{row}, as each hour is there once")
    if len(hours) > WEEK_H:
        raise read.error(WEEK_H, "hour_of_week", f"{hours[WEEK_H]:g}", "168 rows")
    return normal(read.numbers["weight"])


def normal(weights: Floats) -> Floats:
    """Return weights of a week with a mean of 1; raises `SpanError` where nobody ever asks."""
    if weights.sum() <= 0:
        raise SpanError("the week's demand", "0 at every hour", "more than 0 at some hour")
    return np.asarray(weights * (len(weights) / weights.sum()))


@cache
def shipped_weights() -> Floats:
    """Return the shipped week: office hours, and what is left of them at the weekend."""
    text = files("skerry.plan").joinpath("tables", "simulate-week.csv").read_text("utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    work = [float(row["workday"]) for row in rows]
    rest = [float(row["weekend"]) for row in rows]
    return normal(np.array(work * 5 + rest * 2))


def world_of(
    fleet: FleetArrays,
    assumed: Mapping[str, float],
    *,
    hours: int,
    weights: Floats,
    happenings: Sequence[Happening],
    signal: Signal | None = None,
) -> World:
    """Return the world of a fleet over some hours, with what a scenario does to it."""
    if not 1 <= hours <= HOURS_MAX:
        raise SpanError("hours", str(hours), f"1 to {HOURS_MAX}")
    shape = (fleet.regions, hours)
    begins = signal.begins if signal else None
    first_day = begins.timetuple().tm_yday if begins else 1
    notes: list[str] = []
    solar_kwp, battery_kwh = assumed["solar_kwp"], assumed["battery_kwh"]
    rooms = slice(fleet.sites, fleet.sites + fleet.regions)
    solar = np.zeros(shape)
    if solar_kwp > 0:
        first_h = begins.hour if begins else 0
        solar = clear_sky(
            fleet.latitude_deg[rooms],
            fleet.longitude_deg[rooms],
            first_day=first_day,
            first_hour=first_h,
            hours=hours,
        )
        solar *= assumed["solar_yield_ratio"]
    demand, price, carbon, add_c = np.ones(shape), np.ones(shape), np.ones(shape), np.zeros(shape)
    for one in happenings:
        part = _hours_of(one, hours)
        regions = np.array(one.regions, dtype=np.int64)
        if one.kind is IncidentKind.HEAT_WAVE:
            add_c[regions] += one.add_c * part
        for kind, factors in (
            (IncidentKind.DEMAND, demand),
            (IncidentKind.PRICE, price),
            (IncidentKind.CARBON, carbon),
        ):
            if one.kind is kind:
                factors[regions] *= 1.0 + (one.factor - 1.0) * part
    return World(
        hours=hours,
        weekday=begins.weekday() if begins else 0,
        weights=weights,
        day_cv=assumed["demand_day_cv"],
        demand=demand,
        warmth=1.0 + assumed["cooling_more_per_c"] * add_c,
        solar=solar,
        grid_g_per_kwh=_grid(fleet, hours, signal, notes),
        carbon=carbon,
        price=price,
        solar_w=np.full(fleet.sites, solar_kwp * 1000.0),
        battery_wh=np.full(fleet.sites, battery_kwh * 1000.0),
        battery_w=np.full(fleet.sites, battery_kwh * 1000.0 * assumed["battery_c_rate"]),
        charge_ratio=math.sqrt(assumed["battery_round_trip_ratio"]),
        notes=tuple(notes),
    )


def _hours_of(one: Happening, hours: int) -> Floats:
    """Return the part of each hour that something lasts in."""
    begins = np.arange(hours) * float(SECONDS_PER_HOUR)
    part = np.minimum(begins + SECONDS_PER_HOUR, one.ends_s) - np.maximum(begins, one.begins_s)
    return np.asarray(np.clip(part / SECONDS_PER_HOUR, 0.0, 1.0))


def _grid(fleet: FleetArrays, hours: int, signal: Signal | None, notes: list[str]) -> Floats:
    """Return each zone's intensity: the signal's, else the fleet file's mean all year."""
    rows = np.empty((len(fleet.zones), hours))
    flat = []
    for number, zone in enumerate(fleet.zones):
        given = signal.g_per_kwh.get(zone) if signal else None
        if given is None:
            rows[number] = fleet.grid_g_per_kwh[fleet.zone == number].mean()
            flat.append(zone)
            continue
        if len(given) < hours:
            raise SpanError("the signal", f"{len(given)} hours long", f"at least {hours}")
        rows[number] = given[:hours]
    if flat:
        notes.append(
            f"the grid of {', '.join(flat[:8])} has the fleet file's yearly mean at every hour"
        )
    return rows


def clear_sky(
    latitude_deg: Floats, longitude_deg: Floats, *, first_day: int, first_hour: int, hours: int
) -> Floats:
    """Return the clear-sky output of flat panels per installed watt, (places, hours).

    Haurwitz' global irradiance, 1098 * cos(z) * exp(-0.057 / cos(z)) W/m2 over 1000 W/m2, at
    the middle of each hour; the sun's declination after Cooper (1969).
    """
    hour = first_hour + np.arange(hours) + 0.5
    day = first_day + hour / 24.0
    tilt = np.radians(23.45) * np.sin(2 * math.pi * (284 + day) / 365.0)
    angle = np.radians(15.0 * (hour % 24 - 12.0)[None, :] + longitude_deg[:, None])
    high = np.radians(latitude_deg)[:, None]
    cos_zenith = np.sin(high) * np.sin(tilt) + np.cos(high) * np.cos(tilt) * np.cos(angle)
    up = np.maximum(cos_zenith, 1e-3)
    return np.asarray(np.where(cos_zenith > 1e-3, 1.098 * up * np.exp(-0.057 / up), 0.0))


def clock_of(longitude_deg: Floats) -> Ints:
    """Return how far a place's clock is ahead of UTC, in hours plus `CLOCKS`."""
    return np.asarray(np.clip(np.rint(longitude_deg / 15.0), -12, 14).astype(np.int64) + CLOCKS)


@kernel
def day_chance(table: Floats, seed: int, site: int, day: int) -> float:
    """Return the factor of a site's day: the table's entry that a hash of both picks."""
    mixed = (np.uint64(site + 1) * np.uint64(0x9E3779B97F4A7C15)) ^ (
        np.uint64(day + 1 + seed * 1000) * np.uint64(0xD1B54A32D192ED03)
    )
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return float(table[np.int64(mixed >> np.uint64(52))])


@kernel
def _rates(
    hours: Ints,
    weekday_h: int,
    asked_per_h: Floats,
    clock: Ints,
    region: Ints,
    weights: Floats,
    demand: Floats,
    table: Floats,
    seed: int,
) -> Floats:
    found = np.empty((len(hours), len(asked_per_h)))
    for n in range(len(hours)):
        for s in range(len(asked_per_h)):
            local_h = hours[n] + clock[s] - CLOCKS + WEEK_H
            weight = weights[(local_h + weekday_h) % WEEK_H] * demand[region[s], hours[n]]
            found[n, s] = asked_per_h[s] * weight * day_chance(table, seed, s, local_h // 24)
    return found


def rates_at(fleet: FleetArrays, world: World, hours: Ints, *, seed: int) -> Floats:
    """Return what each site is asked per hour in some hours, (hours, S)."""
    return _rates(
        hours,
        world.weekday * 24,
        fleet.requests_per_day / 24.0,
        clock_of(fleet.longitude_deg[: fleet.sites]),
        fleet.region_of_site(),
        world.weights,
        world.demand,
        world.day_factor(seed),
        seed,
    )
