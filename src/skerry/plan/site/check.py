"""The independent check of a siting: every rule and the objective once more, in plain Python.

It shares no array and no formula with the solvers: distances come from the fleet's own
scalar haversine, costs and rules from the instance's fields, one pair at a time.

Units:   ms, kW, USD a year; the instance's own units of demand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skerry.fleet.links import distance_km
from skerry.plan.assumptions import Assumptions
from skerry.plan.site.instance import (
    Instance,
    StatedLatency,
    blocs,
    countries_of,
    demand_of,
    peak_of,
)
from skerry.plan.site.problem import FULL, Problem

Served = Mapping[int, Sequence[tuple[int, float]]]
"""Demand (index) to the sites (indices) that serve it, each with its part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the check found: the objective anew, and each breach in words."""

    objective: float
    rules: tuple[str, ...]
    breaches: tuple[str, ...]

    def ok(self, objective: float) -> bool:
        """Return whether no rule is broken and the objective is the one claimed."""
        return not self.breaches and math.isclose(self.objective, objective, rel_tol=1e-9)


def check_instance(
    instance: Instance, inputs: Assumptions, opened: set[int], served: Served, *, split: bool
) -> Checked:
    """Check a plan of our JSON against every rule that the instance states."""
    breaches = _shares(len(instance.demands), opened, served, split, instance.sites)
    load = dict.fromkeys(opened, 0.0)
    total = math.fsum(instance.candidates[site].fixed_usd_yr for site in opened)
    parts = []
    for index, serving in served.items():
        size = demand_of(instance.demands[index])
        for site, part in serving:
            round_trip = _round_trip_ms(instance, inputs, site, index)
            breaches += _pair(instance, site, index, round_trip)
            load[site] = load.get(site, 0.0) + part * peak_of(instance.demands[index])
            parts.append(part * size * _unit_cost(instance, inputs, site, round_trip))
    for site in opened:
        breaches += _site(instance, inputs, site, load[site])
    return Checked(objective=total + math.fsum(parts), rules=_RULES, breaches=tuple(breaches))


_RULES = (
    *("served once", "only open sites serve", "number of sites", "latency", "residency"),
    *("risk", "permit lead time", "connectivity lead time", "vendor", "capacity", "permit kW"),
)


def check_problem(problem: Problem, opened: set[int], served: Served) -> Checked:
    """Check a plan of a problem that has no rules but capacity and a number of sites."""
    breaches = _shares(problem.cost.shape[1], opened, served, problem.split, problem.count)
    load = dict.fromkeys(opened, 0.0)
    parts = [float(problem.fixed[site]) for site in opened]
    for index, serving in served.items():
        for site, part in serving:
            load[site] = load.get(site, 0.0) + part * float(problem.demand[index])
            parts.append(part * float(problem.cost[site, index]))
            if not math.isfinite(problem.cost[site, index]):
                breaches.append(f"site {site} may not serve demand {index}")
    for site, held in load.items():
        if held > float(problem.capacity[site]) * FULL:
            breaches.append(f"site {site} holds {held:g} of {problem.capacity[site]:g}")
    rules = ("served once", "only open sites serve", "number of sites", "capacity")
    return Checked(objective=math.fsum(parts), rules=rules, breaches=tuple(breaches))


def _shares(
    demands: int, opened: set[int], served: Served, split: bool, count: int | None
) -> list[str]:
    found = []
    if count is not None and len(opened) != count:
        found.append(f"{len(opened)} sites are open, {count} were asked for")
    for index in range(demands):
        serving = served.get(index, ())
        if not math.isclose(math.fsum(part for _, part in serving), 1.0, rel_tol=1e-9):
            found.append(f"demand {index} is not served once")
        if not split and len(serving) > 1:
            found.append(f"demand {index} is split over {len(serving)} sites")
        if any(site not in opened or part < 0 for site, part in serving):
            found.append(f"demand {index} is served by a closed site")
    return found


def _round_trip_ms(instance: Instance, inputs: Assumptions, site: int, index: int) -> float:
    if instance.rtt_ms is not None:
        return instance.rtt_ms[site][index]
    here, there = instance.candidates[site], instance.demands[index]
    distance = distance_km((here.lat, here.lon), (there.lat, there.lon))
    if isinstance(instance.latency, StatedLatency):
        return instance.latency.base_ms + instance.latency.ms_per_km * distance
    end = inputs["latency_near_km"]
    near = inputs["latency_near_base_ms"] + inputs["latency_near_ms_per_km"] * min(distance, end)
    far = inputs["latency_far_base_ms"] + inputs["latency_far_ms_per_km"] * distance
    light = 2 * distance * 1.468 / 299.792458
    return max(near, light, far if distance > end else 0.0)


def _unit_cost(instance: Instance, inputs: Assumptions, site: int, round_trip_ms: float) -> float:
    kwh = instance.kwh_per_unit_yr
    if kwh is None:
        kwh = _wall_kw(instance, inputs) * 8760
    per_ms = instance.usd_per_unit_ms_yr
    if per_ms is None:
        per_ms = inputs["site_usd_per_unit_ms_yr"]
    return instance.candidates[site].usd_kwh * kwh + per_ms * round_trip_ms


def _wall_kw(instance: Instance, inputs: Assumptions) -> float:
    it = inputs["site_kw_per_unit"] if instance.kw_per_unit is None else instance.kw_per_unit
    return it * (inputs["site_pue_ratio"] if instance.pue_ratio is None else instance.pue_ratio)


def _pair(instance: Instance, site: int, index: int, round_trip_ms: float) -> list[str]:
    """Return the rules that one pair breaks."""
    here, there = instance.candidates[site], instance.demands[index]
    pair = f"{here.id} serving {there.id}"
    found = []
    slo = there.rtt_slo_ms if there.rtt_slo_ms is not None else instance.rtt_slo_ms
    if slo is not None and round_trip_ms > slo * FULL:
        found.append(f"latency: {pair} takes {round_trip_ms:.3f} ms of {slo:g}")
    known = blocs()
    limits = [there.served_from] if there.served_from else []
    for rule in instance.residency:
        if not isinstance(rule, str) and there.country in countries_of(rule.demand_in, known):
            limits.append(rule.served_from)
    for limit in limits:
        if here.country not in countries_of(limit, known):
            found.append(f"residency: {pair} lies in {here.country or 'no country'}")
    if here.vendor in {*instance.vendors_refused, *there.vendors_refused}:
        found.append(f"vendor: {pair} is of {here.vendor}")
    return found


def _site(instance: Instance, inputs: Assumptions, site: int, load: float) -> list[str]:
    """Return the rules that one open site breaks."""
    one = instance.candidates[site]
    found = []
    if one.capacity is not None and load > one.capacity * FULL:
        found.append(f"capacity: {one.id} holds {load:g} of {one.capacity:g}")
    if one.permit_kw is not None:
        drawn = load * _wall_kw(instance, inputs)
        if drawn > one.permit_kw * FULL:
            found.append(f"permit_kw: {one.id} draws {drawn:g} of {one.permit_kw:g} kW")
    if instance.risk_max is not None and one.risk > instance.risk_max:
        found.append(f"risk: {one.id} has {one.risk:g} of {instance.risk_max:g}")
    if instance.lead_days_max is not None:
        for name in ("permit_lead_days", "connectivity_lead_days"):
            days = getattr(one, name)
            if days > instance.lead_days_max:
                found.append(f"{name}: {one.id} takes {days:g} of {instance.lead_days_max:g} days")
    return found
