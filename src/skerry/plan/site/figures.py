"""The tables, bars and map of a siting, and the goal it predicts.

Units:   ms; the instance's own units of demand; latencies are weighted by demand.
"""

import numpy as np

from skerry.plan.site.case import Case
from skerry.plan.site.problem import Floats, Siting
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import Bars, Cell, Map, Place, Table

PLACES_MAX = 2000
"""Demands drawn on a map, largest first."""


def loads(case: Case, siting: Siting) -> Floats:
    """Return the demand that each site holds (n,)."""
    return np.asarray(siting.share @ case.problem.demand)


def assignment_of(case: Case, siting: Siting) -> list[dict[str, object]]:
    """Return one record per demand and site that serves it."""
    trips = None if case.rules is None else case.rules.round_trip_ms
    found = []
    for demand, site in zip(*np.nonzero(siting.share.T), strict=True):
        one: dict[str, object] = {
            "demand": case.demands[demand],
            "site": case.sites[site],
            "share": float(siting.share[site, demand]),
        }
        if trips is not None:
            one["round_trip_ms"] = round(float(trips[site, demand]), 3)
        found.append(one)
    return found


def weighted(case: Case, siting: Siting) -> tuple[Floats, Floats] | None:
    """Return each used pair's round trip, ascending, and its demand; None without latency."""
    if case.rules is None:
        return None
    site, demand = np.nonzero(siting.share)
    trips = case.rules.round_trip_ms[site, demand]
    order = np.argsort(trips, kind="stable")
    return trips[order], (siting.share[site, demand] * case.problem.demand[demand])[order]


def _quantile(trips: Floats, weight: Floats, part: float) -> float:
    reached = np.cumsum(weight) >= part * weight.sum() * (1 - 1e-12)
    return float(trips[int(reached.argmax())])


def round_trips(case: Case, siting: Siting) -> dict[str, object]:
    """Return the round trips as demand sees them: mean, p95 and largest."""
    found = weighted(case, siting)
    if found is None:
        return {}
    trips, weight = found
    return {
        "round_trip_ms_mean": float((trips * weight).sum() / weight.sum()),
        "round_trip_ms_p95": _quantile(trips, weight, 0.95),
        "round_trip_ms_max": float(trips[weight > 0].max()),
    }


def latency_goal(case: Case, siting: Siting) -> tuple[GoalRecord, ...]:
    """Return the goal that a siting predicts: the round trip that 95 % of demand is within."""
    found = weighted(case, siting)
    if found is None or case.instance is None:
        return ()
    trips, weight = found
    measured = case.instance.rtt_ms is not None
    p95 = Figure(
        value=_quantile(trips, weight, 0.95),
        low=_quantile(trips, weight, 0.5),
        high=float(trips[weight > 0].max()),
        level=Level.STATED if measured or case.instance.latency else Level.ESTIMATE,
        source=f"{case.path}: network round trip alone, median to largest",
        at_unix_s=0.0,
    )
    slo = case.instance.rtt_slo_ms
    return (GoalRecord(name=GoalName.LATENCY_MS_P95, goal=slo, predicted=p95),)


def load_table(case: Case, siting: Siting) -> Table:
    """Return each open site with what it holds and costs."""
    load, problem = loads(case, siting), case.problem
    rows = []
    for site in np.flatnonzero(siting.open):
        used = siting.share[site] > 0
        serving = float((problem.cost[site, used] * siting.share[site, used]).sum())
        room = float(problem.capacity[site])
        full = float(100 * load[site] / room) if np.isfinite(room) and room else None
        rows.append(
            (
                case.site_text(int(site)),
                int(used.sum()),
                float(load[site]),
                room if np.isfinite(room) else None,
                full,
                float(problem.fixed[site]),
                serving,
            )
        )
    return Table(
        title="Open sites",
        heads=(
            *("site", "demands", "load, units", "capacity, units", "full, %"),
            *(f"to open, {case.unit}", f"to serve, {case.unit}"),
        ),
        rows=tuple(rows),
    )


def load_bars(case: Case, siting: Siting) -> Bars:
    """Return the open sites' loads as bars."""
    load = loads(case, siting)
    rows = [(case.site_text(int(i)), float(load[i])) for i in np.flatnonzero(siting.open)]
    return Bars(title="Load of each site", unit="units", rows=tuple(rows[:40]))


def demand_table(case: Case, siting: Siting) -> Table:
    """Return who serves whom."""
    heads = ["demand", "site", "share"]
    if case.rules is not None:
        heads.append("round trip, ms")
    rows = []
    for demand, site in zip(*np.nonzero(siting.share.T), strict=True):
        city = case.instance.demands[demand].city if case.instance is not None else ""
        row: list[Cell] = [
            f"{case.demands[demand]} {city}".strip(),
            case.site_text(int(site)),
            float(siting.share[site, demand]),
        ]
        if case.rules is not None:
            row.append(float(case.rules.round_trip_ms[site, demand]))
        rows.append(tuple(row))
    return Table(title="Demands and their sites", heads=tuple(heads), rows=tuple(rows))


def map_of(case: Case, siting: Siting) -> tuple[Map, ...]:
    """Return the map: open and closed candidates, demands sized by what they ask."""
    if case.instance is None:
        return ()
    demand = case.problem.demand
    shown = np.sort(np.argsort(-demand, kind="stable")[:PLACES_MAX])
    places = [
        Place(
            name=case.site_text(i),
            latitude_deg=one.lat,
            longitude_deg=one.lon,
            role="open" if siting.open[i] else "closed",
        )
        for i, one in enumerate(case.instance.candidates)
    ]
    links = []
    most = float(demand.max())
    for index in shown:
        one = case.instance.demands[index]
        for site in np.flatnonzero(siting.share[:, index]):
            links.append((len(places), int(site)))
        places.append(
            Place(
                name=f"{one.id} {one.city}".strip(),
                latitude_deg=one.lat,
                longitude_deg=one.lon,
                role="demand",
                weight=float(demand[index]) / most,
            )
        )
    return (Map(title="Sites and whom they serve", places=tuple(places), links=tuple(links)),)
