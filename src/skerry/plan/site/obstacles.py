"""Why an instance has no plan: the rule in the way, and the demands it leaves unserved.

Three things are looked at in turn, each a proof of its own:
- a demand that no candidate may serve, with the rules that forbid it;
- a whole demand larger than every candidate that may serve it;
- demands that together need more than all their candidates can hold (a cut of the
  transport problem with every site open), for capacity or for permits.

Units:   demand and capacity in the instance's own.
Shapes:  n sites, m demands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from skerry.plan.site.bound import forbidden_cost
from skerry.plan.site.kernels import transport
from skerry.plan.site.problem import FULL, Flags, Floats, Problem

EVERY_SITE = "sites"
WHOLE = "whole_demands"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A rule that cannot be kept, the demands (indices) it concerns, and why in words."""

    rule: str
    demands: tuple[int, ...]
    text: str
    forbidden: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Rule to the candidates (indices) that it keeps from any of these demands."""


def obstacles(problem: Problem, forbids: dict[str, Flags], permit_binds: Flags) -> list[Obstacle]:
    """Return what makes a problem infeasible; empty where nothing was found."""
    found = _unreachable(problem, forbids)
    if not found and not problem.split:
        found = _too_large(problem, permit_binds)
    return found or _too_little_room(problem, permit_binds)


def _unreachable(problem: Problem, forbids: dict[str, Flags]) -> list[Obstacle]:
    """Name, for each demand without a candidate, the rules that would help if lifted."""
    alone = np.flatnonzero(~problem.allowed.any(axis=0) & (problem.demand > 0))
    by_rule: dict[str, list[int]] = {}
    for demand in alone:
        one_lifted = [
            name
            for name in forbids
            if (~_any(forbids, int(demand), without=name, sites=len(problem.fixed))).any()
        ]
        stated = [name for name, pairs in forbids.items() if pairs[:, demand].any()]
        by_rule.setdefault(" or ".join(one_lifted) or " and ".join(stated), []).append(int(demand))
    return [
        Obstacle(
            rule=rule or "forbidden",
            demands=tuple(demands),
            text=f"no candidate may serve {len(demands)} demand(s): {rule or 'no pair is allowed'}",
            forbidden={
                name: tuple(np.flatnonzero(pairs[:, demands].any(axis=1)).tolist())
                for name, pairs in forbids.items()
                if pairs[:, demands].any()
            },
        )
        for rule, demands in by_rule.items()
    ]


def _any(forbids: dict[str, Flags], demand: int, *, without: str, sites: int) -> Flags:
    broken = np.zeros(sites, bool)
    for name, pairs in forbids.items():
        if name != without:
            broken |= pairs[:, demand]
    return broken


def _too_large(problem: Problem, permit_binds: Flags) -> list[Obstacle]:
    largest = np.where(problem.allowed, problem.capacity[:, None], -np.inf)
    bad = np.flatnonzero(problem.demand > largest.max(axis=0) * FULL)
    if not len(bad):
        return []
    permits = bool(permit_binds[problem.allowed[:, bad].any(axis=1)].any())
    return [
        Obstacle(
            rule="permit_kw" if permits else "capacity",
            demands=tuple(int(one) for one in bad),
            text=f"{len(bad)} demand(s) are larger than every candidate that may serve them;"
            " --split lets several sites share one",
        )
    ]


def _too_little_room(problem: Problem, permit_binds: Flags) -> list[Obstacle]:
    """Find demands that need more than all their candidates hold, with every site open."""
    big = forbidden_cost(problem)
    cost = np.where(problem.allowed, problem.cost, big)
    amount = transport(cost, problem.demand, problem.capacity, big)
    short = amount[-1] > 1e-9 * max(1.0, float(problem.demand.sum()))
    if not short.any():
        return []
    demands, sites = _cut(problem, amount, short)
    held, asked = float(problem.capacity[sites].sum()), float(problem.demand[demands].sum())
    return [
        Obstacle(
            rule="permit_kw" if permit_binds[sites].any() else "capacity",
            demands=tuple(int(one) for one in np.flatnonzero(demands)),
            text=f"{int(demands.sum())} demand(s) ask for {asked:.6g}, the"
            f" {int(sites.sum())} candidates that may serve them hold {held:.6g}",
        )
    ]


def _cut(problem: Problem, amount: Floats, short: Flags) -> tuple[Flags, Flags]:
    """Return the demands that the unserved ones compete with, and all their candidates."""
    demands, sites = short.copy(), np.zeros(len(problem.fixed), bool)
    while True:
        wider = problem.allowed[:, demands].any(axis=1)
        joined = demands | (amount[:-1][wider] > 0).any(axis=0)
        if (wider == sites).all() and (joined == demands).all():
            return demands, sites
        demands, sites = np.asarray(joined), np.asarray(wider)
