"""What simulations came to, as one report: the goals, and what lies behind each of them.

A figure is the median over seeds and its range is theirs; a sweep has one row per scenario.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from skerry.plan.predict import meets
from skerry.plan.simulate.fleet_arrays import FleetArrays
from skerry.plan.simulate.run import Case, Outcome
from skerry.schema.assumption import Assumption
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import Answer, Bars, Cell, Lines, PlanReport, Section, Table

_WORDS: Mapping[str, tuple[str, str, float]] = {
    "availability_ratio": ("availability", "%", 100.0),
    "local_ratio": ("answered at the site", "%", 100.0),
    "latency_ms_p50": ("latency p50", "ms", 1.0),
    "latency_ms_p95": ("latency p95", "ms", 1.0),
    "latency_ms_p99": ("latency p99", "ms", 1.0),
    "unserved": ("requests unserved", "", 1.0),
    "energy_kwh": ("energy", "kWh", 1.0),
    "import_kwh": ("from the grid", "kWh", 1.0),
    "solar_kwh": ("from the sun", "kWh", 1.0),
    "pue_ratio": ("PUE", "", 1.0),
    "carbon_kg": ("carbon", "kg", 1.0),
    "cost_usd": ("cost", "USD", 1.0),
    "peak_import_kw": ("the fleet's peak hour", "kW", 1.0),
    "peak_feed_ratio": ("largest share of a feed used", "%", 100.0),
    "storm_reconverged_s": ("storm: all back after", "s", 1.0),
    "storm_logins_per_s_peak": ("storm: peak logins", "per s", 1.0),
}
_GOALS: Mapping[GoalName, str] = {name: name.value for name in GoalName}


def report_of(
    case: Case,
    outcomes: Sequence[Outcome],
    assumed: Sequence[Assumption],
    *,
    took_s: float,
    notes: Sequence[str] = (),
    clock: Callable[[], float] = time.time,
) -> PlanReport:
    """Return the report of one scenario."""
    fleet, first = case.fleet, outcomes[0]
    spread = spread_of(outcomes)
    goals = goals_of(case, outcomes, clock())
    answer, verdict = _answer(goals)
    mid = {name: values[0] for name, values in spread.items()}
    lead = f"{_count(mid['requests'])} requests in {case.hours:,} h at {fleet.sites:,} site"
    lead += "" if fleet.sites == 1 else "s"
    if "availability_ratio" in mid:
        lead += f": {mid['availability_ratio']:.4%} answered"
    else:
        lead += ": nobody asks, so most goals cannot be judged"
    if "latency_ms_p95" in mid:
        lead += f", p95 {mid['latency_ms_p95']:.3g} ms"
    lead += f", {mid['energy_kwh']:,.0f} kWh, {mid['carbon_kg']:,.0f} kg CO2e{verdict}"
    return PlanReport(
        verb="simulate",
        question=f"Does {fleet.name} hold its goals over {case.hours:,} hours of {first.scenario}?",
        lead=lead,
        answer=answer,
        figures={
            **mid,
            "ranges": {name: [low, high] for name, (_, low, high) in spread.items()},
            "refused": first.refused,
            "fleet": fleet.name,
            "scenario": first.scenario,
            "sites": fleet.sites,
            "regions": fleet.regions,
            "nodes": int(fleet.nodes.sum()),
            "hours": case.hours,
            "seeds": [one.seed for one in outcomes],
            "storms": [_storm_row(row) for row in first.storms],
            "took_s": round(took_s, 3),
        },
        goals=goals,
        sections=(
            _goal_section(goals),
            _figures_section(case, spread),
            _answers_section(first),
            _days_section(first),
            *_storm_sections(first),
            _worst_section(first),
        ),
        assumptions=tuple(assumed),
        notes=(*first.notes, *_notes(case, mid), *notes),
    )


def sweep_report(
    cases: Sequence[Case],
    found: Sequence[Sequence[Outcome]],
    assumed: Sequence[Assumption],
    *,
    engine: str,
    took_s: float,
    notes: Sequence[str] = (),
) -> PlanReport:
    """Return the report of many scenarios, side by side."""
    rows = [(case, spread_of(outcomes)) for case, outcomes in zip(cases, found, strict=True)]
    names = [case.scenario.name for case, _ in rows]
    shown = [name for name in _WORDS if any(name in spread for _, spread in rows)]
    worst = min(rows, key=lambda row: row[1].get("availability_ratio", (1.0, 1.0, 1.0))[1])
    least = worst[1].get("availability_ratio", (1.0, 1.0, 1.0))[1]
    fleet = cases[0].fleet
    return PlanReport(
        verb="simulate",
        question=f"What do {len(cases)} scenarios do to {fleet.name}?",
        lead=(
            f"{len(cases)} scenarios, {len(found[0])} seeds each: availability is least in"
            f" {worst[0].scenario.name}, {least:.4%}"
        ),
        figures={
            "scenarios": {
                case.scenario.name: {
                    name: {"value": mid, "low": low, "high": high}
                    for name, (mid, low, high) in spread.items()
                }
                for case, spread in rows
            },
            "sites": fleet.sites,
            "hours": cases[0].hours,
            "seeds": [one.seed for one in found[0]],
            "engine": engine,
            "took_s": round(took_s, 3),
        },
        sections=(
            Section(
                title="Scenarios",
                text="Medians over the seeds; the full ranges are in the JSON.",
                blocks=(
                    Table(
                        title="Scenarios side by side",
                        heads=("figure", *names),
                        rows=tuple(
                            (_head(name), *(_cell(name, spread.get(name)) for _, spread in rows))
                            for name in shown
                        ),
                    ),
                    Bars(
                        title="Unserved requests",
                        unit="per million",
                        rows=tuple(
                            (case.scenario.name, 1e6 * (1.0 - spread["availability_ratio"][0]))
                            for case, spread in rows
                            if "availability_ratio" in spread
                        ),
                    ),
                ),
            ),
        ),
        assumptions=tuple(assumed),
        notes=(*found[0][0].notes, *notes),
    )


def spread_of(outcomes: Sequence[Outcome]) -> dict[str, tuple[float, float, float]]:
    """Return each figure's median, least and most over seeds."""
    names = dict.fromkeys(name for one in outcomes for name in one.figures)
    found = {}
    for name in names:
        values = [one.figures[name] for one in outcomes if name in one.figures]
        found[name] = (statistics.median(values), min(values), max(values))
    return found


def goals_of(case: Case, outcomes: Sequence[Outcome], now_s: float) -> tuple[GoalRecord, ...]:
    """Return every goal with its prediction, the range over seeds; no verdict before a run."""
    spread = spread_of(outcomes)
    source = (
        f"simulation of {case.hours} h, scenario {case.scenario.name}, {len(outcomes)} seeds;"
        " stated rates, prices and service times"
    )
    records = []
    for name, key in _GOALS.items():
        figure = None
        if key in spread:
            value, low, high = spread[key]
            figure = Figure(
                value=value,
                low=low,
                high=high,
                level=Level.ESTIMATE,
                source=source,
                at_unix_s=now_s,
                samples=int(spread["sampled_requests"][0]),
            )
        records.append(
            GoalRecord(
                name=name,
                goal=case.fleet.goals.get(name),
                predicted=figure,
                reason="predicted, not measured",
            )
        )
    return tuple(records)


def _answer(goals: Sequence[GoalRecord]) -> tuple[Answer, str]:
    """Return yes where every stated goal is held by the whole range, no where one is not."""
    stated = [one for one in goals if one.goal is not None]
    verdicts = {one.name: meets(one.name, one.goal, one.predicted) for one in stated}
    missed = [name.value for name, held in verdicts.items() if held is False]
    if not stated:
        return Answer.NONE, ""
    if missed:
        return Answer.NO, f"; misses {', '.join(missed)}"
    unsure = [name.value for name, held in verdicts.items() if held is None]
    if unsure:
        return Answer.UNKNOWN, f"; unsure of {', '.join(unsure)}"
    return Answer.YES, "; every goal is held"


def _goal_section(goals: Sequence[GoalRecord]) -> Section:
    words = {True: "meets", False: "misses", None: "unsure"}
    rows: list[tuple[Cell, ...]] = []
    for one in goals:
        figure = one.predicted
        held = "" if one.goal is None else words[meets(one.name, one.goal, figure)]
        values = (None, None, None) if figure is None else (figure.value, figure.low, figure.high)
        rows.append((one.name.value, *values, one.goal, held))
    return Section(
        title="Against the goals",
        text="The median over the seeds and its range; every figure is an estimate.",
        blocks=(
            Table(
                title="Goals",
                heads=("goal", "predicted", "least", "most", "wanted", ""),
                rows=tuple(rows),
            ),
        ),
    )


def _figures_section(case: Case, spread: Mapping[str, tuple[float, float, float]]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for name, (_, _, factor) in _WORDS.items():
        if name in spread and not (name == "solar_kwh" and not spread[name][2]):
            rows.append((_head(name), *(value * factor for value in spread[name])))
    return Section(
        title="The span in figures",
        blocks=(
            Table(
                title=f"{case.hours:,} hours",
                heads=("figure", "median", "least", "most"),
                rows=tuple(rows),
            ),
        ),
    )


def _answers_section(one: Outcome) -> Section:
    refused = [(why, count) for why, count in one.refused.items() if count]
    return Section(
        title="Who answers, and how fast",
        text=f"Of seed {one.seed}; latencies are those of the sample.",
        blocks=(
            Table(
                title="Answers by who gave them",
                heads=("who", "share (%)", "p50 (ms)", "p95 (ms)", "p99 (ms)"),
                rows=tuple((who, share * 100, a, b, c) for who, share, a, b, c in one.latency_ms),
            ),
            Table(
                title="Unserved, by reason",
                heads=("reason", "requests"),
                rows=tuple(refused) or (("none", 0.0),),
            ),
        ),
    )


def _days_section(one: Outcome) -> Section:
    names = (("load", "load_kwh"), ("from the grid", "import_kwh"), ("from the sun", "solar_kwh"))
    kept = [(name, key) for name, key in names if any(one.days[key])]
    return Section(
        title="Day by day",
        text=f"Of seed {one.seed}.",
        blocks=(
            Lines(
                title="Energy",
                x_unit="day",
                y_unit="kWh a day",
                series=tuple((name, _points(one.days[key])) for name, key in kept),
            ),
            Lines(
                title="Unserved",
                x_unit="day",
                y_unit="per million requests",
                series=(
                    ("unserved", _points([1e6 * (1.0 - r) for r in one.days["answered_ratio"]])),
                ),
            ),
        ),
    )


def _points(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    return tuple((float(day + 1), value) for day, value in enumerate(values))


def _storm_sections(one: Outcome) -> tuple[Section, ...]:
    if not one.storms:
        return ()
    largest = sorted(one.storms, key=lambda row: -row[3])[:40]
    return (
        Section(
            title="Coming back",
            text=(
                "Seconds from the link's return to the last login, with the production pauses;"
                " the last column is the same with no pause left to chance."
            ),
            blocks=(
                Table(
                    title="Storms by region, slowest first",
                    heads=(
                        "region",
                        "nodes",
                        "half back (s)",
                        "all back (s)",
                        "peak logins/s",
                        "peak attempts/s",
                        "without chance (s)",
                    ),
                    rows=tuple(largest),
                ),
            ),
        ),
    )


def _storm_row(row: tuple[str, int, float, float, int, int, float]) -> dict[str, object]:
    names = (
        *("region", "nodes", "half_back_s", "reconverged_s", "logins_per_s_peak"),
        *("attempts_per_s_peak", "reconverged_without_spread_s"),
    )
    return dict(zip(names, row, strict=True))


def _worst_section(one: Outcome) -> Section:
    return Section(
        title="Where it hurts",
        text="Sites with the smallest share of requests answered there or sent on.",
        blocks=(
            Table(
                title="The worst sites",
                heads=("site", "answered (%)", "requests"),
                rows=tuple((name, ratio * 100, asked) for name, ratio, asked in one.worst),
            ),
        ),
    )


def _notes(case: Case, mid: Mapping[str, float]) -> list[str]:
    return [
        (
            f"latencies rest on {mid['sampled_requests']:,.0f} requests in"
            f" {mid['sampled_slices']:,.0f} slices of {mid['sampled_slice_s']:.0f} s;"
            f" the sample answers {mid.get('sampled_availability_ratio', 0.0):.4%}, the hours"
            f" {mid.get('availability_ratio', 0.0):.4%}"
        )
    ]


def _head(name: str) -> str:
    words, unit, _ = _WORDS[name]
    return f"{words} ({unit})" if unit else words


def _cell(name: str, spread: tuple[float, float, float] | None) -> float | None:
    return None if spread is None else spread[0] * _WORDS[name][2]


def _count(value: float) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def growth_note(fleet: FleetArrays) -> str:
    """Say that a fleet was made up from another."""
    return f"the fleet is {fleet.name}: places and sizes of its sites are drawn, not known"
