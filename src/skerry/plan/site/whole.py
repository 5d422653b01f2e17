"""Whole demands at capacitated sites: from a plan that splits to one that does not.

A split plan has at most one split demand per full site. Each goes where most of it was;
sites that are then too full give demands away, whole or in exchange, at the least cost per
unit relieved; then moves and exchanges that pay are taken until there is none.

Units:   costs, demands and capacities in the problem's own.
Shapes:  k open sites, m demands; cost is (k, m), `big` or more where a rule forbids.
Source:  the shift and swap neighbourhoods of generalised assignment (Martello, Toth 1990).
"""

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import kernel
from skerry.plan.site.problem import Floats

Whole = NDArray[np.int64]


@kernel
def settle(cost: Floats, demand: Floats, capacity: Floats, big: float, home: Whole) -> bool:
    """Make `home` (m,) fit all capacities and then cheaper; false where it could not fit."""
    sites, demands = cost.shape
    room = capacity.copy()
    for j in range(demands):
        room[home[j]] -= demand[j]
    eps = np.empty(sites)
    for a in range(sites):
        eps[a] = 1e-9 * max(1.0, min(capacity[a], 1e300))
    for _ in range(20 * demands + 100):
        worst, most = -1, 0.0
        for a in range(sites):
            if room[a] < -eps[a] and -room[a] > most:
                worst, most = a, -room[a]
        if worst < 0:
            break
        if not _relieve(worst, cost, demand, room, eps, big, home):
            return False
    else:
        return False
    for _ in range(200):
        if not _improve(cost, demand, room, eps, home):
            break
    return True


@kernel
def _relieve(
    a: int,
    cost: Floats,
    demand: Floats,
    room: Floats,
    eps: Floats,
    big: float,
    home: Whole,
) -> bool:
    """Take one move or exchange that makes site `a` less full and no other too full."""
    sites, demands = cost.shape
    over = -room[a]
    best, move, other, to = np.inf, -1, -1, -1
    for j in range(demands):
        if home[j] != a or demand[j] <= 0.0:
            continue
        for b in range(sites):
            if b != a and demand[j] <= room[b] + eps[b] and cost[b, j] < big:
                price = (cost[b, j] - cost[a, j]) / min(demand[j], over)
                if price < best:
                    best, move, other, to = price, j, -1, b
    if move < 0:
        for j in range(demands):
            if home[j] != a:
                continue
            for one in range(demands):
                b = home[one]
                less = demand[j] - demand[one]
                if b == a or less <= 0.0 or less > room[b] + eps[b]:
                    continue
                if cost[b, j] >= big or cost[a, one] >= big:
                    continue
                turn = cost[b, j] - cost[a, j] + cost[a, one] - cost[b, one]
                price = turn / min(less, over)
                if price < best:
                    best, move, other, to = price, j, one, b
    if move < 0:
        return False
    home[move] = to
    room[a] += demand[move]
    room[to] -= demand[move]
    if other >= 0:
        home[other] = a
        room[to] += demand[other]
        room[a] -= demand[other]
    return True


@kernel
def _improve(cost: Floats, demand: Floats, room: Floats, eps: Floats, home: Whole) -> bool:
    """Take every move and exchange that pays, once through the demands not at their best."""
    sites, demands = cost.shape
    gained = False
    for j in range(demands):
        a = home[j]
        best, to = -1e-9 * abs(cost[a, j]), -1
        for b in range(sites):
            step = cost[b, j] - cost[a, j]
            if step < best and demand[j] <= room[b] + eps[b]:
                best, to = step, b
        if to >= 0:
            home[j], gained = to, True
            room[a] += demand[j]
            room[to] -= demand[j]
            continue
        cheapest = a
        for b in range(sites):
            if cost[b, j] < cost[cheapest, j]:
                cheapest = b
        if cheapest == a:
            continue
        best, with_whom = -1e-9 * abs(cost[a, j]), -1
        for one in range(demands):
            b = home[one]
            more = demand[j] - demand[one]
            if b == a or more > room[b] + eps[b] or -more > room[a] + eps[a]:
                continue
            step = cost[b, j] - cost[a, j] + cost[a, one] - cost[b, one]
            if step < best:
                best, with_whom = step, one
        if with_whom >= 0:
            b, gained = home[with_whom], True
            home[j], home[with_whom] = b, a
            room[a] += demand[j] - demand[with_whom]
            room[b] += demand[with_whom] - demand[j]
    return gained
