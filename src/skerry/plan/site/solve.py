"""One siting problem, solved by what fits its size.

Every problem goes through the Lagrangian search, which gives a plan, a bound and the pairs
that no cheaper plan could use, and is then branched on by site. That proves most problems;
one of at most 20,000 pairs that is still open at half time, as those of whole demands are,
goes to HiGHS with that plan in hand, for the pairs that are left.

Units:   seconds for the limit; costs in the problem's own.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from skerry.plan.site.bound import ROUNDING
from skerry.plan.site.exact import PAIRS_MAX, Exact, solve_exact
from skerry.plan.site.problem import Problem, Siting, objective_of
from skerry.plan.site.search import Search
from skerry.plan.site.sets import Sets

Tell = Callable[[float, str], None]
SEARCH_SHARE = 0.5
"""Part of the time that the search may take where HiGHS follows for certain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """A plan, or none; `infeasible` is a proof that there is none."""

    siting: Siting | None
    infeasible: bool = False


def solve(problem: Problem, *, seconds: float, tell: Tell) -> Solved:
    """Solve a problem within a time; the same problem gives the same plan where time suffices."""
    began = time.monotonic()
    small = int(problem.allowed.sum()) <= PAIRS_MAX
    share = SEARCH_SHARE if small else 1.0
    search = Search(
        problem, seconds=seconds * share, tell=lambda done, what: tell(done * share, what)
    )
    first = search.find()
    if first is not None and not first.proven:
        first = search.close()
    if not small or (first is not None and first.proven):
        return Solved(siting=first)
    pairs = problem.allowed if first is None else search.useful()
    with _ticking(tell, began, seconds):
        exact = solve_exact(
            replace(problem, cost=np.where(pairs, problem.cost, np.inf)),
            seconds=seconds - (time.monotonic() - began),
            start=None if first is None else (first.open, first.share),
        )
    if exact.infeasible and first is None:
        return Solved(siting=None, infeasible=True)
    return Solved(siting=_joined(problem, first, exact, seconds))


def _joined(problem: Problem, first: Siting | None, exact: Exact, seconds: float) -> Siting | None:
    """Return the better of both plans with the better of both bounds."""
    best = first
    if exact.share is not None:
        found = _exact_plan(problem, exact)
        if found is not None and (best is None or found.objective < best.objective):
            best = found
    if best is None:
        return None
    proven = exact.proven or exact.infeasible  # nothing among the pairs that might be cheaper
    bounds = [-math.inf if first is None else first.bound]
    if exact.infeasible:
        bounds.append(best.objective)
    elif math.isfinite(exact.bound):
        bounds.append(exact.bound - ROUNDING * abs(exact.bound))
    bound = min(max(bounds), best.objective)
    late = () if proven else (f"HiGHS stopped at the limit of {seconds:g} s",)
    return replace(best, bound=bound, method="lagrangian, HiGHS", proven=proven, notes=late)


def _exact_plan(problem: Problem, exact: Exact) -> Siting | None:
    """Return the plan of HiGHS with its rounding taken out: the sites are its, the rest exact."""
    assert exact.share is not None  # noqa: S101 - asked by the caller
    share = None
    if not problem.split:
        share = np.zeros_like(exact.share)
        share[np.argmax(exact.share, axis=0), np.arange(share.shape[1])] = 1.0
        if (share @ problem.demand > problem.capacity * (1 + 1e-9)).any():
            share = None
    if share is None:
        share = Sets(problem).share(exact.open)
    if share is None:
        return None
    return Siting(
        open=exact.open,
        share=share,
        objective=objective_of(problem, exact.open, share),
        bound=-math.inf,
        method="HiGHS",
        proven=exact.proven,
    )


@contextmanager
def _ticking(tell: Tell, began: float, seconds: float) -> Iterator[None]:
    """Move the bar with the time while one call blocks."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.5):
            tell(min(0.99, (time.monotonic() - began) / seconds), "HiGHS")

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
