"""The sections of a cost report: tables and charts, made from what was found.

Units:   each head and each chart carries its own.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from skerry.plan.finance.cash_flow import RowKind
from skerry.plan.finance.found import Found, Range, one
from skerry.plan.finance.in_time import Check
from skerry.plan.finance.tiers import FLEET
from skerry.plan.finance.views import (
    CAPITAL_RATES,
    REFRESH_HORIZON_MONTHS,
    REFRESH_MONTHS,
    BreakEven,
)
from skerry.schema.plan_report import Bars, Cell, Lines, Section, Stack, Table, Tornado

_PER_1K: Final = "USD per 1k"
_GROUPS: Final = {
    "machines": (RowKind.HARDWARE, RowKind.REFRESH, RowKind.SPARES, RowKind.FINANCING),
    "resale": (RowKind.RESALE,),
    "room and link": (RowKind.FACILITY, RowKind.CONNECTIVITY),
    "energy": (RowKind.POWER, RowKind.COOLING),
    "hands": (RowKind.STAFF, RowKind.TRUCK_ROLLS),
    "software": (RowKind.SOFTWARE,),
    "rent and egress": (RowKind.RENT, RowKind.EGRESS),
    "latency penalty": (RowKind.LATENCY,),
}
_GROUP_OF: Final = {kind: group for group, kinds in _GROUPS.items() for kind in kinds}
_RATES: Final = tuple(f"{rate:.0%}" for rate in CAPITAL_RATES)


def sections(facts: Found, checks: Mapping[str, Check]) -> tuple[Section, ...]:
    """Return the report's sections, in reading order."""
    found = [_costs(facts), _money(facts), _capital(facts), _moves(facts), _load(facts)]
    if facts.offers:
        found.append(_machines(facts))
    if checks:
        found.append(_checked(checks))
    return tuple(found)


def _costs(facts: Found) -> Section:
    rows = tuple(
        (
            name,
            *map(_finite, facts.usd_per_1k[name]),
            100 * one(cost.in_time_ratio()),
            round(one(cost.work.machines)),
            one(cost.work.pue_ratio),
            one(cost.monthly_usd(facts.rate_per_year)),
            one(cost.flow.tco_usd()),
        )
        for name, cost in facts.base.items()
    )
    return Section(
        title="What 1,000 answers in time cost",
        text="A tier stands alone and serves all whom it can reach; this fleet is built as the "
        "file has it, its region and cloud standing by. Monthly cost over requests that met "
        "the latency goal, never over capacity. Paid as cash flows, with PUE over load, spares, "
        "software and cost of capital; the short bill is in skerry plan and plan compare.",
        blocks=(
            Table(
                title="Cost by tier",
                heads=(
                    *("", "p10 USD/1k", "p50 USD/1k", "p90 USD/1k", "in time %", "machines"),
                    *("PUE", "USD/month", "TCO USD"),
                ),
                rows=rows,
                note=f"p10 to p90 over {facts.draws} draws (PERT, seed {facts.seed}); the rest at "
                f"the inputs' values, {facts.rate_per_year:.3g} cost of capital, "
                f"{facts.case.terms.months} months.",
            ),
            *_against(facts),
            Bars(
                title="Cost per 1,000 in time, p50",
                unit="USD",
                rows=tuple((name, _finite(r[1])) for name, r in facts.usd_per_1k.items()),
            ),
        ),
    )


def _against(facts: Found) -> tuple[Table | Lines, ...]:
    if facts.against.cloud is None:
        return ()
    return (
        Table(
            title=f"Against {facts.against.cloud}",
            heads=(
                *("", "NPV p10 USD", "NPV p50 USD", "NPV p90 USD"),
                *("payback months", "break-even requests/month", "break-even share of hours"),
            ),
            rows=tuple(
                (
                    name,
                    *values,
                    facts.against.payback_months.get(name),
                    _break_even(facts.against.break_even.get(name)),
                    facts.against.break_even_hours.get(name),
                )
                for name, values in facts.against.npv_usd.items()
            ),
            note="NPV: what is won today by paying this in place of the cloud, for the same "
            "requests, late answers too. From the break-even on, an own tier costs less per 1,000 "
            "in time; a machine rented for more than the share of hours costs more than an own "
            "one.",
        ),
        Lines(
            title="Paid so far, not discounted",
            x_unit="months",
            y_unit="USD",
            series=tuple(
                (name, tuple((float(month), float(usd)) for month, usd in enumerate(paid)))
                for name, paid in facts.against.paid_usd.items()
            ),
        ),
    )


def _money(facts: Found) -> Section:
    """Return every row of every tier, as a table and as stacked bars."""
    parts: dict[str, dict[str, float]] = {}
    rows: list[tuple[Cell, ...]] = []
    split: list[tuple[Cell, ...]] = []
    for name, cost in facts.base.items():
        capex, opex = (one(part) for part in cost.flow.split_usd())
        split.append((name, capex, opex, capex / (capex + opex) if capex + opex else None))
        sums = parts.setdefault(name, {})
        for row in cost.flow.rows:
            usd = one(cost.flow.monthly_usd(facts.rate_per_year, (row,)))
            group = _GROUP_OF[row.kind]
            sums[group] = sums.get(group, 0.0) + usd
            if name != FLEET:
                kind = "CapEx" if row.is_capital else "OpEx"
                rows.append((name, row.name, kind, usd, row.level.value, row.source))
    groups = tuple(group for group in _GROUPS if any(sums.get(group) for sums in parts.values()))
    return Section(
        title="Where the money goes",
        blocks=(
            Table(
                title="Cash-flow rows",
                heads=("tier", "row", "", "USD/month, even", "how sure", "source"),
                rows=tuple(rows),
                note="Even: the equal monthly payment of the same present value.",
            ),
            Stack(
                title="Monthly cost by kind",
                unit="USD a month",
                parts=groups,
                rows=tuple(
                    (name, tuple(sums.get(group, 0.0) for group in groups))
                    for name, sums in parts.items()
                ),
            ),
            Table(
                title=f"CapEx and OpEx over {facts.case.terms.months} months",
                heads=("tier", "CapEx USD", "OpEx USD", "CapEx share"),
                rows=tuple(split),
                note="Not discounted; resale is taken off CapEx.",
            ),
        ),
    )


def _capital(facts: Found) -> Section:
    return Section(
        title="The same case at three costs of capital",
        blocks=(
            Table(
                title="Cost of capital",
                heads=(
                    "",
                    *(f"USD/1k at {rate}" for rate in _RATES),
                    *(f"present value at {rate}, USD" for rate in _RATES),
                ),
                rows=tuple(
                    (name, *map(_finite, facts.at_capital[name]), *facts.worth_at_capital[name])
                    for name in facts.base
                ),
            ),
            Lines(
                title="Cost over cost of capital",
                x_unit="% a year",
                y_unit=_PER_1K,
                series=tuple(
                    (
                        name,
                        tuple(
                            (100 * rate, usd)
                            for rate, usd in zip(CAPITAL_RATES, values, strict=True)
                            if usd < np.inf
                        ),
                    )
                    for name, values in facts.at_capital.items()
                ),
            ),
        ),
    )


def _moves(facts: Found) -> Section:
    """Return the ten strongest inputs of the fleet as it stands, and of the tier to choose."""
    blocks: list[Table | Tornado] = []
    for name, swings in facts.strongest.items():
        rows = tuple(row for row in swings if max(row[1:]) < np.inf)
        lost = tuple(row[0] for row in swings if max(row[1:]) == np.inf)
        centre = one(facts.base[name].usd_per_1k(facts.rate_per_year))
        blocks += [
            Table(
                title=f"The strongest inputs of {name}",
                heads=("input", "USD/1k at its low end", "USD/1k at its high end"),
                rows=tuple((row[0], _finite(row[1]), _finite(row[2])) for row in swings),
                note=f"A dash: nothing is in time there ({', '.join(lost)})." if lost else "",
            ),
            Tornado(
                title=f"Cost of {name}", unit=_PER_1K, centre=_finite(centre) or 0.0, rows=rows
            ),
        ]
    return Section(
        title="What moves it",
        text="Each input alone, from the low to the high end of its range; widest first.",
        blocks=tuple(blocks),
    )


def _load(facts: Found) -> Section:
    loads = sorted({load for points in facts.by_load.values() for load, _ in points})
    cells = {name: dict(points) for name, points in facts.by_load.items()}
    return Section(
        title="Over load",
        text="Machines are added as load grows, so cost per 1,000 falls in steps.",
        blocks=(
            Table(
                title="Cost per 1,000 in time over load",
                heads=("requests/month", *(f"{name} USD/1k" for name in cells)),
                rows=tuple((load, *(by.get(load) for by in cells.values())) for load in loads),
            ),
            Lines(
                title="Cost over load (log 10 of both)",
                x_unit="log 10 of requests a month",
                y_unit=f"log 10 of {_PER_1K}",
                series=tuple(
                    (name, tuple((float(np.log10(x)), float(np.log10(y))) for x, y in points))
                    for name, points in facts.by_load.items()
                ),
            ),
        ),
    )


def _machines(facts: Found) -> Section:
    ways = tuple(
        (
            name,
            offer.name,
            *offer.present_value_usd,
            offer.capex_usd,
            offer.opex_usd,
            None if offer.name == "buy" else offer.cheaper_than_buying_ratio,
        )
        for name, offers in facts.offers.items()
        for offer in offers
    )
    kept = facts.refresh_usd_per_month
    return Section(
        title="Ways to have machines",
        text="Present value of all rows of the tier at one rate. What a machine sells for in "
        "the end is drawn from its range, so an offer wins in a share of the draws.",
        blocks=(
            Table(
                title="Buy, buy used, lease, managed",
                heads=(
                    *("tier", "way", "present value p10 USD", "p50", "p90"),
                    *("CapEx USD", "OpEx USD", "share of draws cheaper than buying"),
                ),
                rows=ways,
            ),
            Table(
                title=f"How long to keep a machine, over {REFRESH_HORIZON_MONTHS} months",
                heads=("kept", *(f"{name} USD/month" for name in kept)),
                rows=tuple(
                    (f"{months} months", *(by[months] for by in kept.values()))
                    for months in REFRESH_MONTHS
                ),
                note="Failures grow with age; a later machine costs and draws less.",
            ),
        ),
    )


def _checked(checks: Mapping[str, Check]) -> Section:
    return Section(
        title="Answers in time, by replay and by formula",
        text="The trace is replayed through the decisions of production on each tier alone; the "
        "replay's share counts. At other loads Erlang's formula stands in, corrected by as much.",
        blocks=(
            Table(
                title="Share in time",
                heads=("tier", "replay", "formula", "p95 of the replay, ms"),
                rows=tuple(
                    (name, check.replay_ratio, check.formula_ratio, _finite(check.replay_ms_p95))
                    for name, check in checks.items()
                ),
            ),
        ),
    )


def _break_even(even: BreakEven | None) -> Cell:
    """Return the load, else why there is none; None for the fleet."""
    return None if even is None else even.requests_per_month or even.reason


def _finite(value: float) -> float | None:
    return value if value < np.inf else None


def _middle(values: Range | None) -> float | None:
    return None if values is None else values[1]
