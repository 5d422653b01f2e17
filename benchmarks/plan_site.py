"""Siting: our search and proof, with plain HiGHS on the same problem in the same run.

    python benchmarks/plan_site.py [--seconds 60] [--facilities FOLDER] [--no-peer]

Problems are made from a seed: places in a square, demands of 5 to 35, capacities that add
up to `times` the demand, cost by distance, fixed costs that grow with the root of the
capacity. FOLDER holds OR-Library's capa.txt and pmed16.txt, where they are at hand. Every
plan is checked by the independent evaluator before a figure is printed.

The peer is HiGHS on the strong formulation, one thread, with the same limit of time and
nothing else; it is left out of the largest case, whose two million pairs it cannot start on.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from measured import tell

from skerry.plan.site.check import check_problem
from skerry.plan.site.exact import solve_exact
from skerry.plan.site.orlib import read_cap, read_pmed
from skerry.plan.site.problem import Problem, Siting, objective_of
from skerry.plan.site.solve import solve

PEER_PAIRS_MAX = 200_000


def made(sites: int, demands: int, *, times: float, seed: int = 1) -> Problem:
    """Return a problem of a given size whose capacities are `times` its demand."""
    chance = np.random.default_rng(seed)
    here, there = chance.random((sites, 2)), chance.random((demands, 2))
    demand = chance.integers(5, 36, demands).astype(float)
    capacity = chance.integers(10, 161, sites).astype(float)
    capacity *= times * demand.sum() / capacity.sum()
    distance = np.hypot(*(here[:, None, k] - there[None, :, k] for k in (0, 1)))
    fixed = chance.integers(0, 91, sites) + chance.integers(100, 111, sites) * np.sqrt(capacity)
    return Problem(
        fixed=fixed, capacity=capacity, demand=demand, cost=10 * distance * demand, split=True
    )


def checked(problem: Problem, siting: Siting) -> None:
    """Stop where the independent evaluator disagrees with a plan."""
    served: dict[int, list[tuple[int, float]]] = {}
    for demand, site in zip(*np.nonzero(siting.share.T), strict=True):
        served.setdefault(int(demand), []).append((int(site), float(siting.share[site, demand])))
    found = check_problem(problem, {int(i) for i in np.flatnonzero(siting.open)}, served)
    if not found.ok(siting.objective):
        raise SystemExit(f"the check disagrees: {found.objective} {found.breaches[:3]}")


def run(name: str, problem: Problem, seconds: float, *, peer: bool) -> None:
    """Print what ours and the peer reach on one problem."""
    began = time.perf_counter()
    siting = solve(problem, seconds=seconds, tell=lambda _share, _what: None).siting
    took_s = time.perf_counter() - began
    if siting is None:
        raise SystemExit(f"{name}: no plan")
    checked(problem, siting)
    tell(f"{name}, ours: objective", siting.objective, "")
    tell(f"{name}, ours: bound below it", 100 * siting.gap_ratio, "%")
    tell(f"{name}, ours: took", took_s, "s")
    if not peer or int(problem.allowed.sum()) > PEER_PAIRS_MAX:
        return
    began = time.perf_counter()
    exact = solve_exact(problem, seconds=seconds)
    took_s = time.perf_counter() - began
    tell(f"{name}, HiGHS: took", took_s, "s")
    if exact.share is None:
        tell(f"{name}, HiGHS: plans found", 0, "")
        return
    objective = objective_of(problem, exact.open, np.where(exact.share > 1e-9, exact.share, 0.0))
    tell(f"{name}, HiGHS: over ours", 100 * (objective / siting.objective - 1), "%")
    tell(f"{name}, HiGHS: bound below it", 100 * (1 - exact.bound / objective), "%")


def main() -> None:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--facilities", type=Path, default=Path("../shared/data/facility-location"))
    parser.add_argument("--no-peer", action="store_true")
    asked = parser.parse_args()
    solve(made(5, 8, times=3), seconds=5, tell=lambda _share, _what: None)  # loads the kernels
    peer = not asked.no_peer
    run("50 x 200", made(50, 200, times=3), asked.seconds, peer=peer)
    run("100 x 1000", made(100, 1000, times=3), asked.seconds, peer=peer)
    if asked.facilities.is_dir():
        for capacity in (8000, 10000, 12000, 14000):
            capa = read_cap(asked.facilities / "capa.txt", capacity=capacity, split=True)
            run(f"capa {capacity}", capa, asked.seconds, peer=peer and capacity == 8000)
        whole = replace(capa, split=False)
        run("capa 14000, whole demands", whole, asked.seconds, peer=False)
        for name in ("pmed11", "pmed16"):
            median = read_pmed(asked.facilities / f"{name}.txt", split=False)
            run(name, median, asked.seconds, peer=peer)
    large = made(200, 10_000, times=5)
    run("200 x 10000", large, asked.seconds, peer=peer)
    run("200 x 10000, whole demands", replace(large, split=False), asked.seconds, peer=False)


if __name__ == "__main__":
    main()
