"""A smaller problem with the same sites: demands that cost alike, taken together.

A plan of the smaller one is a plan of the whole (members of a group are served alike), so
its sites are a good place to start from; its bound means nothing for the whole.

Demands are halved again and again at the median of the site whose unit costs differ most
among them, until there are enough groups.

Shapes:  n sites, m demands, g groups.
"""

import heapq
from dataclasses import replace

import numpy as np

from skerry.plan.site.problem import Floats, Problem
from skerry.plan.site.whole import Whole


def grouped(problem: Problem, groups: int, big: float) -> tuple[Problem, list[Whole]]:
    """Return the problem over at most `groups` groups of demands, which may be split.

    The groups come with it, as the indices of their demands.
    """
    cost = np.where(np.isfinite(problem.cost), problem.cost, big)
    unit = cost / np.maximum(problem.demand, 1e-9 * max(1.0, float(problem.demand.max())))
    parts = _parts(unit, groups)
    demand = np.array([problem.demand[part].sum() for part in parts])
    together = np.column_stack([cost[:, part].sum(axis=1) for part in parts])
    cost = np.where(together < big, together, np.inf)
    return replace(problem, demand=demand, cost=cost, split=True), parts


def _parts(unit: Floats, groups: int) -> list[Whole]:
    """Return the groups, as indices; the one that differs most is halved first."""

    def entry(part: Whole) -> tuple[float, int, int, Whole]:
        spread = unit[:, part].var(axis=1) * len(part)
        return -float(spread.max()), int(part[0]), int(spread.argmax()), part

    heap = [entry(np.arange(unit.shape[1]))]
    while len(heap) < groups and heap[0][0] < 0:
        _, _, site, part = heapq.heappop(heap)
        order = part[np.argsort(unit[site, part], kind="stable")]
        half = len(order) // 2
        for one in (np.sort(order[:half]), np.sort(order[half:])):
            heapq.heappush(heap, entry(one))
    return [part for *_, part in heap]
