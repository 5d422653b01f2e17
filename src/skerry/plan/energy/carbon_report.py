"""The report of `skerry plan carbon`: kilograms by method, each line with what it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from skerry.base.units import SECONDS_PER_HOUR
from skerry.plan.energy.carbon import G_PER_KG, Account, Grid
from skerry.plan.energy.signals import Series
from skerry.schema.assumption import Assumption
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import Answer, Cell, Lines, PlanReport, Section, Stack, Table

REQUESTS_PER_1K: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The hours of an account, in words and as numbers."""

    source: str
    dates: str
    start_unix_s: float
    hours: int

    @property
    def end_unix_s(self) -> float:
        """The end of its last hour."""
        return self.start_unix_s + self.hours * SECONDS_PER_HOUR


def carbon_report(
    found: Account,
    grid: Grid,
    span: Span,
    *,
    requests: float | None,
    assumptions: Sequence[Assumption],
    notes: Sequence[str],
) -> PlanReport:
    """Lay out one account."""
    location_kg, market_kg = found.location_g / G_PER_KG, found.market.grams / G_PER_KG
    flag = " (location factor stands in)" if found.market.fell_back else ""
    lead = (
        f"{found.energy_kwh:,.0f} kWh in {grid.name} emit {location_kg:,.1f} kg by location and "
        f"{market_kg:,.1f} kg by market{flag}"
    )
    if found.upstream_g is not None:
        fuel_kg = found.upstream_g / G_PER_KG
        lead += f"; making the fuel adds {fuel_kg:,.1f} kg (scope 3, category 3)"
    return PlanReport(
        verb="carbon",
        question=f"What does this load emit in {grid.name}, by each method?",
        lead=lead,
        answer=Answer.NONE,
        figures=_figures(found, grid, span, requests),
        goals=_goals(found, span, requests),
        sections=(
            Section(
                title="Kilograms by method",
                text=f"{span.source}, {span.dates}, {span.hours} hours.",
                blocks=(_lines(found, grid), _stack(found)),
            ),
            Section(title="Scope 2 by market", blocks=(_market(found),)),
            Section(title="Month by month", blocks=(_months(grid, span),)),
        ),
        assumptions=tuple(assumptions),
        notes=(*_flags(found, grid), *notes),
    )


def _figures(found: Account, grid: Grid, span: Span, requests: float | None) -> dict[str, object]:
    def kg(grams: float | None) -> float | None:
        return None if grams is None else grams / G_PER_KG

    both = grid.direct is not None and grid.life_cycle is not None
    return {
        "zone": grid.name,
        "energy_kwh": found.energy_kwh,
        "scope2_location_kg": kg(found.location_g),
        "scope2_market_kg": kg(found.market.grams),
        "scope3_category3_kg": kg(found.upstream_g),
        "grid_loss_kg": kg(found.grid_loss_g),
        "network_kg": kg(found.network_g),
        "embodied_kg": kg(found.embodied_g),
        "total_location_kg": kg(found.total_location_g),
        "sci_g_per_request": found.sci_g,
        "hours": span.hours,
        "network_kwh": found.network_kwh,
        "scope2_factor": "direct" if grid.direct is not None else "life cycle (no direct known)",
        "market_fell_back_to_location": found.market.fell_back,
        "contracts_unused_kwh": found.market.unused_kwh,
        "direct_g_per_kwh_mean": float(grid.direct.mean()) if grid.direct is not None else None,
        "life_cycle_g_per_kwh_mean": float(grid.whole.mean()) if both else None,
        "requests": requests,
    }


def _flags(found: Account, grid: Grid) -> list[str]:
    flags = []
    if grid.direct is None:
        flags.append(
            "scope 2 wants the direct factor; only a life-cycle one is known here, so scope 2 is "
            "too high by what category 3 would hold, and category 3 is unknown"
        )
    elif grid.life_cycle is None:
        flags.append("no life-cycle factor is known here: scope 3 category 3 is unknown")
    if found.market.fell_back:
        flags.append(
            "no contract and no residual mix covers part of the use: the location factor stands "
            "in for it, as the guidance allows, and this line says so"
        )
    if found.market.unused_kwh > 0:
        flags.append(
            f"contracts exceed the use by {found.market.unused_kwh:,.1f} kWh, which earn nothing"
        )
    if found.embodied_g is None:
        flags.append("embodied carbon is not counted: no --servers were given")
    if found.sci_g is not None:
        flags.append("SCI counts life-cycle emissions and embodied carbon; no contract, no offset")
    return flags


def _goals(found: Account, span: Span, requests: float | None) -> tuple[GoalRecord, ...]:
    if not requests or found.sci_g is None:
        return ()

    def figure(value: float) -> Figure:
        return Figure(
            value=value,
            low=value,
            high=value,
            level=Level.ESTIMATE,
            source=span.source,
            at_unix_s=span.end_unix_s,
        )

    thousands = requests / REQUESTS_PER_1K
    energy_wh = (found.energy_kwh + found.network_kwh) * 1000
    # Goals hold what running emits; embodied carbon stays a line of its own.
    running_g = (found.sci_g * requests) - (found.embodied_g or 0.0)
    return (
        GoalRecord(
            name=GoalName.ENERGY_WH_PER_1K, goal=None, predicted=figure(energy_wh / thousands)
        ),
        GoalRecord(
            name=GoalName.CARBON_G_PER_1K, goal=None, predicted=figure(running_g / thousands)
        ),
    )


def _lines(found: Account, grid: Grid) -> Table:
    factor = "direct factor" if grid.direct is not None else "life-cycle factor"
    upstream = "life cycle minus direct" if found.upstream_g is not None else "needs both factors"

    def row(name: str, grams: float | None, basis: str) -> tuple[Cell, ...]:
        return name, None if grams is None else grams / G_PER_KG, basis

    return Table(
        title="Emissions of the span",
        heads=("line", "kg CO2e", "rests on"),
        rows=(
            row("scope 2, location", found.location_g, factor),
            row("scope 2, market", found.market.grams, "contracts, then the residual mix"),
            row("scope 3, category 3: fuel", found.upstream_g, upstream),
            row("scope 3, category 3: grid losses", found.grid_loss_g, "share lost on the way"),
            row("network", found.network_g, f"{found.network_kwh:.4g} kWh to carry traffic"),
            row("embodied", found.embodied_g, "the span's share of the machines' life"),
            row("all, scope 2 by location", found.total_location_g, "every known line"),
        ),
    )


def _stack(found: Account) -> Stack:
    upstream_g = (found.upstream_g or 0.0) + found.grid_loss_g
    rest = tuple(
        (grams or 0.0) / G_PER_KG for grams in (upstream_g, found.network_g, found.embodied_g)
    )
    return Stack(
        title="The same, by method",
        unit="kg CO2e",
        parts=("scope 2", "scope 3, category 3", "network", "embodied"),
        rows=(
            ("by location", (found.location_g / G_PER_KG, *rest)),
            ("by market", (found.market.grams / G_PER_KG, *rest)),
        ),
    )


def _market(found: Account) -> Table:
    return Table(
        title="What covers the use",
        heads=("instrument", "kWh", "g CO2e/kWh", "kg CO2e"),
        rows=tuple(
            (
                line.name,
                line.kwh,
                line.grams / line.kwh if line.kwh else None,
                line.grams / G_PER_KG,
            )
            for line in found.market.lines
        ),
    )


def _months(grid: Grid, span: Span) -> Lines:
    """Draw the mean factor of each month, numbered from the signal's first."""

    def month(hour: int) -> tuple[int, int]:
        at = datetime.fromtimestamp(span.start_unix_s + hour * SECONDS_PER_HOUR, UTC)
        return at.year, at.month

    spans = [list(hours) for _, hours in groupby(range(span.hours), key=month)]

    def means(series: Series) -> tuple[tuple[float, float], ...]:
        return tuple(
            (float(number), float(series[hours[0] : hours[-1] + 1].mean()))
            for number, hours in enumerate(spans, start=1)
        )

    series = [
        (name, means(factor))
        for name, factor in (("direct", grid.direct), ("life cycle", grid.life_cycle))
        if factor is not None
    ]
    return Lines(
        title=f"Mean factor of {grid.name}",
        x_unit="month from the signal's first",
        y_unit="g CO2e/kWh",
        series=tuple(series),
    )
