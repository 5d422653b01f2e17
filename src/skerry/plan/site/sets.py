"""What a set of open sites costs: the best service of all demand from exactly those sites.

Without capacities every demand goes to its cheapest site; with them the transport problem
is solved. Whole demands are settled from its solution, and only where that, a bound on
them, is below what is asked for. Each set is priced once.

Units:   costs in the problem's own.
Shapes:  n sites, m demands; sets are (n,).
"""

import math

import numpy as np
from numpy.typing import NDArray

from skerry.plan.site.bound import forbidden_cost
from skerry.plan.site.kernels import interchange, transport
from skerry.plan.site.problem import Flags, Floats, Problem, objective_of
from skerry.plan.site.whole import settle

Whole = NDArray[np.int64]


class Sets:
    """Prices sets of open sites, and remembers the best."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.big = forbidden_cost(problem)
        self.cost = np.ascontiguousarray(
            np.where(np.isfinite(problem.cost), problem.cost, self.big)
        )
        self._total = float(problem.demand.sum())
        self._real = np.flatnonzero(problem.demand > 0)
        self._free = np.flatnonzero(problem.demand <= 0)
        self._split: dict[bytes, float] = {}
        self._whole: dict[bytes, float] = {}
        self.best = math.inf
        self.best_open: Flags = np.zeros(len(problem.fixed), bool)

    def price(self, opened: Flags, below: float = math.inf) -> float:
        """Return the cost of these sites, or for whole demands a bound that is not `below`."""
        key = np.packbits(opened).tobytes()
        if key not in self._split:
            self._split[key] = self._split_price(opened)
        cost = self._split[key]
        if not (self.problem.split or self.problem.uncapacitated):
            if cost >= below or math.isinf(cost):
                return cost
            if key not in self._whole:
                share = self.share(opened)
                whole = math.inf if share is None else objective_of(self.problem, opened, share)
                self._whole[key] = whole
            cost = self._whole[key]
        if cost < self.best:
            self.best, self.best_open = cost, opened.copy()
        return cost

    def descend(self, opened: Flags) -> Flags:
        """Return a set, or without capacities the best that exchanges lead to from it."""
        opened = opened.copy()
        if self.problem.uncapacitated and opened.any():
            interchange(self.cost, self.problem.fixed, opened, self.problem.count is not None)
        return opened

    def share(self, opened: Flags) -> Floats | None:
        """Return who serves whom (n, m) with these sites; None where it cannot be."""
        problem, share = self.problem, np.zeros(self.problem.shape)
        at = np.flatnonzero(opened)
        if not len(at):
            return None
        cost = self.cost[at]
        home = np.argmin(cost, axis=0)
        if not problem.uncapacitated:
            amount = self._amounts(at, cost)
            if amount is None:
                return None
            if problem.split:
                part = amount[:, self._real]
                share[np.ix_(at, self._real)] = part / part.sum(axis=0)
                share[at[home[self._free]], self._free] = 1.0
                return share if self._is_allowed(share) else None
            home[self._real] = np.argmax(amount[:, self._real], axis=0)
            if not settle(cost, problem.demand, problem.capacity[at], self.big, home):
                return None
        share[at[home], np.arange(len(home))] = 1.0
        return share if self._is_allowed(share) else None

    def _split_price(self, opened: Flags) -> float:
        """Return the cost of a set where demand may be split; infinite where it cannot serve."""
        problem, at = self.problem, np.flatnonzero(opened)
        if not len(at) or (problem.count is not None and len(at) != problem.count):
            return math.inf
        if float(problem.capacity[at].sum()) < self._total * (1 - 1e-12):
            return math.inf
        cost, fixed = self.cost[at], float(problem.fixed[at].sum())
        if problem.uncapacitated:
            serving = float(cost.min(axis=0).sum())
        else:
            amount = self._amounts(at, cost)
            if amount is None:
                return math.inf
            part = amount[:, self._real] / problem.demand[self._real]
            serving = float((part * cost[:, self._real]).sum())
            serving += float(cost[:, self._free].min(axis=0).sum())
        return fixed + serving if serving < self.big else math.inf

    def _amounts(self, at: Whole, cost: Floats) -> Floats | None:
        problem = self.problem
        amount = transport(cost, problem.demand, problem.capacity[at], self.big)
        return None if amount[-1].sum() > 1e-9 * self._total else amount[:-1]

    def _is_allowed(self, share: Floats) -> bool:
        return bool(np.isfinite(self.problem.cost[share > 0]).all())
