"""What comes second to a siting, and the price at which it would come first.

The weakest site of a plan is the one that is cheapest to do without, by swaps and drops.
Without it the problem is solved anew; the rise in cost is what opening that site may cost
more before the other plan wins.

Units:   seconds for the limit; costs in the problem's own.
Shapes:  n sites; sets are (n,).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from skerry.plan.site.problem import Flags, Problem, Siting
from skerry.plan.site.sets import Sets
from skerry.plan.site.solve import Tell, solve

TRIES_COST_MAX: Final = 20_000_000
"""Sets tried for the weakest site, times pairs."""
SOLVED_PAIRS_MAX: Final = 400_000
"""Pairs up to which the problem is solved anew without that site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """The best plan that does without `lost`; `proven` where no such plan is cheaper."""

    lost: int
    open: Flags
    cost: float
    proven: bool


def runner_up(problem: Problem, siting: Siting, *, seconds: float, tell: Tell) -> RunnerUp | None:
    """Return the plan that comes second; None where no plan without one of the sites is known."""
    opened = [int(site) for site in np.flatnonzero(siting.open)]
    found = _weakest(problem, siting, opened)
    if problem.cost.size > SOLVED_PAIRS_MAX:
        return found
    lost = found.lost if found is not None else opened[int(np.argmax(problem.fixed[opened]))]
    kept = np.flatnonzero(np.arange(len(problem.fixed)) != lost)
    without = replace(
        problem,
        fixed=problem.fixed[kept],
        capacity=problem.capacity[kept],
        cost=problem.cost[kept],
    )
    if not len(kept) or (problem.count is not None and problem.count > len(kept)):
        return None
    second = solve(without, seconds=seconds, tell=tell).siting
    if second is None or (found is not None and found.cost < second.objective * (1 - 1e-9)):
        return found
    sites = np.zeros(len(problem.fixed), bool)
    sites[kept[second.open]] = True
    return RunnerUp(lost=lost, open=sites, cost=second.objective, proven=second.proven)


def _weakest(problem: Problem, siting: Siting, opened: Sequence[int]) -> RunnerUp | None:
    """Return the cheapest plan one drop or one swap away."""
    sets, best = Sets(problem), None
    tries = max(len(opened), TRIES_COST_MAX // problem.cost.size)
    closed = [int(i) for i in np.flatnonzero(~siting.open)]
    for lost, gained in [(lost, gained) for gained in [-1, *closed] for lost in opened][:tries]:
        changed = siting.open.copy()
        changed[lost] = False
        if gained >= 0:
            changed[gained] = True
        cost = sets.price(changed)
        if math.isfinite(cost) and (best is None or cost < best.cost):
            best = RunnerUp(lost=lost, open=changed, cost=cost, proven=False)
    return best
