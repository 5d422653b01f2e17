"""Everything a cost plan finds out, before it is put into words.

Base figures take every input at its value; p10, p50 and p90 are over draws of all inputs
that were used. Both come from the same rows.

Units:   USD, USD per 1,000 requests in time, requests a month, fractions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from skerry.plan.assumptions import Assumptions
from skerry.plan.finance.cash_flow import Series, Value
from skerry.plan.finance.choice import Choice, choose
from skerry.plan.finance.in_time import Check
from skerry.plan.finance.months import Months
from skerry.plan.finance.ranges import drawn, quantiles, swings
from skerry.plan.finance.tiers import FLEET, Case, Cost
from skerry.plan.finance.views import (
    CAPITAL_RATES,
    BreakEven,
    break_even,
    by_load,
    hours_ratio,
    npv_against,
    offers,
    payback_months,
    refresh_usd_per_month,
)
from skerry.schema.assumption import Assumption

Range = tuple[float, float, float]
"""p10, p50 and p90."""
Tell = Callable[[float, str], None]
"""Told how much is done, 0 to 1, and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRange:
    """One way to have machines: present value over draws, CapEx and OpEx at base."""

    name: str
    present_value_usd: Range
    capex_usd: float
    opex_usd: float
    cheaper_than_buying_ratio: float
    """Share of draws in which it costs less than buying new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Tiers held against the cloud, for the same requests; empty without a rented cloud."""

    cloud: str | None = None
    npv_usd: Mapping[str, Range] = field(default_factory=dict)
    break_even: Mapping[str, BreakEven] = field(default_factory=dict)
    break_even_hours: Mapping[str, float | None] = field(default_factory=dict)
    paid_usd: Mapping[str, Series] = field(default_factory=dict)
    """What is paid up to each month, the cloud's for the same requests beside it."""
    payback_months: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The figures of one plan; mappings are by tier, the whole fleet among them."""

    case: Case
    rate_per_year: float
    draws: int
    seed: int
    base: Mapping[str, Cost]
    usd_per_1k: Mapping[str, Range]
    tco_usd: Mapping[str, Range]
    at_capital: Mapping[str, tuple[float, ...]]
    """USD per 1,000 at 0, 5 and 10 % cost of capital."""
    worth_at_capital: Mapping[str, tuple[float, ...]]
    """Present value of all payments at 0, 5 and 10 %."""
    against: Against
    offers: Mapping[str, tuple[OfferRange, ...]]
    refresh_usd_per_month: Mapping[str, Mapping[int, float]]
    by_load: Mapping[str, tuple[tuple[float, float], ...]]
    choice: Choice
    strongest: Mapping[str, tuple[tuple[str, float, float], ...]]
    """What each input alone moves the cost per 1,000 of the fleet, and of the choice, to."""
    used: tuple[Assumption, ...]


def found(
    case: Case,
    inputs: Assumptions,
    checks: Mapping[str, Check],
    *,
    draws: int,
    seed: int,
    months: Months | None = None,
    tell: Tell = lambda _share, _what: None,
) -> Found:
    """Evaluate a case on its inputs and on draws of them."""
    rate = inputs["cost_of_capital_per_year"]
    base = case.costs(inputs)
    own = case.owned()
    refreshed = {n: refresh_usd_per_month(case, n, inputs, rate_per_year=rate) for n in own}
    for name in own:  # asked once at base, so that every input they use is drawn
        offers(case, name, inputs, rate_per_year=rate)
    tell(0.1, "draws")
    columns = drawn(inputs.used(), draws=draws, seed=seed)
    many = case.costs(columns)
    per_1k = {n: cost.usd_per_1k(columns["cost_of_capital_per_year"]) for n, cost in many.items()}
    tell(0.3, "break-even")
    against = _against(case, base, many, inputs, columns, rate)
    tell(0.5, "the choice")
    choice = choose(case, inputs, base, per_1k, checks, months=months, rate_per_year=rate)
    tell(0.7, "ways to have machines")
    ways = {name: _offers(case, name, columns, inputs, rate) for name in own}
    tell(0.9, "what moves it")
    moved = {name: _swings(case, name, inputs) for name in (FLEET, *choice.ranked[:1])}
    return Found(
        case=case,
        rate_per_year=rate,
        draws=draws,
        seed=seed,
        base=base,
        usd_per_1k={name: quantiles(values) for name, values in per_1k.items()},
        tco_usd={name: quantiles(cost.flow.tco_usd()) for name, cost in many.items()},
        at_capital={n: _at_rates(cost.usd_per_1k) for n, cost in base.items()},
        worth_at_capital={n: _at_rates(cost.flow.present_value) for n, cost in base.items()},
        against=against,
        offers=ways,
        refresh_usd_per_month=refreshed,
        by_load=by_load(case, inputs, rate_per_year=rate),
        choice=choice,
        strongest=moved,
        used=inputs.used(),
    )


def one(value: Value) -> float:
    """Return a value that is one number as a float."""
    return float(np.asarray(value))


def _at_rates(view: Callable[[Value], Value]) -> tuple[float, ...]:
    return tuple(one(view(rate)) for rate in CAPITAL_RATES)


def _against(
    case: Case,
    base: Mapping[str, Cost],
    many: Mapping[str, Cost],
    inputs: Assumptions,
    columns: Mapping[str, Value],
    rate: float,
) -> Against:
    cloud = next(iter(case.clouds()), None)
    if cloud is None:
        return Against()
    rates = columns["cost_of_capital_per_year"]
    own = case.owned()
    return Against(
        cloud=cloud,
        npv_usd={
            name: quantiles(npv_against(cost, many[cloud], rates))
            for name, cost in many.items()
            if name != cloud
        },
        break_even={n: break_even(case, n, cloud, inputs, rate_per_year=rate) for n in own},
        break_even_hours={n: hours_ratio(case, n, cloud, inputs, rate_per_year=rate) for n in own},
        paid_usd={n: np.cumsum(base[n].flow.usd()) for n in (*own, cloud)},
        payback_months={n: payback_months(base[n], base[cloud]) for n in own},
    )


def _swings(case: Case, name: str, inputs: Assumptions) -> tuple[tuple[str, float, float], ...]:
    def usd_per_1k(at: Mapping[str, Value]) -> float:
        cost = case.fleet_cost(at) if name == FLEET else case.cost(name, at)
        return one(cost.usd_per_1k(at["cost_of_capital_per_year"]))

    return swings(inputs.used(), usd_per_1k)


def _offers(
    case: Case, name: str, columns: Mapping[str, Value], inputs: Assumptions, rate: float
) -> tuple[OfferRange, ...]:
    """Return each way to have machines; all are held against buying on the same draws."""
    many = offers(case, name, columns, rate_per_year=columns["cost_of_capital_per_year"])
    base = offers(case, name, inputs, rate_per_year=rate)
    bought = np.asarray(many[0].present_value_usd)
    return tuple(
        OfferRange(
            name=offer.name,
            present_value_usd=quantiles(offer.present_value_usd),
            capex_usd=one(at.capex_usd),
            opex_usd=one(at.opex_usd),
            cheaper_than_buying_ratio=float(np.mean(np.asarray(offer.present_value_usd) < bought)),
        )
        for offer, at in zip(many, base, strict=True)
    )
