"""The compiled loops of siting: knapsacks of the bound, transport, interchange.

Units:   costs, demands and capacities in the problem's own.
Shapes:  n sites, m demands, k open sites; cost is (n, m) and finite here: a pair that a
         rule forbids costs `big`, more than any plan without it could.
Source:  the bound: Lagrangian relaxation of the assignment rows (Geoffrion, McBride 1978;
         Beasley 1993). Transport: successive shortest paths over the k sites alone, as
         Ahuja, Orlin, Stein, Tarjan (1994) do for bipartite networks with one small side.
         Interchange: Whitaker (1983), Resende and Werneck (2007).
"""

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import kernel
from skerry.plan.site.problem import Floats

Whole = NDArray[np.int64]


@kernel
def knapsacks(
    cost: Floats,
    demand: Floats,
    capacity: Floats,
    price: Floats,
    values: Floats,
    taken: Whole,
    counts: Whole,
    parts: Floats,
) -> None:
    """Fill each site with the demands that pay best at their prices, up to its capacity.

    Writes per site the (negative) value of its load to `values`, the demands taken to
    `taken[i, :counts[i]]`, and to `parts[i]` how much of the last of them fits.
    """
    sites, demands = cost.shape
    ratio = np.empty(demands)
    paying = np.empty(demands, np.int64)
    for i in range(sites):
        found, load, total = 0, 0.0, 0.0
        for j in range(demands):
            reduced = cost[i, j] - price[j]
            if reduced < 0.0:
                paying[found] = j
                found += 1
                load += demand[j]
                total += reduced
        if load <= capacity[i]:
            for k in range(found):
                taken[i, k] = paying[k]
            values[i], counts[i], parts[i] = total, found, 1.0
            continue
        for k in range(found):
            j = paying[k]
            size = demand[j]
            ratio[k] = (cost[i, j] - price[j]) / size if size > 0.0 else -np.inf
        order = np.argsort(ratio[:found])
        room, total, used, part = capacity[i], 0.0, 0, 1.0
        for k in range(found):
            j = paying[order[k]]
            taken[i, used] = j
            used += 1
            if demand[j] <= room:
                room -= demand[j]
                total += cost[i, j] - price[j]
            else:
                part = room / demand[j]
                total += (cost[i, j] - price[j]) * part
                break
        values[i], counts[i], parts[i] = total, used, part


@kernel
def served(chosen: Floats, taken: Whole, counts: Whole, parts: Floats, demands: int) -> Floats:
    """Return how often each demand is served when site i opens by `chosen[i]`, 0 to 1."""
    times = np.zeros(demands)
    for i in range(chosen.size):
        if chosen[i] > 0.0:
            last = counts[i] - 1
            for k in range(last):
                times[taken[i, k]] += chosen[i]
            if last >= 0:
                times[taken[i, last]] += chosen[i] * parts[i]
    return times


@kernel
def cover(worth: Floats, capacity: Floats, need: float, chosen: Floats) -> None:
    """Add the least costly whole sites to `chosen` whose capacity covers `need`.

    Capacities are rounded up to a thousandth of the need, so the cost is never above the
    true least: it stays a bound. Sites already chosen or without capacity are left alone.
    """
    steps = 1000
    able = np.flatnonzero((chosen == 0.0) & (capacity > 0.0))
    least = np.full(steps + 1, np.inf)
    least[0] = 0.0
    takes = np.zeros((able.size, steps + 1), np.bool_)
    for k in range(able.size):
        i = able[k]
        size = min(steps, int(np.ceil(capacity[i] / need * steps)))
        for t in range(steps, 0, -1):
            before = least[max(0, t - size)] + worth[i]
            if before < least[t]:
                least[t], takes[k, t] = before, True
    t = steps
    if least[steps] == np.inf:
        return
    for k in range(able.size - 1, -1, -1):
        if t > 0 and takes[k, t]:
            i = able[k]
            chosen[i] = 1.0
            t = max(0, t - min(steps, int(np.ceil(capacity[i] / need * steps))))


@kernel
def transport(cost: Floats, demand: Floats, capacity: Floats, big: float) -> Floats:
    """Return the least costly amounts (k + 1, m); the last row is what cannot be served.

    `cost` (k, m) serves all of a demand. Every demand starts at its cheapest site; while a
    site is too full, the cheapest chain of moves from one that is to one with room is taken,
    so each step stays the least costly for what it holds.
    """
    sites, demands = cost.shape
    nodes = sites + 1
    unit = np.empty((nodes, demands))
    amount = np.zeros((nodes, demands))
    members = np.empty((nodes, demands), np.int64)
    place = np.full((nodes, demands), -1)
    count = np.zeros(nodes, np.int64)
    room = np.empty(nodes)
    room[:sites] = capacity
    room[sites] = np.inf
    most = 0.0
    for j in range(demands):
        best, least = sites, np.inf
        for a in range(sites):
            finite = cost[a, j] < big and demand[j] > 0.0
            unit[a, j] = cost[a, j] / demand[j] if finite else np.inf
            if finite and unit[a, j] < least:
                best, least = a, unit[a, j]
            if finite and unit[a, j] > most:
                most = unit[a, j]
        if demand[j] > 0.0:
            amount[best, j] = demand[j]
            members[best, count[best]] = j
            place[best, j] = count[best]
            count[best] += 1
            room[best] -= demand[j]
    unit[sites, :] = 1e3 * (most + 1.0)  # unserved: worse than any chain of moves
    slack = 1e-12 * (most + 1.0)
    weight = np.full((nodes, nodes), np.inf)
    by = np.full((nodes, nodes), -1)
    for a in range(nodes):
        _weigh(a, unit, members, count, weight, by)
    enough = np.empty(nodes)
    for a in range(sites):
        enough[a] = 1e-12 * max(1.0, capacity[a]) if capacity[a] < np.inf else 0.0
    enough[sites] = 0.0
    reach, origin = np.empty(nodes), np.empty(nodes, np.int64)
    for _ in range(50 * (demands + nodes) + 1000):
        over = False
        for a in range(nodes):
            full = room[a] < -enough[a]
            over = over or full
            reach[a], origin[a] = (0.0 if full else np.inf), -1
        if not over:
            break
        for _turn in range(nodes):
            moved = False
            for a in range(nodes):
                if reach[a] < np.inf:
                    for b in range(nodes):
                        through = reach[a] + weight[a, b]
                        if b != a and through < reach[b] - slack:
                            reach[b], origin[b], moved = through, a, True
            if not moved:
                break
        end, least = -1, np.inf
        for a in range(nodes):
            if room[a] > enough[a] and reach[a] < least:
                end, least = a, reach[a]
        if end < 0:
            break
        much, at, steps = room[end], end, 0
        while origin[at] >= 0 and steps <= nodes:
            much = min(much, amount[origin[at], by[origin[at], at]])
            at = origin[at]
            steps += 1
        much = min(much, -room[at])
        start, at = at, end
        while at != start:
            a = origin[at]
            _move(a, at, by[a, at], much, unit, amount, members, place, count, weight, by)
            at = a
        room[start] += much
        room[end] -= much
    return amount


@kernel
def _weigh(a: int, unit: Floats, members: Whole, count: Whole, weight: Floats, by: Whole) -> None:
    """Find the cheapest demand to move from site `a` to each other."""
    for b in range(unit.shape[0]):
        weight[a, b], by[a, b] = np.inf, -1
    for k in range(count[a]):
        _offer(a, members[a, k], unit, weight, by)


@kernel
def _offer(a: int, j: int, unit: Floats, weight: Floats, by: Whole) -> None:
    for b in range(unit.shape[0]):
        step = unit[b, j] - unit[a, j]
        if b != a and step < weight[a, b]:
            weight[a, b], by[a, b] = step, j


@kernel
def _move(
    a: int,
    b: int,
    j: int,
    much: float,
    unit: Floats,
    amount: Floats,
    members: Whole,
    place: Whole,
    count: Whole,
    weight: Floats,
    by: Whole,
) -> None:
    """Move an amount of demand `j` from `a` to `b` and keep the cheapest moves up to date."""
    if amount[b, j] == 0.0:
        members[b, count[b]] = j
        place[b, j] = count[b]
        count[b] += 1
        _offer(b, j, unit, weight, by)
    amount[b, j] += much
    amount[a, j] -= much
    if amount[a, j] > 1e-12 * amount[b, j]:
        return
    amount[b, j] += amount[a, j]
    amount[a, j] = 0.0
    last = members[a, count[a] - 1]
    members[a, place[a, j]] = last
    place[a, last] = place[a, j]
    place[a, j] = -1
    count[a] -= 1
    for c in range(unit.shape[0]):
        if by[a, c] == j:
            weight[a, c], by[a, c] = np.inf, -1
            for k in range(count[a]):
                one = members[a, k]
                step = unit[c, one] - unit[a, one]
                if step < weight[a, c]:
                    weight[a, c], by[a, c] = step, one


@kernel
def interchange(cost: Floats, fixed: Floats, opened: NDArray[np.bool_], keep_count: bool) -> float:
    """Improve a plan without capacities by the best add, drop or swap until there is none.

    Changes `opened` in place and returns its cost. With `keep_count` only swaps are taken.
    `loss[r]` is what closing r costs; `extra[r]` the same once a newcomer stands by.
    """
    sites, demands = cost.shape
    first = np.empty(demands, np.int64)
    second = np.empty(demands, np.int64)
    loss, extra = np.empty(sites), np.empty(sites)
    while True:
        total, alone = 0.0, opened.sum() == 1
        for i in range(sites):
            loss[i] = -fixed[i]
            total += fixed[i] if opened[i] else 0.0
        for j in range(demands):
            near, other = -1, -1
            for i in range(sites):
                if opened[i]:
                    if near < 0 or cost[i, j] < cost[near, j]:
                        near, other = i, near
                    elif other < 0 or cost[i, j] < cost[other, j]:
                        other = i
            first[j], second[j] = near, other
            total += cost[near, j]
            loss[near] += 0.0 if alone else cost[other, j] - cost[near, j]
        best, add, drop = -1e-9 * (abs(total) + 1.0), -1, -1
        if not keep_count and not alone:
            for r in range(sites):
                if opened[r] and loss[r] < best:
                    best, add, drop = loss[r], -1, r
        for i in range(sites):
            if opened[i]:
                continue
            gain = fixed[i]
            extra[:] = loss
            for j in range(demands):
                near, c = first[j], cost[i, j]
                here = cost[near, j]
                if c < here:
                    gain += c - here
                    extra[near] -= 0.0 if alone else cost[second[j], j] - here
                elif alone:
                    extra[near] += c - here
                elif c < cost[second[j], j]:
                    extra[near] -= cost[second[j], j] - c
            if not keep_count and gain < best:
                best, add, drop = gain, i, -1
            for r in range(sites):
                if opened[r] and gain + extra[r] < best:
                    best, add, drop = gain + extra[r], i, r
        if add < 0 and drop < 0:
            return float(total)
        if add >= 0:
            opened[add] = True
        if drop >= 0:
            opened[drop] = False
