"""Views on the rows: break-even, lease against buy, refresh, used machines, capital, load.

Each takes a case and inputs and asks `finance.tiers` again with one thing changed, so no
view can disagree with the rows.

Units:   USD, USD per 1,000 requests in time, requests a month; ratios are fractions.
Shapes:  one figure, or (draws,) where inputs hold columns of draws.
"""

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.plan.finance.cash_flow import Series, Value, npv_usd
from skerry.plan.finance.rows import rent_usd_per_month
from skerry.plan.finance.terms import Financing
from skerry.plan.finance.tiers import Case, Cost
from skerry.plan.finance.work import HOURS_PER_MONTH, is_by_request
from skerry.schema.assumption import Assumption

CAPITAL_RATES: Final = (0.0, 0.05, 0.10)
REFRESH_MONTHS: Final = (24, 36, 48, 60, 72, 84)
REFRESH_HORIZON_MONTHS: Final = 120
LOADS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
LOAD_MIN: Final = 100.0
LOAD_MAX: Final = 1e10
_GRID: Final = 241
_ROUNDS: Final = 3
_BISECTIONS: Final = 24
_LATENCY_S_MAX: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One way to have machines, over the horizon, at one rate."""

    name: str
    present_value_usd: Value
    capex_usd: Value
    opex_usd: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """The load from which a tier costs less than the cloud, or why there is no such load."""

    requests_per_month: float | None = None
    reason: str = ""


def npv_against(cost: Cost, cloud: Cost, rate_per_year: Value) -> Value:
    """Return what is won today by a tier in place of the cloud, for the same requests.

    The cloud's cost is taken for the requests that the tier gets, in proportion.
    """
    ours, theirs = np.asarray(cost.work.requests), np.asarray(cloud.work.requests)
    share = ours / np.maximum(theirs, 1e-12)
    return npv_usd(cost.flow.usd(), cloud.flow.usd() * share, rate_per_year)


def payback_months(cost: Cost, cloud: Cost) -> int | None:
    """Return the month from which a tier has cost less in all than the cloud, to the end.

    Not discounted, for the same requests; None where it has not by the end of the horizon.
    """
    share = float(cost.work.requests) / max(float(cloud.work.requests), 1e-12)
    ahead = np.cumsum(cost.flow.usd()) <= np.cumsum(cloud.flow.usd() * share)
    if not ahead[-1]:
        return None
    behind = np.flatnonzero(~ahead)
    return int(behind[-1]) + 1 if len(behind) else 0


def break_even(
    case: Case, tier: str, cloud: str, inputs: Mapping[str, Value], *, rate_per_year: float
) -> BreakEven:
    """Return the least requests a month from which a tier costs less per 1,000 than the cloud.

    Both serve the same load, and the tier stays cheaper up to the load that its feeds carry.
    Searched from 100 to 10**10 requests a month.
    """
    low, high = LOAD_MIN, LOAD_MAX
    for step in range(_ROUNDS):
        loads = np.geomspace(low, high, _GRID)
        ours, theirs = (_at_loads(case, name, inputs, loads) for name in (tier, cloud))
        fits = np.flatnonzero(np.asarray(ours.work.feed_used_ratio)[..., 0] <= 1)
        if not len(fits):
            return BreakEven(reason="none: its feeds carry no load")
        rival = np.asarray(theirs.usd_per_1k(rate_per_year))
        dear = ours.usd_per_1k(rate_per_year) >= rival
        last = np.flatnonzero(dear[: fits[-1] + 1])
        if step == 0 and not len(last):
            never = "" if np.isfinite(rival).any() else ", which answers nothing in time"
            return BreakEven(reason=f"at any load it costs less than {cloud}{never}")
        if step == 0 and last[-1] == fits[-1]:
            where = "at any load" if dear[: fits[-1] + 1].all() else "at the most its feeds carry"
            return BreakEven(reason=f"none: it costs more than {cloud} {where}")
        if not len(last) or last[-1] == fits[-1]:  # it turns within rounding of an end
            return BreakEven(requests_per_month=high if len(last) else low)
        low, high = float(loads[last[-1]]), float(loads[last[-1] + 1])
    return BreakEven(requests_per_month=high)


def flip_requests(
    case: Case, tier: str, other: str, inputs: Mapping[str, Value], *, rate_per_year: float
) -> float | None:
    """Return the load nearest to the demand at which the other tier is the better choice.

    Nearest by ratio; None where the tier stays the better one from 100 to 10**10 a month.
    """
    loads = np.geomspace(LOAD_MIN, LOAD_MAX, _GRID * _ROUNDS)
    wins = np.flatnonzero(better(case, other, tier, inputs, loads, rate_per_year))
    if not len(wins):
        return None
    away = np.abs(np.log(loads[wins] / case.demand.requests_per_month))
    return float(loads[wins[int(away.argmin())]])


def fitting_ms(case: Case, tier: str, inputs: Mapping[str, Value]) -> float | None:
    """Return the latency that enough of a tier's answers keep by formula; None above 10 s."""
    low_s, high_s = 0.0, _LATENCY_S_MAX
    for step in range(_BISECTIONS + 1):
        limit_s = high_s if step == 0 else (low_s + high_s) / 2
        at = replace(case, target_s=limit_s, checks={})
        if float(np.asarray(at.cost(tier, inputs).in_time_ratio())) < case.in_time_least:
            if step == 0:
                return None
            low_s = limit_s
        else:
            high_s = limit_s
    return high_s * MS_PER_SECOND


def flip_input(
    case: Case,
    tier: str,
    other: str,
    rows: Iterable[Assumption],
    *,
    rate_name: str = "cost_of_capital_per_year",
) -> tuple[str, float] | None:
    """Return the input, and its value, that makes the other tier the cheaper one soonest.

    One input moves at a time, inside its range; soonest is the least share of the range.
    None where no input alone can turn the order round.
    """
    known = list(rows)
    base: dict[str, Value] = {row.name: row.value for row in known}

    def holds(name: str, value: float) -> bool:
        """Tell whether the other tier is not the better choice."""
        at = {**base, name: value}
        rate = at[rate_name]
        ours, theirs = (_choice_usd(case, case.cost(one, at), rate) for one in (tier, other))
        return not theirs < ours

    found: list[tuple[float, str, float]] = []
    for row in known:
        for end in (row.low, row.high):
            if end == row.value or holds(row.name, end):
                continue
            keeps, turns = row.value, end
            for _ in range(_BISECTIONS):
                middle = (keeps + turns) / 2
                keeps, turns = (middle, turns) if holds(row.name, middle) else (keeps, middle)
            found.append((abs(turns - row.value) / (row.high - row.low), row.name, turns))
    if not found:
        return None
    _, name, value = min(found)
    return name, value


def break_even_hours_ratio(
    own_usd_per_month: float, *, rent_usd_per_hour: float, hours_per_month: float = HOURS_PER_MONTH
) -> float | None:
    """Return the share of hours that a rented machine must run before an own one costs less.

    Above 1, renting costs less even around the clock; None where renting is free.
    """
    if not rent_usd_per_hour > 0:
        return None
    return own_usd_per_month / (rent_usd_per_hour * hours_per_month)


def hours_ratio(
    case: Case, tier: str, cloud: str, inputs: Mapping[str, Value], *, rate_per_year: float
) -> float | None:
    """Return a tier's break-even hours against machines of the cloud; None where it has none."""
    if is_by_request(case.alone[cloud].tier, inputs):
        return None
    cost = case.cost(tier, inputs)
    rent, _ = rent_usd_per_month(case.alone[cloud].tier, inputs)
    each = float(np.asarray(cost.monthly_usd(rate_per_year))) / float(cost.work.machines)
    return break_even_hours_ratio(each, rent_usd_per_hour=float(rent) / HOURS_PER_MONTH)


def offers(
    case: Case, tier: str, inputs: Mapping[str, Value], *, rate_per_year: Value
) -> tuple[Offer, ...]:
    """Return buying, buying used, leasing and having machines managed, at one rate."""
    buy, *others = (replace(case.terms, financing=way) for way in Financing)
    used = replace(buy, second_life=True)
    names = (Financing.BUY.value, "buy used", *(one.financing.value for one in others))
    found = []
    costs = case.costs_under(tier, inputs, (buy, used, *others))
    for name, cost in zip(names, costs, strict=True):
        capex, opex = cost.flow.split_usd()
        found.append(
            Offer(
                name=name,
                present_value_usd=cost.flow.present_value(rate_per_year),
                capex_usd=capex,
                opex_usd=opex,
            )
        )
    return tuple(found)


def refresh_usd_per_month(
    case: Case, tier: str, inputs: Mapping[str, Value], *, rate_per_year: float
) -> dict[int, float]:
    """Return the level monthly cost of each cadence, over ten years."""
    terms = (
        replace(case.terms, months=REFRESH_HORIZON_MONTHS, refresh_months=months)
        for months in REFRESH_MONTHS
    )
    costs = case.costs_under(tier, inputs, terms)
    return {
        months: float(np.asarray(cost.monthly_usd(rate_per_year)))
        for months, cost in zip(REFRESH_MONTHS, costs, strict=True)
    }


def by_load(
    case: Case, inputs: Mapping[str, Value], *, rate_per_year: float
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Return each tier's cost per 1,000 over loads from a tenth to ten times the demand."""
    base = case.demand.requests_per_month
    loads = [base * ratio for ratio in LOADS]
    found: dict[str, list[tuple[float, float]]] = {}
    for load in loads:
        for name, cost in case.at(requests_per_month=load).costs(inputs).items():
            value = float(np.asarray(cost.usd_per_1k(rate_per_year)))
            if value < np.inf:
                found.setdefault(name, []).append((load, value))
    return {name: tuple(points) for name, points in found.items()}


def better(
    case: Case,
    tier: str,
    other: str,
    inputs: Mapping[str, Value],
    loads: Series,
    rate_per_year: float,
) -> NDArray[np.bool_]:
    """Tell at which loads, (loads,), a tier is a better choice than another.

    It meets the target, its feeds carry it, and it costs less per 1,000 or the other fails.
    """
    ours, theirs = (
        _choice_usd(case, _at_loads(case, name, inputs, loads), rate_per_year)
        for name in (tier, other)
    )
    return np.asarray(ours < theirs)


def _choice_usd(case: Case, cost: Cost, rate_per_year: Value) -> Series:
    """Return a cost per 1,000, infinite where the tier cannot be chosen."""
    return np.where(cost.is_able(case.in_time_least), cost.usd_per_1k(rate_per_year), np.inf)


def _at_loads(case: Case, tier: str, inputs: Mapping[str, Value], loads: Series) -> Cost:
    return case.cost(tier, loaded(case, tier, inputs, loads))


def loaded(
    case: Case, tier: str, inputs: Mapping[str, Value], loads: Series
) -> ChainMap[str, Value]:
    """Return inputs under which a tier alone gets each load, as a column."""
    part = case.alone[tier].demand.requests_per_month
    column = (loads / part)[:, None] * np.asarray(inputs["requests_ratio"])
    return ChainMap({"requests_ratio": column}, _changeable(inputs))


def _changeable(inputs: Mapping[str, Value]) -> MutableMapping[str, Value]:
    """Pass inputs where a mapping that can be changed is asked for; nobody changes it."""
    return cast(MutableMapping[str, Value], inputs)
