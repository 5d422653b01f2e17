"""From an instance to a problem: which pairs are allowed, what they cost, and why not.

Each rule is a matrix of the pairs it forbids, so a demand that nobody may serve can say
which rules stand in its way. Permits do not forbid a pair: they lower a site's capacity.

    unit_cost = price * kwh_per_unit_yr + usd_per_unit_ms_yr * round_trip_ms

A demand with months costs its mean and needs room for its largest.

Units:   ms, USD a year; a permit of P kW carries P / (kw_per_unit * pue_ratio) units.
Shapes:  n candidates, m demands; matrices are (n, m).
"""

from dataclasses import dataclass

import numpy as np

from skerry.base.units import SECONDS_PER_DAY, SECONDS_PER_HOUR
from skerry.plan.assumptions import Assumptions
from skerry.plan.latency.model import haversine_km, shipped_model
from skerry.plan.site.instance import (
    Instance,
    ResidencyRule,
    StatedLatency,
    blocs,
    countries_of,
    demand_of,
    peak_of,
)
from skerry.plan.site.problem import Flags, Floats, Problem

HOURS_PER_YEAR = 365 * SECONDS_PER_DAY / SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """A problem with the reasons behind it."""

    problem: Problem
    round_trip_ms: Floats
    forbids: dict[str, Flags]
    """Rule to the pairs that it forbids."""
    permit_binds: Flags
    """Sites (n,) whose permit carries less than their capacity."""
    unit_cost: Floats


def ruled(instance: Instance, inputs: Assumptions, *, split: bool) -> Ruled:
    """Return the problem of an instance; a value that it does not state is an assumption."""
    distance = distances_km(instance)
    round_trip = _round_trip_ms(instance, distance, inputs)
    price = np.array([one.usd_kwh for one in instance.candidates])
    unit = price[:, None] * kwh_per_unit_yr(instance, inputs)
    per_ms = instance.usd_per_unit_ms_yr
    unit = unit + (inputs["site_usd_per_unit_ms_yr"] if per_ms is None else per_ms) * round_trip
    mean = np.array([demand_of(one) for one in instance.demands])
    forbids = _forbids(instance, round_trip)
    allowed = ~np.any([*forbids.values(), np.zeros_like(round_trip, bool)], axis=0)
    capacity = np.array(
        [np.inf if one.capacity is None else one.capacity for one in instance.candidates]
    )
    permit = _permits(instance, inputs)
    return Ruled(
        problem=Problem(
            fixed=np.array([one.fixed_usd_yr for one in instance.candidates]),
            capacity=np.minimum(capacity, permit),
            demand=np.array([peak_of(one) for one in instance.demands]),
            cost=np.where(allowed, unit * mean, np.inf),
            count=instance.sites,
            split=split,
        ),
        round_trip_ms=round_trip,
        forbids=forbids,
        permit_binds=permit < capacity,
        unit_cost=unit,
    )


def distances_km(instance: Instance) -> Floats:
    """Return the great-circle distance of every pair."""
    here = np.array([(one.lat, one.lon) for one in instance.candidates])
    there = np.array([(one.lat, one.lon) for one in instance.demands])
    return haversine_km(here[:, None, 0], here[:, None, 1], there[None, :, 0], there[None, :, 1])


def kwh_per_unit_yr(instance: Instance, inputs: Assumptions) -> float:
    """Return what a unit of demand draws in a year, cooling included."""
    if instance.kwh_per_unit_yr is not None:
        return instance.kwh_per_unit_yr
    return _wall_kw_per_unit(instance, inputs) * HOURS_PER_YEAR


def _wall_kw_per_unit(instance: Instance, inputs: Assumptions) -> float:
    it = inputs["site_kw_per_unit"] if instance.kw_per_unit is None else instance.kw_per_unit
    pue = inputs["site_pue_ratio"] if instance.pue_ratio is None else instance.pue_ratio
    return it * pue


def _permits(instance: Instance, inputs: Assumptions) -> Floats:
    """Return the units (n,) that each permit carries; infinite without one."""
    stated = [one.permit_kw for one in instance.candidates]
    if all(kw is None for kw in stated):
        return np.full(len(stated), np.inf)
    wall = _wall_kw_per_unit(instance, inputs)
    return np.array([np.inf if kw is None else kw / wall for kw in stated])


def _round_trip_ms(instance: Instance, distance: Floats, inputs: Assumptions) -> Floats:
    if instance.rtt_ms is not None:
        return np.array(instance.rtt_ms)
    stated = instance.latency
    if isinstance(stated, StatedLatency):
        return stated.base_ms + stated.ms_per_km * distance
    return shipped_model(inputs).round_trip_ms(distance)


def _forbids(instance: Instance, round_trip: Floats) -> dict[str, Flags]:
    """Return each stated rule's forbidden pairs, in the order they are told."""
    candidates, demands = instance.candidates, instance.demands
    shape = round_trip.shape
    forbids: dict[str, Flags] = {}
    slo = [instance.rtt_slo_ms if one.rtt_slo_ms is None else one.rtt_slo_ms for one in demands]
    if any(limit is not None for limit in slo):
        limits = np.array([np.inf if limit is None else limit for limit in slo])
        forbids["latency"] = round_trip > limits[None, :]
    stays = _residency(instance)
    if stays.any():
        forbids["residency"] = stays

    def of_sites(name: str, broken: list[bool]) -> None:
        forbids[name] = np.broadcast_to(np.array(broken)[:, None], shape)

    if instance.risk_max is not None:
        of_sites("risk", [one.risk > instance.risk_max for one in candidates])
    if instance.lead_days_max is not None:
        limit = instance.lead_days_max
        of_sites("permit_lead_time", [one.permit_lead_days > limit for one in candidates])
        of_sites(
            "connectivity_lead_time", [one.connectivity_lead_days > limit for one in candidates]
        )
    refused = [{*instance.vendors_refused, *one.vendors_refused} for one in demands]
    if any(refused):
        vendor = [[one.vendor in names for names in refused] for one in candidates]
        forbids["vendor"] = np.array(vendor)
    return forbids


def _residency(instance: Instance) -> Flags:
    known = blocs()
    broken = np.zeros((len(instance.candidates), len(instance.demands)), bool)
    home = np.array([one.country for one in instance.candidates])
    asked = np.array([one.country for one in instance.demands])
    for rule in instance.residency:
        assert isinstance(rule, ResidencyRule)  # noqa: S101 - reading turned words into rules
        inside = np.isin(asked, list(countries_of(rule.demand_in, known)))
        able = np.isin(home, list(countries_of(rule.served_from, known)))
        broken |= inside[None, :] & ~able[:, None]
    for index, demand in enumerate(instance.demands):
        if demand.served_from:
            able = np.isin(home, list(countries_of(demand.served_from, known)))
            broken[:, index] |= ~able
    return broken
