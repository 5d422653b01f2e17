"""A siting problem as plain arrays: what every solver takes, and the plan it gives back.

    minimise   sum_i fixed_i y_i + sum_ij cost_ij x_ij
    so that    sum_i x_ij = 1            each demand is served
               sum_j demand_j x_ij <= capacity_i y_i
               x_ij <= y_i, y_i 0 or 1   only open sites serve
               sum_i y_i = count         where a number of sites is asked for
    with x_ij from 0 to 1 where demand may be split, else 0 or 1.

`cost_ij` serves ALL of demand j from site i; infinity marks a pair that a rule forbids.

Units:   costs in the instance's own (USD a year for our files), demand and capacity alike.
Shapes:  n sites, m demands; cost (n, m), x (n, m).
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FULL = 1 + 1e-9
"""A site may be filled to its capacity times this: room for rounding, for nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One siting problem. `capacity` is infinite where a site has no limit."""

    fixed: Floats
    capacity: Floats
    demand: Floats
    cost: Floats
    count: int | None = None
    split: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of sites and of demands."""
        sites, demands = self.cost.shape
        return sites, demands

    @property
    def allowed(self) -> Flags:
        """Return the pairs that no rule forbids."""
        return np.isfinite(self.cost)

    @property
    def uncapacitated(self) -> bool:
        """Return whether every site could hold everything."""
        return bool((self.capacity >= self.demand.sum()).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Siting:
    """Open sites and who serves whom, with the objective and a bound that no plan beats."""

    open: Flags
    share: Floats
    """x: the part of each demand (column) that each site (row) serves."""
    objective: float
    bound: float
    method: str
    proven: bool
    """The search ended by itself: nothing better than `bound` allows is left unseen."""
    notes: tuple[str, ...] = field(default=())

    @property
    def gap_ratio(self) -> float:
        """Return how far below the objective the bound lies, as a part of the objective."""
        if math.isclose(self.objective, self.bound, rel_tol=1e-12, abs_tol=1e-12):
            return 0.0
        return (self.objective - self.bound) / max(abs(self.objective), 1e-12)


def objective_of(problem: Problem, opened: Flags, share: Floats) -> float:
    """Return the cost of a plan."""
    used = share > 0
    serving = float((problem.cost[used] * share[used]).sum())
    return float(problem.fixed[opened].sum()) + serving
