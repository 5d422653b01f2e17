"""Closing the gap of a large siting: branch on sites, bound each part by its own prices.

A part of the problem opens some sites for certain and others never. Its bound starts from
its parent's prices, so a few dozen rounds are enough; a part whose bound is not below the
best plan is done with. The part with the lowest bound goes first, so the lowest bound left
is a bound on everything at any time.

Units:   costs in the problem's own.
Shapes:  n sites that could still matter, m demands.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from skerry.plan.site.bound import ROUNDING, Bound
from skerry.plan.site.problem import Flags, Floats, Problem
from skerry.plan.site.sets import Sets, Whole

ROUNDS: Final = 60
THETA: Final = 0.1
PARTS_FLOATS_MAX: Final = 100_000_000
"""Prices kept in memory, over all parts."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the problem, with the prices and worths of its bound."""

    bound: float
    must: Flags
    never: Flags
    price: Floats
    worth: Floats


def branch(
    sets: Sets,
    root: Bound,
    useful: Flags,
    *,
    left: Callable[[], float],
    tell: Callable[[float, str], None],
    better: Callable[[], None],
) -> float:
    """Search until nothing cheaper can be or the time is up; return a bound on everything.

    `useful` (sites) are those that a plan cheaper than the best could open; the bound
    returned is never above the best plan found, which `sets` keeps. `better` is called on
    each new best plan.
    """
    at = np.flatnonzero(useful)
    problem = _within(sets.problem, at)
    cost = np.ascontiguousarray(sets.cost[at])
    nothing = np.zeros(len(at), bool)
    first = _Part(root.best, nothing, nothing, root.best_price, root.worth[at])
    heap, made, stuck = [(first.bound, 0, first)], 0, np.inf
    room = PARTS_FLOATS_MAX // max(1, problem.shape[1])
    while heap and left() > 0 and len(heap) < room:
        bound, _, part = heap[0]
        if bound >= _aim(sets):
            break
        heapq.heappop(heap)
        site = _next_site(problem, part)
        if site < 0:
            stuck = min(stuck, _settled(sets, part, at))
            continue
        for opens in (True, False):
            before = sets.best
            child = _child(sets, problem, cost, at, part, site, opens=opens)
            if sets.best < before:
                better()
            if child is not None and child.bound < _aim(sets):
                made += 1
                heapq.heappush(heap, (child.bound, made, child))
        lowest = min(heap[0][0] if heap else np.inf, stuck)
        tell(1 - left(), f"{min(lowest, sets.best):,.0f} to {sets.best:,.0f}")
    lowest = min(heap[0][0] if heap else np.inf, stuck)
    return (
        float(min(lowest - ROUNDING * abs(lowest), sets.best)) if np.isfinite(lowest) else sets.best
    )


def _aim(sets: Sets) -> float:
    """Return the bound from which on a part holds nothing cheaper."""
    return sets.best - ROUNDING * abs(sets.best)


def _within(problem: Problem, at: Whole) -> Problem:
    return replace(
        problem, fixed=problem.fixed[at], capacity=problem.capacity[at], cost=problem.cost[at]
    )


def _next_site(problem: Problem, part: _Part) -> int:
    """Return the undecided site to branch on: the surest to open, else the likeliest to."""
    free = np.flatnonzero(~part.must & ~part.never)
    if not len(free):
        return -1
    if problem.count is not None and int(part.must.sum()) == problem.count:
        return -1
    return int(free[np.argmin(part.worth[free])])


def _settled(sets: Sets, part: _Part, at: Whole) -> float:
    """Return the bound of a part that is one set: what it costs, or for whole demands less."""
    opened = np.zeros(len(sets.problem.fixed), bool)
    opened[at[part.must]] = True
    sets.price(opened)
    return max(part.bound, sets.price(opened, below=0.0))


def _child(
    sets: Sets, problem: Problem, cost: Floats, at: Whole, part: _Part, site: int, *, opens: bool
) -> _Part | None:
    must, never = part.must.copy(), part.never.copy()
    (must if opens else never)[site] = True
    able = ~never
    if problem.count is not None:
        if int(must.sum()) > problem.count or int(able.sum()) < problem.count:
            return None
    elif float(problem.capacity[able].sum()) < float(problem.demand.sum()) * (1 - 1e-12):
        return None
    bound = Bound(problem, cost, must=must, never=never, price=part.price.copy(), theta=THETA)
    for _ in range(ROUNDS):
        bound.round(sets.best)
        if bound.best >= _aim(sets) or bound.settled:
            break
    if bound.best < _aim(sets):
        _try(sets, bound.rounded(), at)
    return _Part(max(bound.best, part.bound), must, never, bound.best_price, bound.worth)


def _try(sets: Sets, inside: Flags, at: Whole) -> None:
    """Price the sites that a bound opens, where they can serve."""
    opened = np.zeros(len(sets.problem.fixed), bool)
    opened[at[inside]] = True
    sets.price(sets.descend(opened), below=sets.best)
