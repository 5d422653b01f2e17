"""What `skerry worth` found, as a report: the answer, its range, and what to measure next."""

import math
from typing import Final

from skerry.base.units import SECONDS_PER_DAY
from skerry.plan.worth.answer import Weighed, times_text
from skerry.plan.worth.cloud_bill import Kind
from skerry.plan.worth.ranges import Spread
from skerry.schema.assumption import Assumption
from skerry.schema.goal import GoalRecord
from skerry.schema.plan_report import (
    Advice,
    Answer,
    Cell,
    Lines,
    PlanReport,
    Section,
    Stack,
    Table,
    Tornado,
)

MATTER_MOST: Final = 3
_SHOWN: Final = 10
_PAYBACK_MONTHS_MAX: Final = 600


def report(
    found: Weighed,
    *,
    goals: tuple[GoalRecord, ...],
    advice: Advice,
    errors: dict[str, float],
    used: tuple[Assumption, ...],
) -> PlanReport:
    """Return the report of an answer."""
    cost = next((one.baseline for one in goals if one.baseline is not None), None)
    return PlanReport(
        verb="worth",
        question="Are own sites worth it, from this file alone?",
        lead=_lead(found),
        answer=found.answer,
        figures=_figures(found),
        advice=(advice,),
        changes={} if cost is None else {"goals.cost_per_1k": f"{cost.value:.4g} USD"},
        goals=goals,
        prediction_error_ratio=errors,
        sections=(
            Section(title="The two ways", blocks=(_costs(found), _parts(found))),
            Section(title="What matters most", text=_next(found), blocks=_matters(found)),
            Section(title="Break-even", text=_break_even(found), blocks=_loads(found)),
            Section(title="What the file says", blocks=(_file(found),)),
        ),
        assumptions=used,
        notes=(*found.usage.notes, *_notes(found)),
    )


def _lead(found: Weighed) -> str:
    saving = found.saving_usd
    word = "save" if saving.value >= 0 else "cost"
    more = "" if saving.value >= 0 else " more"
    low, high = sorted((saving.low, saving.high))
    shown = (low, high) if saving.value >= 0 else (-high, -low)
    text = (
        f"own sites {word} {abs(saving.value):,.0f} USD a month{more}"
        f" (90 % of draws: {shown[0]:,.0f} to {shown[1]:,.0f})"
    )
    if found.answer is Answer.UNKNOWN:
        names = ", ".join(one.name for one in found.swings[:MATTER_MOST])
        return f"{text}; measure {names}"
    months = payback_months(found)
    if months is None or found.answer is not Answer.YES:
        return f"{text}; break-even at a cloud bill of {found.break_even_cloud_usd.value:,.0f} USD"
    return f"{text} and pay back in {months:.0f} months"


def payback_months(found: Weighed) -> float | None:
    """Return after how many months the savings have paid for the start; None where never."""
    monthly = float(found.values.cloud_usd[0] - found.values.own_running_usd[0])
    if monthly <= 0:
        return None
    months = float(found.values.upfront_usd[0]) / monthly
    return months if months < _PAYBACK_MONTHS_MAX else None


def _figures(found: Weighed) -> dict[str, object]:
    demand, requests = found.demand, found.usage.requests
    figures: dict[str, object] = {
        "recognised": found.usage.recognised,
        **_spread("cloud_usd_per_month", found.cloud_usd),
        **_spread("own_usd_per_month", found.own_usd),
        **_spread("saving_usd_per_month", found.saving_usd),
        "chance_own_is_cheaper_ratio": found.chance,
        "upfront_usd": float(found.values.upfront_usd[0]),
        "payback_months": payback_months(found),
        "nodes": float(found.values.nodes[0]),
        **_spread("break_even_cloud_usd_per_month", found.break_even_cloud_usd),
        "break_even_load_ratio": None,
    }
    if found.break_even_load is not None:
        figures.update(_spread("break_even_load_ratio", found.break_even_load))
        if not math.isnan(demand.requests_per_s):
            per_day = demand.requests_per_s * SECONDS_PER_DAY * found.break_even_load.value
            figures["break_even_requests_per_day"] = per_day
    if requests is not None:
        figures |= {
            "requests": len(requests),
            "span_s": demand.span_s,
            "requests_per_day": demand.requests_per_s * SECONDS_PER_DAY,
            "peak_minute_ratio": demand.peak_ratio,
            "bad_lines": requests.bad_lines,
            "first_bad_line": requests.first_bad or None,
        }
    if found.usage.bill is not None:
        figures["billed_usd_per_month"] = {
            str(kind): usd for kind, usd in found.usage.bill.usd_per_month.items()
        }
    figures["inputs_that_matter"] = found.swings[:MATTER_MOST]
    return figures


def _spread(name: str, spread: Spread) -> dict[str, float]:
    return {name: spread.value, f"{name}_low": spread.low, f"{name}_high": spread.high}


def _costs(found: Weighed) -> Table:
    rows = (
        ("the cloud", found.cloud_usd),
        ("own sites", found.own_usd),
        ("saving", found.saving_usd),
    )
    return Table(
        title="What a month costs",
        heads=("way", "USD a month", "5 % of draws below", "95 % of draws below"),
        rows=tuple((name, one.value, one.low, one.high) for name, one in rows),
        note="at the same cost of capital; money alone, not latency or residency",
    )


def _parts(found: Weighed) -> Stack:
    names = (*found.values.cloud, *found.values.own)
    cloud = tuple(float(one[0]) for one in found.values.cloud.values())
    own = tuple(float(one[0]) for one in found.values.own.values())
    return Stack(
        title="What it is made of, at the inputs' values",
        unit="USD a month",
        parts=names,
        rows=(
            ("the cloud", cloud + (0.0,) * len(own)),
            ("own sites", (0.0,) * len(cloud) + own),
        ),
    )


def _next(found: Weighed) -> str:
    names = " ".join(
        f"{place}. {one.name}: {one.measure}."
        for place, one in enumerate(found.swings[:MATTER_MOST], start=1)
    )
    return f"Measure next: {names}" if names else "No input has a range."


def _matters(found: Weighed) -> tuple[Table, Tornado]:
    top = found.swings[:MATTER_MOST]
    return (
        Table(
            title="The three inputs that matter most",
            heads=("input", "range", "saving at its ends, USD a month", "measure it"),
            rows=tuple(
                (
                    one.name,
                    f"{one.low:g} to {one.high:g} {one.unit}",
                    f"{one.saving_usd_at_low:,.0f} to {one.saving_usd_at_high:,.0f}",
                    one.measure,
                )
                for one in top
            ),
        ),
        Tornado(
            title="What each input moves the saving to, the others at their values",
            unit="USD a month",
            centre=float(found.values.saving_usd[0]),
            rows=tuple(
                (one.name, one.saving_usd_at_low, one.saving_usd_at_high)
                for one in found.swings[:_SHOWN]
            ),
        ),
    )


def _break_even(found: Weighed) -> str:
    cloud = found.break_even_cloud_usd
    return (
        f"For today's load own sites cost less once the cloud costs {cloud.value:,.0f} USD a month"
        f" (90 % of draws: {cloud.low:,.0f} to {cloud.high:,.0f}). {_load(found)}"
    )


def _load(found: Weighed) -> str:
    if found.break_even_load is not None:
        one = found.break_even_load
        return (
            f"Both cost the same at {times_text(one.value)} times today's load "
            f"(90 % of draws: {times_text(one.low)} to {times_text(one.high)})."
        )
    always = found.by_load[-1][1] > found.by_load[-1][2]
    word = "at every load" if always else "at no load"
    return f"Own sites are cheaper {word} from {found.by_load[0][0]:g} to {found.by_load[-1][0]:g}."


def _loads(found: Weighed) -> tuple[Lines, Table]:
    near = [row for row in found.by_load if 0.09 <= row[0] <= 11]
    return (
        Lines(
            title="Cost over load",
            x_unit="times today's load",
            y_unit="USD a month",
            series=(
                ("the cloud", tuple((load, cloud) for load, cloud, _ in near)),
                ("own sites", tuple((load, own) for load, _, own in near)),
            ),
        ),
        Table(
            title="The same at other costs of capital",
            heads=("a year", "the cloud, USD a month", "own sites", "saving"),
            rows=tuple(
                (f"{rate:.0%}", cloud, own, cloud - own) for rate, cloud, own in found.by_rate
            ),
        ),
    )


def _file(found: Weighed) -> Table:
    rows: list[tuple[Cell, ...]] = [("taken for", found.usage.recognised)]
    demand = found.demand
    if found.usage.bill is not None:
        bill = found.usage.bill
        rows += [(f"{kind}, USD a month", bill.usd_per_month[kind]) for kind in Kind]
        rows += [(f"of it {name} ({kind})", usd) for name, kind, usd in bill.lines[:_SHOWN]]
    else:
        rows += [
            ("requests a day", demand.requests_per_s * SECONDS_PER_DAY),
            ("busiest minute over the mean", demand.peak_ratio),
            ("mean duration, ms", _known(demand.took_s * 1000)),
            ("bytes sent per request", _known(demand.sent_bytes)),
        ]
    return Table(title="What the file says", heads=("figure", "value"), rows=tuple(rows))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _notes(found: Weighed) -> list[str]:
    notes = []
    demand = found.demand
    movable = (Kind.COMPUTE, Kind.ACCELERATOR)
    if found.usage.bill is not None and not any(
        found.usage.bill.usd_per_month[kind] > 0 for kind in movable
    ):
        notes.append("no line of the bill pays for compute, so nothing could move")
    if demand.on_accelerators:
        notes.append("taken for a language model's requests, as there are generated tokens")
    if math.isfinite(demand.span_s) and demand.span_s < 7 * SECONDS_PER_DAY:
        days = demand.span_s / SECONDS_PER_DAY
        notes.append(f"the file spans {days:.2g} days; four weeks would show how weeks differ")
    return notes
