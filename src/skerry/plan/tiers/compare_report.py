"""The four-tier table as a report; with `--explain edge.cost` the inputs of that cell."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from skerry.base.errors import UsageError
from skerry.energy.carbon import per_1k
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.bill import SHORT_BILL
from skerry.plan.errors import NothingToPlanError
from skerry.plan.from_run import run_notes
from skerry.plan.predict import prediction_errors
from skerry.plan.regret import regret
from skerry.plan.services import guessed, services_s
from skerry.plan.tiers.compare import Row, compare, flip_of, ranked, runner_up, usual
from skerry.plan.tiers.compare_fleet import NAMES
from skerry.plan.tiers.placed_goals import placed_goals
from skerry.plan.tiers.trial import halves, place_from
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet
from skerry.schema.plan_report import Advice, Bars, Cell, PlanReport, Regret, Section, Table
from skerry.schema.run_figures import RunFigures

TABLE: Final = "compare"
CELLS: Final = ("latency", "cost", "pue", "scaling", "control", "privacy")
ALL: Final = "all"


def compare_report(
    fleet: Fleet,
    trace: Trace,
    *,
    explain: Sequence[str] = (),
    assume_path: Path | None = None,
    settings: Sequence[str] = (),
    run: RunFigures | None = None,
    seed: int = 7,
    clock: Callable[[], float] = time.time,
    tell: Callable[[float, str], None] | None = None,
) -> PlanReport:
    """Compute the table and what follows from it; a run's service times replace the table's."""
    wanted = _wanted(explain)
    if not len(trace):
        raise NothingToPlanError(fleet.name, "no request in the trace")
    table = assumptions(TABLE, path=assume_path, settings=settings)
    measured = run.service_ms if run else None
    services = services_s(fleet, measured)
    rows = compare(fleet, trace, table, services_s=services, seed=seed)
    if tell is not None:
        tell(0.4, "judging the choice on the other half")
    advice = _advice(fleet, trace, rows, _regret(fleet, trace, table, services, seed))
    if tell is not None:
        tell(0.8, "predicting the fleet as it is")
    goals = placed_goals(fleet, trace, seed=seed, service_ms=measured, clock=clock)
    errors = prediction_errors(goals, run.goals) if run else {}
    unknown = guessed(fleet, measured)
    return PlanReport(
        verb="compare",
        question="What would each of the four tiers do with these requests?",
        lead=_lead(rows, wanted),
        figures=_figures(rows, trace),
        advice=(advice,),
        changes=_changes(fleet, trace, rows),
        goals=goals,
        prediction_error_ratio={name.value: error for name, error in errors.items()},
        sections=_explained(rows, wanted) if wanted else _sections(rows),
        assumptions=table.used(),
        notes=(
            *(
                f"no service time is known for {one}; the router's guess stands in"
                for one in unknown
            ),
            *run_notes(run, fleet),
            *_usual_notes(rows),
            SHORT_BILL,
        ),
    )


def _wanted(explain: Sequence[str]) -> tuple[tuple[str, str], ...]:
    every = [(tier, cell) for tier in NAMES for cell in CELLS]
    found: list[tuple[str, str]] = []
    for text in explain:
        tier, _, cell = text.partition(".")
        picked = [
            one
            for one in every
            if text == ALL or (one[0] == tier and cell in ("", one[1])) or text == one[1]
        ]
        if not picked:
            advice = f"a tier ({', '.join(NAMES)}), a dot, a cell ({', '.join(CELLS)}); or {ALL}"
            raise UsageError(f"there is no cell {text[:40]!r}", advice)
        found += [one for one in picked if one not in found]
    return tuple(found)


def _lead(rows: tuple[Row, ...], wanted: tuple[tuple[str, str], ...]) -> str:
    if len(wanted) == 1:
        (tier, name), by_name = wanted[0], {row.name: row for row in rows}
        cell = by_name[tier].cells[name]
        value = "unknown" if cell.value is None else f"{cell.value:.4g} {cell.unit}"
        return f"{tier}.{name} is {value}: {cell.formula}"
    order = ranked(rows)
    if not order:
        return "no tier alone may and can answer these requests"
    best = order[0]
    more = f" of {len(order)} that may" if len(order) > 1 else ", the only one that may"
    return (
        f"{best.name} answers these requests cheapest{more}: "
        f"{best.cost_usd_per_1k:.3g} USD per 1,000, {best.cells['latency'].value:.3g} ms typical"
    )


def _figures(rows: tuple[Row, ...], trace: Trace) -> dict[str, object]:
    answered = {row.name: row.trial.run.answered for row in rows}
    return {
        "trace": trace.source,
        "requests": len(trace),
        "tiers": {
            row.name: {
                "facts_from": "usual figures" if row.setting.usual else "fleet file",
                "latency_ms_p50": row.cells["latency"].value,
                "latency_ms_p95": row.trial.latency_ms(95) if answered[row.name] else None,
                "cost_usd_per_1k": row.cells["cost"].value,
                "pue_ratio": row.cells["pue"].value,
                "scaling_s": row.cells["scaling"].value,
                "headroom_ratio": None if math.isinf(row.headroom_ratio) else row.headroom_ratio,
                "control_ratio": row.cells["control"].value,
                "privacy_ratio": row.cells["privacy"].value,
                "allowed_ratio": row.journeys.allowed / row.trial.sent,
                "answered_ratio": row.trial.answered_ratio,
                "energy_wh_per_1k": per_1k(row.bill.energy_wh, answered[row.name]),
                "carbon_g_per_1k": per_1k(row.bill.carbon_g, answered[row.name]),
                "misses": row.misses,
                "cells": row.cells,
            }
            for row in rows
        },
        "usual": usual(rows),
        "disagreements": [f"{u.tier}.{u.figure}" for u in usual(rows) if u.word != "agrees"],
    }


def _sections(rows: tuple[Row, ...]) -> tuple[Section, ...]:
    heads = (
        "tier",
        "facts from",
        "latency, ms",
        "p95, ms",
        "USD per 1,000",
        "PUE",
        "a node more",
        "room for",
        "control",
        "privacy",
        "may it?",
    )
    table = Table(
        title="The four tiers",
        heads=heads,
        rows=tuple(_line(row) for row in rows),
        note="what is behind a cell: skerry plan compare --explain edge.cost (or all); USD: "
        "straight line, no cost of capital; PUE: as stated; cash flows: skerry plan cost",
    )
    beside = Table(
        title="Beside the usual ranges",
        heads=("tier", "figure", "here", "usual", ""),
        rows=tuple(
            (one.tier, one.figure, one.value, f"{one.low:g} to {one.high:g}", one.word)
            for one in usual(rows)
        ),
    )
    bars = Bars(
        title="Typical latency",
        unit="ms",
        rows=tuple((row.name, row.cells["latency"].value) for row in rows),
    )
    return (
        Section(title="The four tiers", blocks=(table, bars)),
        Section(title="Do they agree with what is usual?", blocks=(beside,)),
    )


def _line(row: Row) -> tuple[Cell, ...]:
    value = {name: cell.value for name, cell in row.cells.items()}
    room = "-" if math.isinf(row.headroom_ratio) else f"{row.headroom_ratio:.3g} x"
    return (
        row.name,
        "usual figures" if row.setting.usual else "fleet file",
        value["latency"],
        row.trial.latency_ms(95) if row.trial.run.answered else None,
        value["cost"],
        value["pue"],
        _span(value["scaling"] or 0.0),
        room,
        value["control"],
        value["privacy"],
        "; ".join(row.misses) or "yes",
    )


def _span(span_s: float) -> str:
    for unit, size_s in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if span_s >= size_s:
            return f"{span_s / size_s:.3g} {unit}"
    return f"{span_s:.3g} s"


def _explained(rows: tuple[Row, ...], wanted: tuple[tuple[str, str], ...]) -> tuple[Section, ...]:
    by_name = {row.name: row for row in rows}
    blocks = []
    for tier, name in wanted:
        cell = by_name[tier].cells[name]
        value = "unknown" if cell.value is None else f"{cell.value:.4g}"
        blocks.append(
            Table(
                title=f"{tier}.{name} = {value} {cell.unit}",
                heads=("input", "value", "unit", "source"),
                rows=tuple((one.name, one.value, one.unit, one.source) for one in cell.inputs),
                note=cell.formula,
            )
        )
    return (Section(title="What stands behind the cells", blocks=tuple(blocks)),)


def _advice(
    fleet: Fleet, trace: Trace, rows: tuple[Row, ...], judged: tuple[Regret | None, str]
) -> Advice:
    order = ranked(rows)
    flip = flip_of(fleet, rows)
    if not order:
        return Advice(
            choice="none",
            reason="; ".join(f"{row.name}: {row.misses[0]}" for row in rows),
            flip="" if flip is None else flip.text,
            no_regret="there is no choice to regret",
        )
    best = order[0]
    others = ", ".join(f"{row.name}: {row.misses[0]}" for row in rows if row.misses)
    return Advice(
        choice=best.name,
        reason=f"{best.cost_usd_per_1k:.3g} USD per 1,000" + (f"; {others}" if others else ""),
        runner_up=runner_up(rows),
        flip="" if flip is None else flip.text,
        regret=judged[0],
        no_regret=judged[1],
    )


def _regret(
    fleet: Fleet, trace: Trace, table: Assumptions, services: Mapping[str, float], seed: int
) -> tuple[Regret | None, str]:
    """Choose by the first half of the trace and judge by the second."""
    first, second = halves(trace)
    if not len(first) or not len(second):
        return None, "one half of the trace has no request"
    seen, unseen = (
        compare(fleet, part, table, services_s=services, seed=seed) for part in (first, second)
    )
    able = [row.name for row in seen if not row.misses]
    later = {row.name: row for row in unseen}
    if not able:
        return None, "no tier may be chosen by the first half"
    kept = [name for name in able if not later[name].misses]
    chosen = ranked(seen)[0].name
    if chosen not in kept:
        return None, f"on the second half {chosen} fails: {later[chosen].misses[0]}"
    costs = {row.name: row.cost_usd_per_1k for row in seen}
    return (
        regret(
            {name: costs[name] for name in kept},
            {name: later[name].cost_usd_per_1k for name in kept},
            unit="USD per 1,000",
            on=f"the second half ({trace.source})",
        ),
        "",
    )


def _changes(fleet: Fleet, trace: Trace, rows: tuple[Row, ...]) -> dict[str, str]:
    """Place every model that is asked on the advised tier, where the file has that tier."""
    order = ranked(rows)
    if not order or order[0].setting.usual:
        return {}
    asked = {trace.models[place] for place in set(trace.model.tolist())}
    return {
        f"models.{model.name}.place": f"[{', '.join(tiers)}]"
        for model in fleet.models
        if model.name in asked
        and (tiers := place_from(fleet, trace, model.name, order[0].setting.level))
    }


def _usual_notes(rows: tuple[Row, ...]) -> list[str]:
    return [
        f"{row.name} is not in the fleet file; usual figures stand in, each replaceable by --set"
        for row in rows
        if row.setting.usual
    ]
