"""The report of `skerry plan shift`: one job, or the table of job lengths and slacks."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median

from skerry.plan.energy.shift import FLAT_CV, Cell, cell, table
from skerry.plan.energy.shift_advice import DAY_H, fixed_hour, waiting_rule
from skerry.plan.energy.signals import Series, Signal
from skerry.schema.plan_report import Answer, Bars, Lines, PlanReport, Section, Table


def one_job(
    signal: Signal,
    zone: str,
    *,
    job_h: int,
    slack_h: int,
    load_kw: float,
    threshold: float,
    forecasts: Mapping[str, Series] | None = None,
    forecast_text: str = "perfect",
    ready_hour: int = 0,
    carbon_rule: int | None = None,
) -> PlanReport:
    """Answer for one zone, job length and slack.

    `carbon_rule` is the place of the fleet's rule on `grid.carbon`, which may be written.
    """
    actual = signal.factor[zone]
    forecast = None if forecasts is None else forecasts[zone]
    one = cell(zone, actual, job_h=job_h, slack_h=slack_h, forecast=forecast)
    best = max(one.gain(one.contiguous_g, threshold), one.gain(one.interruptible_g, threshold))
    hour = fixed_hour(signal, zone, job_h, slack_h, ready_hour=ready_hour) if best else None
    rule = waiting_rule(signal, zone, job_h, slack_h) if best else None
    job = f"a {job_h} h job in {zone} that may wait {slack_h} h"
    true = (
        f"{one.saved(one.contiguous_g):.2%} in one piece, "
        f"{one.saved(one.interruptible_g):.2%} in hours picked freely"
    )
    if best:
        lead = f"{job} saves {true}, against one that starts at once"
    else:
        lead = f"no gain: {job} would save {true}; {_why(one, threshold)}"
    return PlanReport(
        verb="shift",
        question=f"Is it worth letting {job} wait for cleaner hours?",
        lead=lead,
        answer=Answer.YES if best else Answer.NO,
        figures={
            **_figures(one, load_kw, threshold),
            "load_kw": load_kw,
            "threshold_ratio": threshold,
            "forecast": forecast_text,
            "rule_limit_g_per_kwh": rule.limit_g_per_kwh if rule else None,
            "rule_saving_ratio": rule.saved if rule else None,
        },
        advice=tuple(one for one in (hour, rule.advice if rule else None) if one),
        changes=(
            {f"rules.{carbon_rule}.when": f"grid.carbon > {rule.limit_g_per_kwh:.0f} g/kWh"}
            if rule and carbon_rule is not None
            else {}
        ),
        sections=(
            Section(
                title="What waiting saves",
                text=f"Means over {one.starts} start hours of {signal.path}, {signal.span()}.",
                blocks=(_one_table(one, load_kw), _bars(one, load_kw)),
            ),
            Section(title="The signal", blocks=(_day(actual, zone),)),
        ),
        notes=_notes(signal, [one], forecast_text),
    )


def all_cells(
    signal: Signal,
    zones: Sequence[str],
    *,
    load_kw: float,
    threshold: float,
    forecasts: Mapping[str, Series] | None = None,
    forecast_text: str = "perfect",
    tell: Callable[[float], object] = lambda share: None,
) -> PlanReport:
    """Answer for every job length and slack of the study, in each zone."""
    cells = table(signal, zones=zones, forecasts=forecasts, tell=tell)
    gains = [
        max(c.gain(c.contiguous_g, threshold), c.gain(c.interruptible_g, threshold)) for c in cells
    ]
    won = sum(1 for gain in gains if gain)
    flat = sorted({c.zone for c in cells if c.flat})
    lead = (
        f"{won} of {len(cells)} cells of {len(zones)} zones save {threshold:.1%} of the emissions "
        f"or more; the median cell saves {median(gains):.1%}"
    )
    return PlanReport(
        verb="shift",
        question="Where, and for which jobs, is it worth waiting for cleaner hours?",
        lead=lead,
        answer=Answer.YES if won else Answer.NO,
        figures={
            "zones": list(zones),
            "zones_flat": flat,
            "cells": [_figures(c, load_kw, threshold) for c in cells],
            "cells_with_gain": won,
            "load_kw": load_kw,
            "threshold_ratio": threshold,
            "forecast": forecast_text,
        },
        sections=(
            Section(
                title="Mean saving over zones",
                text="Longer jobs save less, longer slack saves more; flat zones count as 0.",
                blocks=(_matrix(cells, threshold),),
            ),
            Section(title="Every cell", blocks=(_every(cells, load_kw, threshold),)),
        ),
        notes=_notes(signal, cells, forecast_text),
    )


def _figures(one: Cell, load_kw: float, threshold: float) -> dict[str, object]:
    figures: dict[str, object] = {
        "zone": one.zone,
        "starts": one.starts,
        "baseline_g_mean": one.baseline_g * load_kw,
        "contiguous_g_mean": one.contiguous_g * load_kw,
        "interruptible_g_mean": one.interruptible_g * load_kw,
    }
    for name, grams, perfect in (
        ("contiguous", one.contiguous_g, one.contiguous_perfect_g),
        ("interruptible", one.interruptible_g, one.interruptible_perfect_g),
    ):
        figures[f"{name}_saving_ratio"] = one.gain(grams, threshold)
        figures[f"{name}_true_ratio"] = one.saved(grams)
        figures[f"{name}_perfect_g_mean"] = perfect * load_kw
    figures["no_gain"] = not any(
        one.gain(grams, threshold) for grams in (one.contiguous_g, one.interruptible_g)
    )
    return figures | {
        "variation_cv": one.variation_cv,
        "job_h": one.job_h,
        "slack_h": one.slack_h,
    }


def _why(one: Cell, threshold: float) -> str:
    if one.flat:
        return (
            f"the zone hardly varies (coefficient of variation {one.variation_cv:.3f}, "
            f"below {FLAT_CV:g})"
        )
    return f"less than the threshold of {threshold:.2%}"


def _one_table(one: Cell, load_kw: float) -> Table:
    def row(name: str, grams: float, perfect: float) -> tuple[str, float, float, float]:
        return name, grams * load_kw, one.saved(grams) * 100, one.saved(perfect) * 100

    base = one.baseline_g
    return Table(
        title="Mean emissions of one job",
        heads=("how", "g CO2e", "saved %", "saved % with a perfect forecast"),
        rows=(
            row("at once", base, base),
            row("best start, in one piece", one.contiguous_g, one.contiguous_perfect_g),
            row("best hours, picked freely", one.interruptible_g, one.interruptible_perfect_g),
        ),
    )


def _bars(one: Cell, load_kw: float) -> Bars:
    return Bars(
        title="Mean emissions of one job, CO2e",
        unit="g",
        rows=(
            ("at once", one.baseline_g * load_kw),
            ("in one piece", one.contiguous_g * load_kw),
            ("picked freely", one.interruptible_g * load_kw),
        ),
    )


def _day(actual: Series, zone: str) -> Lines:
    whole = actual[: len(actual) // DAY_H * DAY_H]
    if not len(whole):
        points = tuple((float(hour), float(value)) for hour, value in enumerate(actual))
    else:
        means = whole.reshape(-1, DAY_H).mean(axis=0)
        points = tuple((float(hour), float(value)) for hour, value in enumerate(means))
    return Lines(
        title=f"Mean intensity of {zone} by hour from the signal's first",
        x_unit="hour of the day",
        y_unit="g CO2e/kWh",
        series=((zone, points),),
    )


def _matrix(cells: Sequence[Cell], threshold: float) -> Table:
    slacks = sorted({c.slack_h for c in cells})
    rows = []
    for job_h in sorted({c.job_h for c in cells}):
        for kind in ("in one piece", "picked freely"):
            row: list[str | float] = [f"{job_h} h, {kind}"]
            for slack_h in slacks:
                row.append(
                    100
                    * fmean(
                        c.gain(
                            c.contiguous_g if kind == "in one piece" else c.interruptible_g,
                            threshold,
                        )
                        for c in cells
                        if (c.job_h, c.slack_h) == (job_h, slack_h)
                    )
                )
            rows.append(tuple(row))
    return Table(
        title="Mean saving in % by slack",
        heads=("job", *(f"{slack_h} h" for slack_h in slacks)),
        rows=tuple(rows),
    )


def _every(cells: Sequence[Cell], load_kw: float, threshold: float) -> Table:
    return Table(
        title="Every zone, job length and slack",
        heads=(
            "zone",
            "job h",
            "slack h",
            "starts",
            "at once g",
            "in one piece g",
            "picked freely g",
            "saved %",
            "true %",
        ),
        rows=tuple(
            (
                c.zone,
                c.job_h,
                c.slack_h,
                c.starts,
                c.baseline_g * load_kw,
                c.contiguous_g * load_kw,
                c.interruptible_g * load_kw,
                100 * c.gain(c.interruptible_g, threshold),
                100 * c.saved(c.interruptible_g),
            )
            for c in cells
        ),
        note="saved: 0 where it is no gain; true: hours picked freely, whatever the threshold",
    )


def _notes(signal: Signal, cells: Sequence[Cell], forecast_text: str) -> tuple[str, ...]:
    notes = [
        "average intensity of the grid; what a shifted job changes at the margin can differ",
        f"chosen on a {forecast_text} forecast, paid at the actual values",
    ]
    late = max(c.job_h + c.slack_h for c in cells)
    if late > 1:
        notes.append("a window that runs past the signal's end is cut off there")
    if signal.direct is not None:
        notes.append("life-cycle factors of the file (ci_lca_g_kwh)")
    return tuple(notes)
