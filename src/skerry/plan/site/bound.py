"""A bound that no siting beats: the Lagrangian of "each demand is served", raised by steps.

For prices p_j per demand,

    L(p) = sum_j p_j + min over y of sum_i (fixed_i + load_i(p)) y_i

where load_i(p) is the best filling of site i at those prices (a fractional knapsack), and y
opens exactly `count` sites, or enough capacity for all demand. Every L(p) is a bound. A step
follows how often each demand is served too little or too much (a subgradient), smoothed.

Units:   the problem's own; prices cost per whole demand.
Shapes:  n sites, m demands.
Source:  Held, Wolfe, Crowder (1974) for the step, Camerini, Fratta, Maffioli (1975) for the
         smoothing; the surrogate capacity row is Christofides and Beasley's (1983).
"""

from typing import Final

import numpy as np

from skerry.plan.site.kernels import Whole, cover, knapsacks, served
from skerry.plan.site.problem import Flags, Floats, Problem

ROUNDING: Final = 1e-9
"""A bound is lowered by this part of itself: sums of thousands of floats are not exact."""
STALLS_MAX: Final = 20
SHRINK: Final = 0.7
SMOOTH: Final = 0.6
THETA_FIRST: Final = 0.5
THETA_NEAR: Final = 0.15
THETA_MIN: Final = 1e-3


def forbidden_cost(problem: Problem) -> float:
    """Return a finite cost that stands for infinity: more than any plan can come to."""
    cost = problem.cost
    dearest = np.where(np.isfinite(cost), cost, 0.0).max(axis=0).sum()
    return 10.0 * float(dearest + problem.fixed.sum() + 1.0)


class Bound:
    """The search for good prices; `best` never falls, and `opening` says what they open."""

    def __init__(
        self,
        problem: Problem,
        cost: Floats,
        *,
        must: Flags | None = None,
        never: Flags | None = None,
        price: Floats | None = None,
        theta: float = THETA_FIRST,
    ) -> None:
        """Bound a problem, or the part of it that opens all of `must` and none of `never`."""
        sites, demands = cost.shape
        self._must = np.zeros(sites, bool) if must is None else must
        self._never = np.zeros(sites, bool) if never is None else never
        self._problem, self._cost = problem, cost
        self._total = float(problem.demand.sum())
        self._capacity = np.minimum(problem.capacity, self._total)
        self.values = np.empty(sites)
        self._taken = np.empty((sites, demands), np.int64)
        self._counts, self._parts = np.empty(sites, np.int64), np.empty(sites)
        self.best = -np.inf
        self.worth = np.zeros(sites)
        """What each site adds to the best bound when it opens; see `of_set`."""
        self._price = self._first_prices() if price is None else price
        self.best_price = self._price.copy()
        self._direction = np.zeros(demands)
        self._theta, self._stalls = theta, 0
        self.rounds = 0
        self.opening = np.zeros(sites)

    @property
    def settled(self) -> bool:
        """Return whether further steps are too small to matter."""
        return self._theta < THETA_MIN

    def _first_prices(self) -> Floats:
        """Return each demand's least cost with its share of the fixed cost of a full site."""
        problem = self._problem
        per_unit = problem.fixed / np.maximum(self._capacity, 1e-300)
        whole = self._cost + per_unit[:, None] * problem.demand[None, :]
        return np.asarray(whole.min(axis=0))

    def start_from(self, coarse: "Bound", parts: list[Whole]) -> None:
        """Begin at the prices of a bound over groups of these demands, shared out.

        A group's price over its first price is its members' too.
        """
        rises = coarse.best_price / np.maximum(coarse._first_prices(), 1e-300)
        for part, rise in zip(parts, rises, strict=True):
            self._price[part] *= rise
        self.best_price = self._price.copy()
        self._theta = THETA_NEAR

    def ceiling(self) -> float:
        """Return a cost that aims the first steps, before any plan is known."""
        return float(self._problem.fixed.sum() + 2 * np.abs(self._price).sum())

    def round(self, upper: float) -> float:
        """Take one step towards `upper`, the best plan's cost; return this round's bound."""
        problem = self._problem
        knapsacks(
            self._cost,
            problem.demand,
            self._capacity,
            self._price,
            self.values,
            self._taken,
            self._counts,
            self._parts,
        )
        worth = problem.fixed + self.values
        self.opening = self._opened(worth)
        bound = float(self._price.sum() + (worth * self.opening).sum())
        self.rounds += 1
        if bound > self.best + 1e-7 * abs(self.best):
            self._stalls = 0
        else:
            self._stalls += 1
        if bound > self.best:
            self.best, self.worth = bound, worth
            self.best_price = self._price.copy()
        if self._stalls >= STALLS_MAX:
            self._theta, self._stalls = self._theta * SHRINK, 0
            self._price = self.best_price.copy()
            self._direction[:] = 0.0
            return bound
        times = served(self.opening, self._taken, self._counts, self._parts, len(self._price))
        self._direction = (1 - SMOOTH) * (1 - times) + SMOOTH * self._direction
        norm = float(self._direction @ self._direction)
        if norm > 0:
            ahead = max(upper - bound, 1e-6 * abs(upper))
            self._price = self._price + self._theta * ahead / norm * self._direction
        return bound

    def _opened(self, worth: Floats) -> Floats:
        """Return the least costly opening: `count` sites, or capacity for all demand."""
        chosen = np.where(self._must, 1.0, 0.0)
        if self._problem.count is not None:
            free = np.flatnonzero(~self._must & ~self._never)
            more = max(0, self._problem.count - int(self._must.sum()))
            chosen[free[np.argsort(worth[free], kind="stable")[:more]]] = 1.0
            return chosen
        chosen[(worth < 0) & ~self._never] = 1.0
        short = self._total - float(self._capacity[chosen > 0].sum())
        if short > 0:
            cover(worth, np.where(self._never, 0.0, self._capacity), short, chosen)
        return chosen

    def rounded(self) -> Flags:
        """Return the sites that this round opens, with the next best until all have room."""
        problem = self._problem
        opened = np.asarray(self.opening > 0)
        if problem.count is not None:
            return opened
        short = self._total - float(problem.capacity[opened].sum())
        for i in np.argsort(self.worth, kind="stable"):
            if short <= 0 and opened.any():
                break
            if not opened[i] and not self._never[i]:
                opened[i] = True
                short -= problem.capacity[i]
        return opened

    def of_set(self, opened: Flags) -> float:
        """Return a bound on the cost of opening exactly these sites."""
        return float(self.best_price.sum() + self.worth[opened].sum())

    def useful(self, upper: float) -> Flags:
        """Return the pairs (n, m) that a plan cheaper than `upper` could use.

        A site is out where every plan that opens it costs more. Without capacities demands
        are served whole, so a pair is out too where serving by it costs more.
        """
        opened, limit = self._with_each(), upper + ROUNDING * abs(upper)
        pairs = self._problem.allowed & (opened <= limit)[:, None]
        if self._problem.uncapacitated:
            dear = np.maximum(self._cost - self.best_price, 0.0)
            pairs &= opened[:, None] + dear <= limit
        return pairs

    def _with_each(self) -> Floats:
        """Return a bound (n,) on the plans that open each site."""
        worth = self.worth
        bounds = np.full(len(worth), self.best)
        base = float(self.best_price.sum())
        if self._problem.count is not None:
            order = np.argsort(worth, kind="stable")
            inside, outside = np.split(order, [self._problem.count])
            bounds[outside] = self.best - worth[inside[-1]] + worth[outside]
            return bounds
        taken = worth < 0
        short = self._total - float(self._capacity[taken].sum())
        for i in np.flatnonzero(~taken):
            chosen = np.where(taken, 1.0, 0.0)
            chosen[i] = 1.0
            if short > self._capacity[i]:
                cover(worth, self._capacity, short - self._capacity[i], chosen)
            bounds[i] = base + float((worth * chosen).sum())
        return bounds

    @property
    def certified(self) -> float:
        """Return the best bound so far, lowered by what rounding may have added."""
        return self.best - ROUNDING * abs(self.best)
