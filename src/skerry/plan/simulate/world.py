"""The world around a fleet, hour by hour: demand, sun, warmth, carbon, price.

The signal's first row dates hour 0; without a signal it is 00:00 UTC of a Monday, 1 January.
People ask by their own clock, which is the sun's (15 degrees of
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
from skerry.energy.solar import Array, solar_kw_per_kwp
from skerry.plan.columns import Number, read_columns
from skerry.plan.compiled import kernel, part
from skerry.plan.energy.signals import Signal
from skerry.plan.simulate.errors import SpanError
from skerry.plan.simulate.fleet_arrays import FleetArrays, Floats, Ints
from skerry.plan.simulate.scenario import Happening
from skerry.schema.simulation import IncidentKind

WEEK_H: Final = 168
DAY_FACTORS: Final = 4096
"""Draws of a site's good and bad days, which a hash of site and day picks from."""
HOURS_MAX: Final = 8784
BEGINS: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday; where no signal dates the hours."""
CLOCKS: Final = 15
"""Clocks run from 12 hours behind to 14 ahead of UTC: a place's is kept as a number above 0."""
SUN_DEG: Final = (2.0, 5.0)
"""Latitude and longitude that share one sun: 10 minutes off at most, and 2 % of a yield."""
_DAY_FACTOR_MAX: Final = 10.0


def quiet(share: float, what: str = "") -> None:
    """Tell nobody how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Everything that is outside the fleet."""

    hours: int
    weekday: int
    """0 is Monday."""
    first_hour: int
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

    @property
    def first_week_hour(self) -> int:
        """The hour of the week, in UTC, that hour 0 is; 0 is Monday 00:00."""
        return self.weekday * 24 + self.first_hour

    def day_factor(self, seed: int) -> Floats:
        """Return the factors of days, with a mean of 1; the same for the same seed."""
        sigma = math.sqrt(math.log1p(self.day_cv**2))
        drawn = np.random.default_rng((seed, 99)).lognormal(0.0, sigma, DAY_FACTORS)
        drawn = np.minimum(drawn, _DAY_FACTOR_MAX)
        return np.asarray(drawn / drawn.mean())


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
    begins = datetime.fromtimestamp(signal.start_unix_s, UTC) if signal else BEGINS
    notes: list[str] = []
    solar_kwp, battery_kwh = assumed["solar_kwp"], assumed["battery_kwh"]
    solar = np.zeros(shape)
    if solar_kwp > 0:
        for region in range(fleet.regions):
            room = fleet.sites + region
            solar[region] = _sun(
                float(np.rint(fleet.latitude_deg[room] / SUN_DEG[0]) * SUN_DEG[0]),
                float(np.rint(fleet.longitude_deg[room] / SUN_DEG[1]) * SUN_DEG[1]),
                assumed["solar_tilt_deg"],
                begins.timestamp(),
                hours,
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
        weekday=begins.weekday(),
        first_hour=begins.hour,
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
        given = signal.factor.get(zone) if signal else None
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


@cache
def _sun(
    latitude_deg: float, longitude_deg: float, tilt_deg: float, start_unix_s: float, hours: int
) -> Floats:
    """Return the clear-sky output of panels at a place, per installed watt; each hour's middle."""
    place = Array(latitude_deg=latitude_deg, longitude_deg=longitude_deg, tilt_deg=tilt_deg)
    middle_s = start_unix_s + SECONDS_PER_HOUR * (np.arange(hours, dtype=np.float64) + 0.5)
    return solar_kw_per_kwp(place, middle_s)


def clock_of(longitude_deg: Floats) -> Ints:
    """Return how far a place's clock is ahead of UTC, in hours plus `CLOCKS`."""
    return np.asarray(np.clip(np.rint(longitude_deg / 15.0), -12, 14).astype(np.int64) + CLOCKS)


@part
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
            local_h = hours[n] + clock[s] - CLOCKS + WEEK_H + weekday_h
            weight = weights[local_h % WEEK_H] * demand[region[s], hours[n]]
            found[n, s] = asked_per_h[s] * weight * day_chance(table, seed, s, local_h // 24)
    return found


def rates_at(fleet: FleetArrays, world: World, hours: Ints, *, seed: int) -> Floats:
    """Return what each site is asked per hour in some hours, (hours, S)."""
    return _rates(
        hours,
        world.first_week_hour,
        fleet.requests_per_day / 24.0,
        clock_of(fleet.longitude_deg[: fleet.sites]),
        fleet.region_of_site(),
        world.weights,
        world.demand,
        world.day_factor(seed),
        seed,
    )
