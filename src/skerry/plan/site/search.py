"""Siting at size: a Lagrangian bound, exact transport for each set of sites, local search.

The bound's rounds propose sets of open sites. From the best of them sites are added,
dropped and swapped, most promising first, while it pays; the bound's prices also bound
each single set, so most are passed over without being priced. Where every cost is a whole
number and demands are whole, the bound is rounded up.

Units:   seconds for the limit; costs in the problem's own.
Shapes:  n sites, m demands; sets are (n,).
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from skerry.plan.site.bound import ROUNDING, Bound
from skerry.plan.site.branch import branch
from skerry.plan.site.group import grouped
from skerry.plan.site.problem import Flags, Floats, Problem, Siting, objective_of
from skerry.plan.site.sets import Sets

Tell = Callable[[float, str], None]
ROUNDS_MAX: Final = 6000
LOOK_EVERY: Final = 40
"""Rounds of the bound between two looks at the sites that it opens."""
BOUND_SHARE: Final = 0.4
"""Part of the time that the bound's rounds may take; the search has the rest."""
STARTS: Final = 8
COARSE_ABOVE: Final = 400_000
"""Pairs above which a problem of fewer, grouped demands is solved first."""
COARSE_DEMANDS: Final = 1000
COARSE_SHARE: Final = 0.35


class Search:
    """One problem's search: what it bounds and what it prices, kept between its two parts."""

    def __init__(self, problem: Problem, *, seconds: float, tell: Tell) -> None:
        self._problem, self._seconds, self._tell = problem, seconds, tell
        self._ends_s = time.monotonic() + seconds
        self._sets = Sets(problem)
        self._bound = Bound(problem, self._sets.cost)

    def left(self) -> float:
        """Return the part of the time that is left, 0 to 1."""
        return (self._ends_s - time.monotonic()) / self._seconds

    def find(self) -> Siting | None:
        """Return the best plan that the bound's sets and their neighbours have, or None."""
        sets, bound = self._sets, self._bound
        if self._problem.cost.size > COARSE_ABOVE and not self._problem.uncapacitated:
            self._start_coarse()
        if math.isinf(sets.best):
            _first(sets, self.left)
        starts = self._raise_bound()
        if math.isinf(sets.best):
            return None
        finished = _improve(sets, sets.best_open, bound, self.left, self._say)
        for opened in sorted(starts, key=lambda one: sets.price(one, below=0))[:STARTS]:
            finished = finished and _improve(sets, opened, bound, self.left, self._say)
        return self._siting(bound.certified, finished=finished)

    def useful(self) -> Flags:
        """Return the pairs (n, m) that a plan cheaper than the best could use."""
        return self._bound.useful(self._sets.best)

    def close(self) -> Siting:
        """Branch on sites until the gap is closed or the time is up; call after `find`."""
        sites = np.asarray(self.useful().any(axis=1))

        def better() -> None:
            _improve(self._sets, self._sets.best_open, self._bound, self.left, self._say)

        lower = branch(
            *(self._sets, self._bound, sites), left=self.left, tell=self._tell, better=better
        )
        return self._siting(max(lower, self._bound.certified), finished=self.left() > 0)

    def _start_coarse(self) -> None:
        """Price the sites that suit the same problem with its demands in groups."""
        coarse, parts = grouped(self._problem, COARSE_DEMANDS, self._sets.big)

        def tell(done: float, what: str) -> None:
            self._tell(COARSE_SHARE * done, what)

        search = Search(coarse, seconds=COARSE_SHARE * self._seconds, tell=tell)
        rough = search.find()
        if rough is not None:
            self._sets.price(rough.open)
            self._bound.start_from(search._bound, parts)

    def _raise_bound(self) -> list[Flags]:
        """Raise the bound until it settles or has had its time; return the sets it opened."""
        sets, bound, starts = self._sets, self._bound, {}
        until, aim = self.left() * (1 - BOUND_SHARE), bound.ceiling()
        while not bound.settled and bound.rounds < ROUNDS_MAX and self.left() > until:
            bound.round(sets.best if math.isfinite(sets.best) else aim)
            if bound.rounds % LOOK_EVERY == 0:
                opened = bound.rounded()
                key = opened.tobytes()
                if key not in starts:
                    starts[key] = sets.descend(opened)
                    sets.price(starts[key], below=sets.best)
                self._say()
        return list(starts.values())

    def _say(self) -> None:
        self._tell(1 - self.left(), f"{self._bound.best:,.0f} to {self._sets.best:,.0f}")

    def _siting(self, lower: float, *, finished: bool) -> Siting:
        problem, sets = self._problem, self._sets
        share = sets.share(sets.best_open)
        assert share is not None  # noqa: S101 - it had a price
        opened = _without_idle(problem, sets.best_open, share)
        objective = objective_of(problem, opened, share)
        bound = min(_raised(problem, lower), objective)
        late = f"the search stopped at its limit of {self._seconds:g} s"
        return Siting(
            open=opened,
            share=share,
            objective=objective,
            bound=bound,
            method="lagrangian",
            proven=objective - bound <= 2 * ROUNDING * abs(objective),
            notes=() if finished else (late,),
        )


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
            if math.isfinite(sets.price(sets.descend(opened))) or left() <= 0:
                return


def _improve(
    sets: Sets, opened: Flags, bound: Bound, left: Callable[[], float], say: Callable[[], None]
) -> bool:
    """Add, drop and swap sites while it pays; false where the time ended it."""
    better = True
    while better:
        better, aim = False, sets.price(opened)
        for near in _neighbours(sets.problem, opened, bound.worth):
            if left() <= 0:
                return False
            if bound.of_set(near) < aim and sets.price(near, below=aim) < aim - 1e-9 * abs(aim):
                better, opened = True, near
                say()
                break
    return True


def _neighbours(problem: Problem, opened: Flags, worth: Floats) -> Iterator[Flags]:
    """Yield sets one drop, one add or one swap away, the most promising first."""
    inside, outside = np.flatnonzero(opened), np.flatnonzero(~opened)
    steps: list[tuple[float, int, int]] = []
    if problem.count is None:
        steps += [(-worth[i], int(i), -1) for i in inside]
        steps += [(worth[i], -1, int(i)) for i in outside]
    steps += [(worth[b] - worth[a], int(a), int(b)) for a in inside for b in outside]
    steps.sort()
    for _, drop, add in steps:
        near = opened.copy()
        if drop >= 0:
            near[drop] = False
        if add >= 0:
            near[add] = True
        yield near


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
