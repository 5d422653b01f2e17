"""Which tier to choose, what would turn the choice round, and what it was worth later.

A tier can be chosen where enough of its answers are in time and its feeds carry the
machines. Where months are given, the choice is made on those seen; otherwise the least
cost per 1,000 at the inputs' values wins.

Units:   USD per 1,000 requests in time, requests a month, milliseconds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skerry.base.units import MS_PER_SECOND
from skerry.plan.assumptions import Assumptions
from skerry.plan.finance.cash_flow import Value
from skerry.plan.finance.check import at_goal
from skerry.plan.finance.in_time import Check
from skerry.plan.finance.months import Months, regret_of
from skerry.plan.finance.tiers import Case, Cost
from skerry.plan.finance.views import fitting_ms, flip_input, flip_requests
from skerry.schema.plan_report import Regret


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The tiers in the order in which to choose them."""

    ranked: tuple[str, ...]
    """Tiers that can be chosen, the best first."""
    slower: tuple[str, ...]
    """Tiers that miss the target, and would be the choice at one of `fits_ms`; nearest first."""
    fits_ms: Mapping[str, float]
    """Latency that enough answers keep, of each tier that misses the target; rounded up."""
    first_is_cheapest_ratio: float
    """Share of draws in which the first of `ranked` is the cheapest of them."""
    flip_requests: float | None
    """Load nearest to the demand at which the second of `ranked` is the better choice."""
    flip_input: tuple[str, float] | None
    """Input and value that make the second of `ranked` the better one, at this load."""
    regret: Regret | None


def choose(
    case: Case,
    inputs: Assumptions,
    base: Mapping[str, Cost],
    drawn: Mapping[str, Value],
    checks: Mapping[str, Check],
    *,
    months: Months | None,
    rate_per_year: float,
) -> Choice:
    """Rank the tiers; `drawn` is each one's cost per 1,000 over draws."""

    def usd(name: str) -> float:
        return float(np.asarray(base[name].usd_per_1k(rate_per_year)))

    able = [name for name in case.alone if base[name].is_able(case.in_time_least)]
    ranked = sorted(able, key=usd)
    regret = None
    if months is not None:
        cloud = next(iter(case.clouds()), None)
        options = tuple(ranked)
        regret = regret_of(case, months, options, inputs, cloud=cloud, rate_per_year=rate_per_year)
    if regret is not None:
        ranked.sort(key=lambda name: name != regret.chosen)  # the others keep their order
    fits = {
        name: checks[name].replay_ms_p95 if name in checks else fitting_ms(case, name, inputs)
        for name in case.alone
        if name not in ranked and float(np.max(base[name].work.feed_used_ratio)) <= 1
    }
    fits_ms = {
        name: _rounded_up(limit_ms)
        for name, limit_ms in fits.items()
        if limit_ms is not None and math.isfinite(limit_ms)
    }

    def wins(name: str) -> bool:
        """Tell whether a tier costs less than all that can be chosen, at a goal that it keeps."""
        at = at_goal(case, inputs, fits_ms[name] / MS_PER_SECOND)
        ours, *others = (
            float(np.asarray(at.cost(one, inputs).usd_per_1k(rate_per_year)))
            for one in (name, *ranked)
        )
        return all(ours < other for other in others)

    least = [np.asarray(drawn[name]) for name in ranked]
    load: float | None = None
    turn: tuple[str, float] | None = None
    if len(ranked) > 1:
        first, second = ranked[:2]
        load = flip_requests(case, first, second, inputs, rate_per_year=rate_per_year)
        turn = flip_input(case, first, second, inputs.used())
    return Choice(
        ranked=tuple(ranked),
        slower=tuple(filter(wins, sorted(fits_ms, key=fits_ms.__getitem__))) if ranked else (),
        fits_ms=fits_ms,
        first_is_cheapest_ratio=float(np.mean(least[0] <= np.min(least, axis=0))) if least else 0.0,
        flip_requests=load,
        flip_input=turn,
        regret=regret,
    )


def _rounded_up(limit_ms: float) -> float:
    """Round to three digits that matter, upwards, so that what keeps the limit still does."""
    digit = 10.0 ** (math.floor(math.log10(limit_ms)) - 2)
    return math.ceil(limit_ms / digit) * digit
