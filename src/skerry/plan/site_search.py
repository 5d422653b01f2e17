"""Siting at size: a Lagrangian bound, exact transport for each set of sites, local search.

The bound's rounds propose sets of open sites; each set is priced by the transport problem
(whole demands: by settling its solution); the best are improved by adding, dropping and
swapping sites, most promising first, until nothing pays or the time is up. Where every
cost is a whole number and demands are whole, the bound is rounded up.

Units:   seconds for the limit; costs in the problem's own.
Shapes:  n sites, m demands.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from skerry.plan.site_bound import ROUNDING, Bound, forbidden_cost
from skerry.plan.site_kernels import interchange, transport
from skerry.plan.site_problem import Flags, Floats, Problem, Siting, objective_of
from skerry.plan.site_whole import settle

Tell = Callable[[float, str], None]
ROUNDS_MAX: Final = 6000
LOOK_EVERY: Final = 40
"""Rounds of the bound between two looks at the sites that it opens."""
STARTS: Final = 8
NEAR: Final = 24
"""Closed sites that a search tries, the most promising first."""


class Sets:
    """Prices sets of open sites, each once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.big = forbidden_cost(problem)
        self.cost = np.ascontiguousarray(
            np.where(np.isfinite(problem.cost), problem.cost, self.big)
        )
        self._total = float(problem.demand.sum())
        self._known: dict[bytes, float] = {}
        self.best = math.inf
        self.best_open: Flags = np.zeros(len(problem.fixed), bool)

    def price(self, opened: Flags) -> float:
        """Return the cost of the best plan found with exactly these sites; infinite if none."""
        key = np.packbits(opened).tobytes()
        if key not in self._known:
            self._known[key] = self._price(opened)
            if self._known[key] < self.best:
                self.best, self.best_open = self._known[key], opened.copy()
        return self._known[key]

    def descend(self, opened: Flags) -> float:
        """Return the cost of a set; without capacities, of the best that exchanges lead to."""
        if self.problem.uncapacitated and opened.any():
            opened = opened.copy()
            interchange(self.cost, self.problem.fixed, opened, self.problem.count is not None)
        return self.price(opened)

    def _price(self, opened: Flags) -> float:
        problem = self.problem
        if problem.count is not None and int(opened.sum()) != problem.count:
            return math.inf
        if float(problem.capacity[opened].sum()) < self._total * (1 - 1e-12):
            return math.inf
        share = self.share(opened)
        return math.inf if share is None else objective_of(problem, opened, share)

    def share(self, opened: Flags) -> Floats | None:
        """Return who serves whom (n, m) with these sites; None where it cannot be."""
        problem, (sites, demands) = self.problem, self.problem.shape
        at = np.flatnonzero(opened)
        if not len(at):
            return None
        cost, share = self.cost[at], np.zeros((sites, demands))
        cheapest = at[np.argmin(cost, axis=0)]
        if problem.uncapacitated:
            share[cheapest, np.arange(demands)] = 1.0
        else:
            amount = transport(cost, problem.demand, problem.capacity[at], self.big)
            if amount[-1].sum() > 1e-9 * self._total:
                return None
            real = problem.demand > 0
            if problem.split:
                part = amount[:-1, real]
                share[np.ix_(at, np.flatnonzero(real))] = part / part.sum(axis=0)
            else:
                home = np.argmax(amount[:-1], axis=0)
                if not settle(cost, problem.demand, problem.capacity[at], self.big, home):
                    return None
                share[at[home], np.arange(demands)] = 1.0
            share[:, ~real] = 0.0
            share[cheapest[~real], np.flatnonzero(~real)] = 1.0
        return share if (problem.cost[share > 0] < self.big).all() else None


def solve_large(problem: Problem, *, seconds: float, tell: Tell) -> Siting | None:
    """Return the best plan found in the time, with its bound; None where none was found."""
    began = time.monotonic()
    sets = Sets(problem)
    bound = Bound(problem, sets.cost)

    def left() -> float:
        return 1 - (time.monotonic() - began) / seconds

    starts: dict[bytes, Flags] = {}
    _first(sets, left)
    upper = bound.ceiling()
    while not bound.settled and bound.rounds < ROUNDS_MAX and left() > 0.4:
        bound.round(sets.best if math.isfinite(sets.best) else upper)
        if bound.rounds % LOOK_EVERY == 0:
            opened = _rounded(problem, bound)
            if opened.tobytes() not in starts:
                starts[opened.tobytes()] = opened.copy()
                sets.descend(opened)
            tell(0.6 * (1 - left()), f"{bound.best:,.0f} to {sets.best:,.0f}")
    if math.isinf(sets.best):
        return None
    best = sorted(starts.values(), key=sets.price)[:STARTS]
    finished = all(_improve(sets, one, bound, left, tell) for one in [sets.best_open, *best])
    lower = _raised(problem, bound.certified)
    share = sets.share(sets.best_open)
    assert share is not None  # noqa: S101 - it had a price
    opened = _without_idle(problem, sets.best_open, share)
    objective = objective_of(problem, opened, share)
    lower = min(lower, objective)
    return Siting(
        open=opened,
        share=share,
        objective=objective,
        bound=lower,
        method="lagrangian",
        proven=objective - lower <= 2 * ROUNDING * abs(objective),
        notes=() if finished else (f"the search stopped at its limit of {seconds:g} s",),
    )


def _rounded(problem: Problem, bound: Bound) -> Flags:
    """Return the sites that a round opens, with the next best until there is room for all."""
    opened = bound.opening > 0
    short = problem.demand.sum() - problem.capacity[opened].sum()
    for i in np.argsort(bound.best_values, kind="stable"):
        if short <= 0 and opened.any():
            break
        if not opened[i] and problem.count is None:
            opened[i] = True
            short -= problem.capacity[i]
    return np.asarray(opened)


def _first(sets: Sets, left: Callable[[], float]) -> None:
    """Price sets until one has a plan: those that reach most demands, then the roomiest."""
    problem = sets.problem
    by_room = np.argsort(-np.minimum(problem.capacity, problem.demand.sum()), kind="stable")
    by_reach = np.argsort(-problem.allowed.sum(axis=1), kind="stable")
    sizes = [problem.count] if problem.count is not None else range(1, len(by_room) + 1)
    for order in (by_reach, by_room):
        for size in sizes:
            opened = np.zeros(len(order), bool)
            opened[order[:size]] = True
            if math.isfinite(sets.descend(opened)) or left() <= 0:
                return


def _improve(
    sets: Sets, opened: Flags, bound: Bound, left: Callable[[], float], tell: Tell
) -> bool:
    """Add, drop and swap sites while it pays; false where the time ended it."""
    better = True
    while better:
        better, start = False, sets.price(opened)
        for near in _neighbours(sets.problem, opened, bound.best_values):
            if left() <= 0:
                return False
            if sets.price(near) < start - 1e-9 * abs(start):
                better, opened = True, near
                tell(1 - 0.4 * left(), f"{bound.best:,.0f} to {sets.best:,.0f}")
                break
    return True


def _neighbours(problem: Problem, opened: Flags, worth: Floats) -> Iterator[Flags]:
    """Yield sets one drop, one add or one swap away, the most promising first."""
    order = np.argsort(worth, kind="stable")
    inside = [i for i in order[::-1] if opened[i]]
    outside = [i for i in order if not opened[i]][:NEAR]

    def changed(drop: int, add: int) -> Flags:
        near = opened.copy()
        if drop >= 0:
            near[drop] = False
        if add >= 0:
            near[add] = True
        return near

    if problem.count is None:
        yield from (changed(i, -1) for i in inside)
        yield from (changed(-1, i) for i in outside)
    for add in outside:
        yield from (changed(drop, add) for drop in inside)


def _raised(problem: Problem, bound: float) -> float:
    """Return the bound, rounded up where every plan's cost is a whole number."""
    costs = np.concatenate([problem.cost[problem.allowed], problem.fixed])
    whole = not problem.split or problem.uncapacitated
    return float(math.ceil(bound - 1e-6)) if whole and (costs == np.rint(costs)).all() else bound


def _without_idle(problem: Problem, opened: Flags, share: Floats) -> Flags:
    """Return the open sites that serve somebody, where the number of sites is free."""
    if problem.count is not None:
        return opened
    return opened & ((share > 0).any(axis=1) | (problem.fixed <= 0))
