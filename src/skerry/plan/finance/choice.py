"""Which tier to choose, what would turn the choice round, and what it was worth later.

A tier can be chosen where enough of its answers are in time and its feeds carry the
machines. Where months are given, the choice is made on those seen; otherwise the least
cost per 1,000 at the inputs' values wins.

Units:   USD per 1,000 requests in time, requests a month, milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skerry.plan.assumptions import Assumptions
from skerry.plan.finance.cash_flow import Value
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
    """Tiers that cost less than the first of `ranked` but miss the target, cheapest first."""
    fits_ms: Mapping[str, float]
    """Latency that enough of a tier's answers keep: of the slower ones, of all if none is able."""
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
        if name not in ranked and (not ranked or usd(name) < usd(ranked[0]))
        if float(np.max(base[name].work.feed_used_ratio)) <= 1
    }
    fits_ms = {name: limit_ms for name, limit_ms in fits.items() if limit_ms is not None}
    least = [np.asarray(drawn[name]) for name in ranked]
    load: float | None = None
    turn: tuple[str, float] | None = None
    if len(ranked) > 1:
        first, second = ranked[:2]
        load = flip_requests(case, first, second, inputs, rate_per_year=rate_per_year)
        turn = flip_input(case, first, second, inputs.used())
    return Choice(
        ranked=tuple(ranked),
        slower=tuple(sorted(fits_ms, key=usd)) if ranked else (),
        fits_ms=fits_ms,
        first_is_cheapest_ratio=float(np.mean(least[0] <= np.min(least, axis=0))) if least else 0.0,
        flip_requests=load,
        flip_input=turn,
        regret=regret,
    )
