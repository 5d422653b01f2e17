"""Siting against brute force: no bound crosses an optimum, every plan keeps every rule."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from skerry.plan.site.bound import Bound, forbidden_cost
from skerry.plan.site.check import check_problem
from skerry.plan.site.group import grouped
from skerry.plan.site.kernels import cover, interchange, transport
from skerry.plan.site.problem import Problem, Siting
from skerry.plan.site.search import Search
from skerry.plan.site.solve import solve

SITES, DEMANDS = 4, 5


def silent(share: float, what: str = "") -> None:
    """Tell nobody."""


def lp_cost(problem: Problem, opened: tuple[int, ...]) -> float:
    """Return the cost of serving all from a set of sites, demand split at will (an LP)."""
    cost = problem.cost[list(opened)]
    k, m = cost.shape
    serve = np.kron(np.ones((1, k)), np.eye(m))
    room = np.kron(np.eye(k), problem.demand[None, :])
    finite = np.isfinite(cost).ravel()
    limits = np.minimum(problem.capacity[list(opened)], 1e6)
    found = linprog(
        np.where(finite, cost.ravel(), 0.0),
        A_ub=room,
        b_ub=limits,
        A_eq=serve,
        b_eq=np.ones(m),
        bounds=[(0, 1) if one else (0, 0) for one in finite],
    )
    return float(found.fun) if found.success else math.inf


def whole_cost(problem: Problem, opened: tuple[int, ...]) -> float:
    """Return the cost of serving all, each demand from one site (by trying them all)."""
    best = math.inf
    for homes in itertools.product(opened, repeat=len(problem.demand)):
        load = np.zeros(len(problem.fixed))
        for demand, home in enumerate(homes):
            load[home] += problem.demand[demand]
        if (load <= problem.capacity + 1e-9).all():
            best = min(best, sum(problem.cost[home, j] for j, home in enumerate(homes)))
    return float(best)


def optimum(problem: Problem) -> float:
    """Return the least cost over all sets of sites."""
    best = math.inf
    for size in range(1, len(problem.fixed) + 1):
        if problem.count is not None and size != problem.count:
            continue
        for opened in itertools.combinations(range(len(problem.fixed)), size):
            serve = lp_cost if problem.split else whole_cost
            best = min(best, problem.fixed[list(opened)].sum() + serve(problem, opened))
    return float(best)


numbers = st.integers(0, 30).map(float)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Draw a small problem: tight or loose, some pairs forbidden, some demands zero."""

    def some(count: int, of: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(of, min_size=count, max_size=count))

    cost = np.array(some(SITES * DEMANDS, numbers | st.just(math.inf))).reshape(SITES, DEMANDS)
    return Problem(
        fixed=np.array(some(SITES, numbers)),
        capacity=np.array(some(SITES, st.integers(0, 12).map(float) | st.just(math.inf))),
        demand=np.array(some(DEMANDS, st.integers(0, 5).map(float))),
        cost=cost,
        count=draw(st.none() | st.integers(1, SITES)),
        split=draw(st.booleans()),
    )


def holds(problem: Problem, siting: Siting, best: float) -> None:
    """A plan keeps every rule, its objective is true, and its bound is below the optimum."""
    served: dict[int, list[tuple[int, float]]] = {}
    for j, i in zip(*np.nonzero(siting.share.T), strict=True):
        served.setdefault(int(j), []).append((int(i), float(siting.share[i, j])))
    checked = check_problem(problem, {int(i) for i in np.flatnonzero(siting.open)}, served)
    assert checked.breaches == ()
    assert checked.objective == pytest.approx(siting.objective, rel=1e-9, abs=1e-9)
    assert siting.bound <= best + 1e-6 * max(1.0, best)
    assert siting.objective >= best - 1e-6 * max(1.0, best)
    assert siting.bound <= siting.objective


@settings(max_examples=40, deadline=None)
@given(problems())
def test_bounds_never_cross_the_optimum_and_small_problems_are_solved(problem: Problem) -> None:
    best = optimum(problem)
    search = Search(problem, seconds=20, tell=silent)
    rough = search.find()
    if rough is not None:
        holds(problem, rough, best)
        closed = search.close()
        holds(problem, closed, best)
        if problem.split or problem.uncapacitated:  # a set has one price, so branching ends it
            assert closed.objective == pytest.approx(best, rel=1e-6, abs=1e-6)
            assert closed.proven
    solved = solve(problem, seconds=20, tell=silent)
    if math.isinf(best):
        assert solved.siting is None
    else:
        assert solved.siting is not None
        holds(problem, solved.siting, best)
        assert solved.siting.objective == pytest.approx(best, rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(problems(), st.integers(0, DEMANDS - 1), st.sampled_from([1.5, 2.0, 4.0]))
def test_more_load_never_costs_less(problem: Problem, which: int, times: float) -> None:
    factor = np.ones(DEMANDS)
    factor[which] = times
    more = replace(problem, demand=problem.demand * factor, cost=problem.cost * factor)
    before, after = (solve(one, seconds=20, tell=silent).siting for one in (problem, more))
    if after is not None:
        assert before is not None
        assert after.objective >= before.objective - 1e-6 * max(1.0, before.objective)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_every_single_round_of_the_bound_is_a_bound(problem: Problem) -> None:
    best = optimum(problem)
    cost = np.where(np.isfinite(problem.cost), problem.cost, forbidden_cost(problem))
    bound = Bound(problem, cost)
    for _ in range(60):
        assert bound.round(best if math.isfinite(best) else 100.0) <= best + 1e-6


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 7)), min_size=1, max_size=6),
    st.integers(1, 20),
)
def test_a_cover_is_never_above_the_least(sites: list[tuple[int, int]], need: int) -> None:
    worth = np.array([one for one, _ in sites], float)
    capacity = np.array([one for _, one in sites], float)
    least = math.inf
    for some in itertools.product([False, True], repeat=len(sites)):
        if capacity[list(some)].sum() >= need:
            least = min(least, worth[list(some)].sum())
    chosen = np.zeros(len(sites))
    cover(worth, capacity, float(need), chosen)
    assert (worth * chosen).sum() <= least
    if math.isfinite(least):
        assert (worth * chosen).sum() == pytest.approx(least)


@settings(max_examples=30, deadline=None)
@given(problems())
def test_what_is_left_out_as_useless_never_holds_the_optimum(problem: Problem) -> None:
    search = Search(problem, seconds=20, tell=silent)
    if search.find() is not None:
        kept = replace(problem, cost=np.where(search.useful(), problem.cost, np.inf))
        best = optimum(problem)
        assert optimum(kept) == pytest.approx(best, rel=1e-6, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(1, DEMANDS))
def test_a_plan_for_groups_is_a_plan_for_all(problem: Problem, groups: int) -> None:
    small, parts = grouped(problem, groups, forbidden_cost(problem))
    assert sorted(np.concatenate(parts).tolist()) == list(range(DEMANDS))
    assert small.demand.sum() == pytest.approx(problem.demand.sum())
    assert optimum(replace(problem, split=True)) <= optimum(small) + 1e-6


@settings(max_examples=80, deadline=None)
@given(problems())
def test_transport_costs_what_a_linear_program_costs(problem: Problem) -> None:
    every = tuple(range(SITES))
    big = forbidden_cost(problem)
    cost = np.where(np.isfinite(problem.cost), problem.cost, big)
    amount = transport(cost, problem.demand, problem.capacity, big)
    assert amount.sum(axis=0) == pytest.approx(problem.demand)
    assert (amount[:-1].sum(axis=1) <= problem.capacity + 1e-9).all()
    real = problem.demand > 0
    truth = (
        lp_cost(
            Problem(
                fixed=problem.fixed,
                capacity=problem.capacity,
                demand=problem.demand[real],
                cost=problem.cost[:, real],
                split=True,
            ),
            every,
        )
        if real.any()
        else 0.0
    )
    if math.isinf(truth):
        assert amount[-1].sum() > 0
    else:
        part = amount[:-1, real] / problem.demand[real]
        assert (part * cost[:, real]).sum() == pytest.approx(truth, abs=1e-6)


@given(st.integers(2, 6), st.integers(2, 8), st.booleans(), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_interchange_ends_where_no_step_pays(
    sites: int, demands: int, keep_count: bool, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    cost, fixed = chance.random((sites, demands)), chance.random(sites)
    opened = chance.random(sites) < 0.5
    opened[0] = True
    before = int(opened.sum())

    def price(those: np.ndarray) -> float:
        return float(fixed[those].sum() + cost[those].min(axis=0).sum()) if those.any() else 1e9

    total = interchange(cost, fixed, opened, keep_count)
    assert total == pytest.approx(price(opened))
    assert not keep_count or opened.sum() == before
    for drop, add in itertools.product(range(-1, sites), repeat=2):
        near = opened.copy()
        if drop >= 0:
            near[drop] = False
        if add >= 0:
            near[add] = True
        if not keep_count or near.sum() == before:
            assert price(near) >= total - 1e-6
