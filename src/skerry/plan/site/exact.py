"""Siting to proven optimality with HiGHS, for problems of about 20,000 pairs and less.

The strong form: x_ij <= y_i for every allowed pair, beside the capacity rows. HiGHS stops
at a gap of 1e-7, or when its time is up; then its bound is what it had proven so far.

Units:   seconds for the limit; costs in the problem's own.
Source:  Ghiani, Laporte, Musmanno: the textbook formulation of capacitated location.
"""

from dataclasses import dataclass
from typing import Any, Final

import highspy
import numpy as np

from skerry.plan.site.highs import QuietHighs
from skerry.plan.site.problem import Flags, Floats, Problem

PAIRS_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Exact:
    """What HiGHS ended with; `share` is None where it found no plan."""

    infeasible: bool
    proven: bool
    bound: float
    open: Flags
    share: Floats | None


def solve_exact(
    problem: Problem, *, seconds: float, start: tuple[Flags, Floats] | None = None
) -> Exact:
    """Solve a problem as a mixed-integer program, from a plan to start with where there is one."""
    sites, demands = problem.shape
    site_of, demand_of = np.nonzero(problem.allowed)
    pairs = len(site_of)
    solver = QuietHighs(seconds=max(seconds, 0.1))
    solver.passModel(_program(problem, site_of, demand_of))
    if start is not None:
        solution = highspy.HighsSolution()
        solution.col_value = np.concatenate(
            [start[0].astype(float), start[1][site_of, demand_of]]
        ).tolist()
        solver.setSolution(solution)
    solver.run()
    status, info = solver.getModelStatus(), solver.getInfo()
    infeasible = status in (
        highspy.HighsModelStatus.kInfeasible,
        highspy.HighsModelStatus.kUnboundedOrInfeasible,
    )
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    opened, share = np.zeros(sites, bool), None
    if found and not infeasible:
        value = np.array(solver.getSolution().col_value)
        opened = value[:sites] > 0.5
        share = np.zeros((sites, demands))
        share[site_of, demand_of] = value[sites : sites + pairs]
    return Exact(
        infeasible=infeasible,
        proven=status == highspy.HighsModelStatus.kOptimal,
        bound=float(info.mip_dual_bound),
        open=opened,
        share=share,
    )


def _program(problem: Problem, site_of: Any, demand_of: Any) -> Any:
    """Return the rows: served, capacity, open before serving, number of sites."""
    sites, demands = problem.shape
    pairs = len(site_of)
    columns = sites + np.arange(pairs)
    limited = np.flatnonzero(np.isfinite(problem.capacity))
    row_of_site = np.full(sites, -1)
    row_of_site[limited] = demands + np.arange(len(limited))
    link = demands + len(limited) + np.arange(pairs)
    bound_pairs = row_of_site[site_of] >= 0
    rows = demands + len(limited) + pairs + (problem.count is not None)
    parts = [  # (row, column, value) in turn
        (demand_of, columns, np.ones(pairs)),
        (
            row_of_site[site_of][bound_pairs],
            columns[bound_pairs],
            problem.demand[demand_of][bound_pairs],
        ),
        (row_of_site[limited], limited, -problem.capacity[limited]),
        (link, columns, np.ones(pairs)),
        (link, site_of, -np.ones(pairs)),
    ]
    if problem.count is not None:
        parts.append((np.full(sites, rows - 1), np.arange(sites), np.ones(sites)))
    row, column, value = (np.concatenate([part[k] for part in parts]) for k in range(3))
    order = np.lexsort((row, column))
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = sites + pairs, rows
    program.col_cost_ = np.concatenate([problem.fixed, problem.cost[site_of, demand_of]])
    program.col_lower_, program.col_upper_ = np.zeros(sites + pairs), np.ones(sites + pairs)
    lower, upper = np.full(rows, -highspy.kHighsInf), np.zeros(rows)
    lower[:demands] = upper[:demands] = 1.0
    if problem.count is not None:
        lower[-1] = upper[-1] = problem.count
    program.row_lower_, program.row_upper_ = lower, upper
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    counts = np.bincount(column, minlength=sites + pairs)
    program.a_matrix_.start_ = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    program.a_matrix_.index_ = row[order].astype(np.int32)
    program.a_matrix_.value_ = value[order]
    whole = np.full(sites + pairs, int(not problem.split))
    whole[:sites] = 1
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    program.integrality_ = [kinds[one] for one in whole]
    return program
