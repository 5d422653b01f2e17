"""Losing a site: where its demand goes, at what cost, and what nobody can serve.

Everybody else stays where they are; the lost demand fills the room that the other open
sites have left, at the least cost, under the same rules. Whole demands go whole, the
largest first where they compete.

Units:   demand in the instance's own, costs in the problem's.
Shapes:  n sites, m demands.
"""

from dataclasses import dataclass

import numpy as np

from skerry.plan.site.bound import forbidden_cost
from skerry.plan.site.kernels import transport
from skerry.plan.site.problem import Floats, Problem, Siting


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What happens without one site (an index)."""

    lost: int
    moved: Floats
    """Amounts (n,) that each other site takes over."""
    unserved: Floats
    """Amounts (m,) that nobody can take."""
    out_of_reach: tuple[int, ...]
    """Demands that no other open site may serve, however much room it had."""
    spare: int
    """The closed site that could take most of what is unserved; -1 where none could."""
    spare_takes: float
    """How much of it that site may serve and has room for."""
    extra_cost: float
    """The change of the serving cost for what is moved; the lost site's own cost goes on."""


def recoveries(problem: Problem, siting: Siting) -> list[Recovery]:
    """Return the recovery from the loss of each open site, in their order."""
    return [_without(problem, siting, int(site)) for site in np.flatnonzero(siting.open)]


def _without(problem: Problem, siting: Siting, lost: int) -> Recovery:
    others = np.flatnonzero(siting.open & (np.arange(len(siting.open)) != lost))
    moved, unserved = np.zeros(len(siting.open)), np.zeros(len(problem.demand))
    lost_amount = siting.share[lost] * problem.demand
    at = np.flatnonzero(lost_amount > 0)
    load = siting.share[others] @ problem.demand
    room = np.maximum(problem.capacity[others] - load, 0.0)
    reach = problem.allowed[np.ix_(others, at)]
    amounts = np.zeros((len(others) + 1, len(at)))
    if len(others) and len(at):
        big = forbidden_cost(problem)
        part = siting.share[lost, at]
        cost = np.where(reach, problem.cost[np.ix_(others, at)] * part, big)
        amounts = transport(cost, lost_amount[at], room, big)
        if not problem.split:
            amounts = _whole(amounts, cost, lost_amount[at], room, big)
    else:
        amounts[-1] = lost_amount[at]
    moved[others], unserved[at] = amounts[:-1].sum(axis=1), amounts[-1]
    unit = problem.cost[:, at] / problem.demand[at]
    taken = np.where(amounts[:-1] > 0, unit[others] - unit[lost], 0.0) * amounts[:-1]
    spare, takes = _spare(problem, siting, unserved)
    return Recovery(
        lost=lost,
        moved=moved,
        unserved=unserved,
        out_of_reach=tuple(int(one) for one in at[~reach.any(axis=0)]),
        spare=spare,
        spare_takes=takes,
        extra_cost=float(taken.sum()),
    )


def _spare(problem: Problem, siting: Siting, unserved: Floats) -> tuple[int, float]:
    """Return the closed site that could take most of the unserved, the cheapest of equals."""
    takes = np.minimum(problem.capacity, problem.allowed @ unserved)
    takes[siting.open] = 0.0
    best = np.lexsort((problem.fixed, -takes))[0]
    return (int(best), float(takes[best])) if takes[best] > 0 else (-1, 0.0)


def _whole(amounts: Floats, cost: Floats, demand: Floats, room: Floats, big: float) -> Floats:
    """Return amounts in which every demand goes whole to one site, or not at all."""
    left, whole = room.copy(), np.zeros_like(amounts)
    settled = amounts[:-1].max(axis=0, initial=0.0) >= demand * (1 - 1e-9)
    order = np.lexsort((-demand, ~settled))
    for one in order:
        able = np.flatnonzero((left >= demand[one] * (1 - 1e-9)) & (cost[:, one] < big))
        if settled[one]:
            able = np.array([np.argmax(amounts[:-1, one])])
        if len(able):
            to = able[np.argmin(cost[able, one])]
            whole[to, one] = demand[one]
            left[to] -= demand[one]
        else:
            whole[-1, one] = demand[one]
    return whole
