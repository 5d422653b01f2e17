"""Everything a cost plan finds out, before it is put into words.

Base figures take every input at its value; p10, p50 and p90 are over draws of all inputs
that were used. Both come from the same rows.

Units:   USD, USD per 1,000 requests in time, requests a month, fractions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skerry.plan.assumptions import Assumptions
from skerry.plan.cash_flow import Value
from skerry.plan.finance_check import Check
from skerry.plan.finance_ranges import drawn, quantiles, swings
from skerry.plan.finance_tiers import FLEET, Case, Cost
from skerry.plan.finance_views import (
    CAPITAL_RATES,
    break_even_requests,
    by_load,
    fitting_ms,
    flip_input,
    flip_requests,
    hours_ratio,
    npv_against,
    offers,
    refresh_usd_per_month,
)
from skerry.schema.assumption import Assumption

Range = tuple[float, float, float]
"""p10, p50 and p90."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRange:
    """One way to have machines: present value over draws, CapEx and OpEx at base."""

    name: str
    present_value_usd: Range
    capex_usd: float
    opex_usd: float
    cheaper_than_buying_ratio: float
    """Share of draws in which it costs less than buying new."""


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
    npv_usd: Mapping[str, Range]
    """Against the cloud, for the same requests; empty where no tier is a rented cloud."""
    cloud: str | None
    break_even_requests: Mapping[str, float | None]
    break_even_hours: Mapping[str, float | None]
    at_capital: Mapping[str, tuple[float, ...]]
    """USD per 1,000 at 0, 5 and 10 % cost of capital."""
    worth_at_capital: Mapping[str, tuple[float, ...]]
    """Present value of all payments at 0, 5 and 10 %."""
    offers: Mapping[str, tuple[OfferRange, ...]]
    refresh_usd_per_month: Mapping[str, Mapping[int, float]]
    by_load: Mapping[str, tuple[tuple[float, float], ...]]
    ranked: tuple[str, ...]
    """Tiers that meet the target, least base cost per 1,000 first."""
    slower: tuple[str, ...]
    """Tiers that cost less than the first of `ranked` but miss the target, cheapest first."""
    fits_ms: Mapping[str, float]
    """Latency that enough of a slower tier's answers keep."""
    first_is_cheapest_ratio: float
    """Share of draws in which the first of `ranked` is the cheapest of them."""
    flip_requests: float | None
    """Load nearest to the demand at which the second of `ranked` costs less than the first."""
    flip_input: tuple[str, float] | None
    """Input and value that make the second of `ranked` the cheaper one, at this load."""
    strongest: tuple[tuple[str, float, float], ...]
    used: tuple[Assumption, ...]


def found(
    case: Case,
    inputs: Assumptions,
    checks: Mapping[str, Check],
    *,
    draws: int,
    seed: int,
) -> Found:
    """Evaluate a case on its inputs and on draws of them."""
    rate = inputs["cost_of_capital_per_year"]
    base = case.costs(inputs)
    cloud = next(iter(case.clouds()), None)
    refreshed = {
        name: refresh_usd_per_month(case, name, inputs, rate_per_year=rate) for name in case.owned()
    }
    for name in case.owned():  # asked once at base, so that every input they use is drawn
        offers(case, name, inputs, rate_per_year=rate)
    against = [name for name in case.owned() if cloud]
    even = {
        name: break_even_requests(case, name, cloud, inputs, rate_per_year=rate)
        for name in against
        if cloud
    }
    hours = {
        name: hours_ratio(case, name, cloud, inputs, rate_per_year=rate)
        for name in against
        if cloud
    }
    columns = drawn(inputs.used(), draws=draws, seed=seed)
    rates = columns["cost_of_capital_per_year"]
    many = case.costs(columns)
    usd_per_1k = {name: quantiles(cost.usd_per_1k(rates)) for name, cost in many.items()}
    able = [name for name in case.alone if base[name].is_able(case.in_time_least)]
    ranked = tuple(sorted(able, key=lambda name: one(base[name].usd_per_1k(rate))))
    first = ranked[0] if ranked else FLEET
    least = [np.asarray(many[name].usd_per_1k(rates)) for name in ranked]
    two = len(ranked) > 1
    fits_ms = {
        name: checks[name].replay_ms_p95 if name in checks else fitting_ms(case, name, inputs)
        for name in case.alone
        if ranked and base[name].in_time_ratio() < case.in_time_least
        if one(base[name].work.feed_used_ratio) <= 1
        if one(base[name].usd_per_1k(rate)) < one(base[first].usd_per_1k(rate))
    }
    slower = sorted(
        (name for name, limit_ms in fits_ms.items() if limit_ms is not None),
        key=lambda name: one(base[name].usd_per_1k(rate)),
    )
    return Found(
        case=case,
        rate_per_year=rate,
        draws=draws,
        seed=seed,
        base=base,
        usd_per_1k=usd_per_1k,
        tco_usd={name: quantiles(cost.flow.tco_usd()) for name, cost in many.items()},
        npv_usd={
            name: quantiles(npv_against(cost, many[cloud], rates))
            for name, cost in many.items()
            if cloud and name != cloud
        }
        if cloud
        else {},
        cloud=cloud,
        break_even_requests=even,
        break_even_hours=hours,
        at_capital={
            name: tuple(one(cost.usd_per_1k(capital)) for capital in CAPITAL_RATES)
            for name, cost in base.items()
        },
        worth_at_capital={
            name: tuple(one(cost.flow.present_value(capital)) for capital in CAPITAL_RATES)
            for name, cost in base.items()
        },
        offers={name: _offers(case, name, columns, inputs, rates, rate) for name in case.owned()},
        refresh_usd_per_month=refreshed,
        by_load=by_load(case, inputs, rate_per_year=rate),
        ranked=ranked,
        slower=tuple(slower),
        fits_ms={name: limit_ms for name, limit_ms in fits_ms.items() if limit_ms is not None},
        first_is_cheapest_ratio=float(np.mean(least[0] <= np.min(least, axis=0))) if least else 0.0,
        flip_requests=flip_requests(case, ranked[0], ranked[1], inputs, rate_per_year=rate)
        if two
        else None,
        flip_input=flip_input(case, ranked[0], ranked[1], inputs.used()) if two else None,
        strongest=swings(inputs.used(), lambda at: _figure(case, first, at)),
        used=inputs.used(),
    )


def one(value: Value) -> float:
    """Return a value that is one number as a float."""
    return float(np.asarray(value))


def _figure(case: Case, name: str, inputs: Mapping[str, Value]) -> float:
    cost = case.fleet_cost(inputs) if name == FLEET else case.cost(name, inputs)
    return one(cost.usd_per_1k(inputs["cost_of_capital_per_year"]))


def _offers(
    case: Case,
    name: str,
    columns: Mapping[str, Value],
    inputs: Assumptions,
    rates: Value,
    rate: float,
) -> tuple[OfferRange, ...]:
    """Return each way to have machines; all are held against buying on the same draws."""
    many = offers(case, name, columns, rate_per_year=rates)
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
