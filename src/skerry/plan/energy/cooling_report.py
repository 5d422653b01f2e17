"""The report of `skerry plan cooling`: PUE, cost and room in the feed, by choice of cooling."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from skerry.energy.cooling import Plant
from skerry.plan.assumptions import Assumptions
from skerry.plan.energy.cooling import CHOICES, YEAR_H, Hours, Outcome, outcome, plant
from skerry.plan.regret import regret
from skerry.schema.plan_report import Advice, Answer, Bars, Lines, PlanReport, Section, Table

WORDS: Final = {
    "air": "air by room units",
    "containment": "air with aisles apart",
    "chip": "liquid to the chips",
}


def cooling_report(
    hours: Hours,
    inputs: Assumptions,
    *,
    rated_kw: float,
    feed_kw: float | None,
    tier: str | None,
    built: str | None = None,
) -> PlanReport:
    """Compare the choices; `built` is one that stands already, so that its plant costs nothing."""
    plants = [plant(choice, inputs, rated_kw=rated_kw) for choice in CHOICES]

    def run(part: Hours) -> list[Outcome]:
        return [outcome(one, part, inputs, feed_kw=feed_kw) for one in plants]

    def cost(one: Outcome) -> float:
        return one.energy_usd if one.choice == built else one.usd

    found = run(hours)
    fitting = [one for one in found if not one.hours_above_feed]
    usual = inputs.row("survey_pue_ratio")
    notes = [
        f"{usual.source}: {usual.value:g}",
        "humidity is left out; free cooling in damp air reaches less far",
    ]
    if len(hours) < YEAR_H:
        notes.append(f"interim: a PUE is of 12 months, and these are {len(hours)} hours")
    question = f"How should {rated_kw:g} kW of machines be cooled here?"
    sections = _sections(found, plants, hours, cost_of={one.choice: cost(one) for one in found})
    figures = _figures(found, hours, rated_kw, feed_kw)
    if not fitting:
        least = min(found, key=lambda one: one.site_kw_max)
        return PlanReport(
            verb="cooling",
            question=question,
            lead=(
                f"impossible: the feed of {feed_kw:g} kW carries no choice; the least, "
                f"{WORDS[least.choice]}, needs {least.site_kw_max:.4g} kW at worst, and the feed "
                f"would carry {least.it_kw_max or 0:.4g} kW of machines"
            ),
            answer=Answer.NO,
            figures={**figures, "choice": None},
            sections=sections,
            assumptions=inputs.used(),
            notes=tuple(notes),
        )
    half = len(hours) // 2
    first, second = run(hours.part(0, half)), run(hours.part(half, len(hours)))
    kept = {one.choice for one in fitting}
    judged = regret(
        {WORDS[one.choice]: cost(one) for one in first if one.choice in kept},
        {WORDS[one.choice]: cost(one) for one in second if one.choice in kept},
        unit="USD a year",
        on=f"the second half of {hours.source}",
    )
    best = next(one for one in found if WORDS[one.choice] == judged.chosen)
    others = sorted((one for one in fitting if one is not best), key=cost)
    return PlanReport(
        verb="cooling",
        question=question,
        lead=(
            f"{WORDS[best.choice]}: PUE {best.pue_ratio or 0:.2f}, {cost(best):,.0f} USD a year "
            f"for energy and plant"
        ),
        answer=Answer.NONE,
        figures={"choice": best.choice, "pue_ratio": best.pue_ratio, **figures},
        advice=(
            Advice(
                choice=WORDS[best.choice],
                reason="the least of energy and plant on the first half of the hours",
                runner_up=WORDS[others[0].choice] if others else "",
                flip=(
                    _flip(
                        best,
                        others[0],
                        usd_per_kwh=inputs["cooling_usd_per_kwh"],
                        dearer_usd=cost(others[0]) - cost(best),
                    )
                    if others
                    else ""
                ),
                regret=judged,
            ),
        ),
        changes=({f"tiers.{tier}.pue": f"{best.pue_ratio:.3g}"} if tier and best.pue_ratio else {}),
        sections=sections,
        assumptions=inputs.used(),
        notes=tuple(notes),
    )


def _flip(best: Outcome, other: Outcome, *, usd_per_kwh: float, dearer_usd: float) -> str:
    """Return the price of energy at which the runner-up, so much dearer, is as cheap."""
    used = (best.energy_usd - other.energy_usd) / usd_per_kwh  # kWh a year more than the other's
    even = usd_per_kwh + dearer_usd / used if used else 0.0
    if even <= 0:
        return f"its plant costs {dearer_usd:,.0f} USD a year less"
    return f"a kWh costs {'more' if used > 0 else 'less'} than {even:.3g} USD"


def _figures(
    found: Sequence[Outcome], hours: Hours, rated_kw: float, feed_kw: float | None
) -> dict[str, object]:
    figures: dict[str, object] = {f"{one.choice}_pue_ratio": one.pue_ratio for one in found}
    figures |= {
        "it_kwh": found[0].it_kwh,
        "rated_kw": rated_kw,
        "feed_kw": feed_kw,
        "hours": len(hours),
    }
    for one in found:
        name = one.choice
        figures[f"{name}_site_kwh"] = one.site_kwh
        figures[f"{name}_site_kw_max"] = one.site_kw_max
        figures[f"{name}_usd_per_year"] = one.usd
        if feed_kw is not None:
            figures[f"{name}_hours_above_feed"] = one.hours_above_feed
            figures[f"{name}_it_kw_max"] = one.it_kw_max
    return figures


def _sections(
    found: Sequence[Outcome], plants: Sequence[Plant], hours: Hours, *, cost_of: dict[str, float]
) -> tuple[Section, ...]:
    heads = ("cooling", "PUE", "site kWh", "at worst kW", "energy USD/year", "all USD/year")
    fed = found[0].it_kw_max is not None
    table = Table(
        title="Choices of cooling",
        heads=(*heads, "hours above feed", "IT kW the feed carries") if fed else heads,
        rows=tuple(
            (
                WORDS[one.choice],
                one.pue_ratio,
                one.site_kwh,
                one.site_kw_max,
                one.energy_usd,
                cost_of[one.choice],
                *((one.hours_above_feed, one.it_kw_max) if fed else ()),
            )
            for one in found
        ),
    )
    bars = Bars(title="PUE", unit="", rows=tuple((one.choice, one.pue_ratio) for one in found))
    load_kw = float(hours.it_kw.mean())
    air = np.arange(-10.0, 42.0, 2.0)
    shares = np.arange(0.1, 1.01, 0.1)
    mean_c = np.array([float(hours.air_c.mean())])

    def by_air(one: Plant) -> tuple[tuple[float, float], ...]:
        pue = (one.fixed_kw + load_kw * one.per_it(air)) / load_kw
        return tuple(zip(air.tolist(), pue.tolist(), strict=True))

    def by_load(one: Plant) -> tuple[tuple[float, float], ...]:
        pue = one.fixed_kw / (shares * one.rated_kw) + one.per_it(mean_c)
        return tuple(zip((100 * shares).tolist(), pue.tolist(), strict=True))

    lines: tuple[Lines, ...] = ()
    if load_kw > 0:
        lines = (
            Lines(
                title="PUE by outside air",
                x_unit="C outside",
                y_unit="PUE",
                series=tuple((WORDS[one.name], by_air(one)) for one in plants),
            ),
            Lines(
                title="PUE by load",
                x_unit="% of rated load",
                y_unit="PUE",
                series=tuple((WORDS[one.name], by_load(one)) for one in plants),
            ),
        )
    return (
        Section(title="Choices", text=f"{hours.source}, {len(hours)} hours.", blocks=(table, bars)),
        Section(title="What PUE hangs on", blocks=lines),
    )
