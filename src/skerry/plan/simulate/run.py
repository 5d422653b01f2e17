"""One simulation: a fleet, a scenario and a seed, to figures with units in their names.

The hours say who answers, what is drawn and what it costs; a fair sample of the same span,
request by request, says how long answers take; what comes back at once is replayed as a
storm. All three share one draw of outages, so a seed gives the same figures on every run,
whatever the number of threads.

Errors:  ScenarioError, SpanError, AssumptionError, NothingToPlanError.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR, WH_PER_KWH
from skerry.energy.carbon import per_1k
from skerry.plan.assumptions import Assumptions
from skerry.plan.energy.signals import Signal
from skerry.plan.simulate.errors import ScenarioError
from skerry.plan.simulate.fleet_arrays import FleetArrays, Floats
from skerry.plan.simulate.hours import Year, simulate_hours
from skerry.plan.simulate.kernels_hours import Column, SiteColumn
from skerry.plan.simulate.outages import changes_of, drawn
from skerry.plan.simulate.requests import Answers, simulate_requests, slices_of
from skerry.plan.simulate.scenario import Happening, happenings, spells_of, storms_of
from skerry.plan.simulate.storm import Storm, percentile_s, storm
from skerry.plan.simulate.world import quiet, rates_at, world_of
from skerry.schema.goal import GoalName
from skerry.schema.simulation import IncidentKind, Scenario

G_PER_KG = 1000.0
WORST_SITES = 10
DAY_H = 24
FLEET_VALUES = frozenset(
    {
        *("requests_per_node_day", "site_size_cv", "sites_per_region"),
        *("site_spread_deg", "region_spread_deg"),
    }
)
"""Assumptions that the fleet is made with, before any scenario: `--set` alone changes them."""
Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What is simulated, all but the seed: it travels to other processes and machines."""

    fleet: FleetArrays
    scenario: Scenario
    values: dict[str, float]
    """The assumptions, the scenario's own among them."""
    weights: Floats
    hours: int
    sample_requests: int
    signal: Signal | None = None
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one seed came to."""

    scenario: str
    seed: int
    figures: dict[str, float]
    refused: dict[str, float]
    """Requests of the span that nobody answered, by reason."""
    days: dict[str, list[float]]
    """By day: load, import and solar in kWh, and the share of requests answered."""
    worst: list[tuple[str, float, float]]
    """Sites with the least share answered at the site or sent on, and their requests."""
    latency_ms: list[tuple[str, float, float | None, float | None, float | None]]
    """Who answered: share of the sample, p50, p95, p99."""
    storms: list[tuple[str, int, float, float, int, int, float]]
    """Region, nodes, seconds until half and all were back, peak logins and attempts a second,
    and the seconds it would take if no pause were left to chance."""
    notes: tuple[str, ...] = ()


def simulate(case: Case, seed: int, tell: Tell = quiet) -> Outcome:
    """Simulate one seed of a case."""
    fleet, assumed, hours = case.fleet, case.values, case.hours
    span_s = float(hours * SECONDS_PER_HOUR)
    found = happenings(case.scenario, fleet, seed=seed, span_s=span_s)
    spells = drawn(fleet, assumed, factor=case.scenario.failures, span_s=span_s, seed=seed)
    changes = changes_of([*spells, *spells_of(found, fleet)], len(fleet.nodes))
    world = world_of(
        fleet,
        assumed,
        hours=hours,
        weights=case.weights,
        happenings=found,
        signal=case.signal,
    )
    year = simulate_hours(
        fleet, changes, world, seed=seed, threads=case.threads, tell=lambda s: tell(0.6 * s)
    )
    asked = float(year.totals()[Column.ASKED])
    slices = slices_of(
        fleet, hours=hours, requests=asked, requests_max=case.sample_requests, seed=seed
    )
    rates = rates_at(fleet, world, slices.hour, seed=seed) / SECONDS_PER_HOUR
    answers = simulate_requests(
        fleet,
        changes,
        world,
        slices,
        rates=rates,
        seed=seed,
        threads=case.threads,
        tell=lambda s: tell(0.6 + 0.35 * s),
    )
    storms = _storms(fleet, assumed, storms_of(found), seed)
    outcome = Outcome(
        scenario=case.scenario.name,
        seed=seed,
        figures=_figures(fleet, year, answers, storms),
        refused=_refused(year),
        days=_days(year),
        worst=_worst(fleet, year),
        latency_ms=_latencies(fleet, answers),
        storms=[
            (
                one.region,
                one.nodes,
                percentile_s(one.back_s, 50),
                one.reconverged_s,
                int(one.logins.max()),
                int(one.attempts.max()),
                plain.reconverged_s,
            )
            for one, plain in storms
        ],
        notes=world.notes,
    )
    tell(1.0)
    return outcome


def _storms(
    fleet: FleetArrays, assumed: dict[str, float], found: Sequence[Happening], seed: int
) -> list[tuple[Storm, Storm]]:
    """Replay what comes back at once, by region, with the pauses' chance and without it."""
    pairs = []
    region = fleet.region_of_site()
    for number, one in enumerate(found):
        whole = one.kind is IncidentKind.LOSE_REGION
        for place in one.regions:
            sites = (
                np.flatnonzero(region == place) if whole else one.sites[region[one.sites] == place]
            )
            nodes = int(fleet.nodes[sites].sum())
            if not nodes:
                continue
            both = [
                storm(
                    fleet.region_names[place],
                    nodes,
                    down_s=one.ends_s - one.begins_s,
                    logins_per_s=assumed["logins_per_s"],
                    seed=seed * 1000 + number * 100_003 + place,
                    spread=spread,
                )
                for spread in (True, False)
            ]
            pairs.append((both[0], both[1]))
    return pairs


def _figures(
    fleet: FleetArrays, year: Year, answers: Answers, storms: list[tuple[Storm, Storm]]
) -> dict[str, float]:
    """Return the objective figures of one seed."""
    totals = {
        column.name: float(value) for column, value in zip(Column, year.totals(), strict=True)
    }
    answered = totals["HERE"] + totals["ROOM"] + totals["CLOUD"]
    hours = year.regions.shape[1]
    # Bytes are counted as they are asked upwards; a goal counts those that got an answer.
    upwards = totals["ROOM"] + totals["CLOUD"]
    taken = upwards / (upwards + totals["FULL"]) if upwards else 0.0
    fixed_usd = float(fleet.fixed_usd_per_h.sum()) * hours
    cost_usd = totals["USD"] + fixed_usd
    limit_ms = fleet.goals.get(GoalName.LATENCY_MS_P95)
    in_time = 1.0
    if limit_ms is not None and answers.answered:
        in_time = answers.within_ms(limit_ms) / answers.answered
    peak_w = year.sites[:, SiteColumn.PEAK_W]
    feed = np.divide(
        peak_w,
        fleet.feed_w[: fleet.sites],
        out=np.zeros_like(peak_w),
        where=fleet.feed_w[: fleet.sites] > 0,
    )
    found: dict[str, float | None] = {
        "requests": totals["ASKED"],
        "answered": answered,
        "unserved": totals["ASKED"] - answered,
        "availability_ratio": answered / totals["ASKED"] if totals["ASKED"] else None,
        "local_ratio": totals["HERE"] / answered if answered else None,
        "room_ratio": totals["ROOM"] / answered if answered else None,
        "cloud_ratio": totals["CLOUD"] / answered if answered else None,
        "latency_ms_p50": answers.percentile_ms(50),
        "latency_ms_p95": answers.percentile_ms(95),
        "latency_ms_p99": answers.percentile_ms(99),
        "it_kwh": totals["IT_WH"] / WH_PER_KWH,
        "energy_kwh": totals["LOAD_WH"] / WH_PER_KWH,
        "import_kwh": totals["IMPORT_WH"] / WH_PER_KWH,
        "export_kwh": totals["EXPORT_WH"] / WH_PER_KWH,
        "solar_kwh": totals["SOLAR_WH"] / WH_PER_KWH,
        "battery_loss_kwh": totals["LOSS_WH"] / WH_PER_KWH,
        "pue_ratio": totals["LOAD_WH"] / totals["IT_WH"] if totals["IT_WH"] else None,
        "carbon_kg": totals["GRAMS"] / G_PER_KG,
        "energy_usd": totals["USD"],
        "cost_usd": cost_usd,
        "peak_import_kw": float(year.fleet_hours()[:, Column.IMPORT_WH].max()) / WH_PER_KWH,
        "peak_feed_ratio": float(feed.max()),
        "sites_over_feed": float((year.sites[:, SiteColumn.OVER_FEED_H] > 0).sum()),
        "energy_wh_per_1k": _per_1k(totals["LOAD_WH"], answered),
        "carbon_g_per_1k": _per_1k(totals["GRAMS"], answered),
        "cost_usd_per_1k": _per_1k(cost_usd, answered * in_time),
        "upstream_bytes_per_1k": _per_1k(totals["UP_BYTES"] * taken, answered),
        "sampled_requests": float(answers.asked),
        "sampled_availability_ratio": answers.answered / answers.asked if answers.asked else None,
        "sampled_local_ratio": (
            int(answers.hist[1].sum()) / answers.answered if answers.answered else None
        ),
        "sampled_slices": float(answers.slices),
        "sampled_slice_s": answers.slice_s,
    }
    if storms:
        logins = np.sum([one.logins for one, _ in storms], axis=0)
        attempts = np.sum([one.attempts for one, _ in storms], axis=0)
        found["storm_nodes"] = float(sum(one.nodes for one, _ in storms))
        found["storm_reconverged_s"] = max(one.reconverged_s for one, _ in storms)
        found["storm_logins_per_s_peak"] = float(logins.max())
        found["storm_attempts_per_s_peak"] = float(attempts.max())
        found["storm_reconverged_without_spread_s"] = max(p.reconverged_s for _, p in storms)
    return {name: value for name, value in found.items() if value is not None}


def _per_1k(total: float, requests: float) -> float | None:
    """Return a total per 1,000 requests, or None where less than one was answered."""
    return per_1k(total, round(requests)) if requests >= 1 else None


def _refused(year: Year) -> dict[str, float]:
    totals = year.totals()
    reasons = (
        ("data may not leave, and its site could not answer", Column.NO_WAY),
        ("link down", Column.CUT),
        ("every machine that may answer is full or down", Column.FULL),
    )
    return {why: float(totals[column]) for why, column in reasons}


def _days(year: Year) -> dict[str, list[float]]:
    """Add up hours to days of the simulation; the last may be a part of one."""
    hours = year.fleet_hours()
    starts = np.arange(0, len(hours), DAY_H)
    days = np.add.reduceat(hours, starts, axis=0)
    answered = days[:, Column.HERE] + days[:, Column.ROOM] + days[:, Column.CLOUD]
    asked = days[:, Column.ASKED]
    return {
        "load_kwh": (days[:, Column.LOAD_WH] / WH_PER_KWH).tolist(),
        "import_kwh": (days[:, Column.IMPORT_WH] / WH_PER_KWH).tolist(),
        "solar_kwh": (days[:, Column.SOLAR_WH] / WH_PER_KWH).tolist(),
        "answered_ratio": np.divide(
            answered, asked, out=np.ones_like(asked), where=asked > 0
        ).tolist(),
    }


def _worst(fleet: FleetArrays, year: Year) -> list[tuple[str, float, float]]:
    asked, refused = year.sites[:, SiteColumn.ASKED], year.sites[:, SiteColumn.REFUSED]
    lost = np.divide(refused, asked, out=np.zeros_like(asked), where=asked > 0)
    order = np.lexsort((np.arange(len(lost)), -lost))[:WORST_SITES]
    return [(fleet.site_names[s], 1.0 - float(lost[s]), float(asked[s])) for s in order]


def _latencies(
    fleet: FleetArrays, answers: Answers
) -> list[tuple[str, float, float | None, float | None, float | None]]:
    names = ("all", "the site itself", "its region's room", *fleet.cloud_names)
    total = max(answers.answered, 1)
    return [
        (
            name,
            int(answers.hist[who].sum()) / total,
            answers.percentile_ms(50, who),
            answers.percentile_ms(95, who),
            answers.percentile_ms(99, who),
        )
        for who, name in enumerate(names)
    ]


def case_of(
    fleet: FleetArrays,
    scenario: Scenario,
    assumed: Assumptions,
    *,
    weights: Floats,
    hours: int,
    sample_requests: int,
    signal: Signal | None = None,
    threads: int | None = None,
) -> Case:
    """Return a case; values that the scenario sets take the place of the assumptions'."""
    for name in scenario.set:
        if name not in assumed or name in FLEET_VALUES:
            known = [other for other in assumed if other not in FLEET_VALUES]
            raise ScenarioError(scenario.name, "set", f"`{name}` is not set by scenarios", known)
    return Case(
        fleet=fleet,
        scenario=scenario,
        values=dict(assumed) | scenario.set,
        weights=weights,
        hours=hours,
        sample_requests=sample_requests,
        signal=signal,
        threads=threads or os.cpu_count() or 1,
    )
