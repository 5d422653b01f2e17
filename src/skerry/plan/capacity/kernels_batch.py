"""Servers that work on many requests at once, step by step, as language models do.

A request joins the server with the fewest under way, as soon as one has room; all wait in
one line, first come first served. Each step gives every request of a server one more token
and takes as long as the batch makes it:

    progress of each of n requests = time / step_s[n]

Progress is taken as continuous: on a real server a request joins at the next step, so it
may end up to one step later.

Units:   seconds; a request's length is in steps; energy in joules.
Shapes:  arrivals (ascending), steps and ends are (requests,); `step_s` and `step_j` are
         (limit + 1,), by batch size, of which 0 is not used.
"""

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import kernel, part

Series = NDArray[np.float64]
Ints = NDArray[np.int64]


@part
def _push(goal: Series, owner: Ints, size: int, value: float, who: int) -> None:
    """Put a request into a server's heap of `size`, by the progress at which it ends."""
    hole = size
    while hole > 0 and goal[(hole - 1) // 2] > value:
        above = (hole - 1) // 2
        goal[hole], owner[hole] = goal[above], owner[above]
        hole = above
    goal[hole], owner[hole] = value, who


@part
def _pop(goal: Series, owner: Ints, size: int) -> None:
    """Take the first to end out of a heap of `size`."""
    last, who = goal[size - 1], owner[size - 1]
    hole, child = 0, 1
    while child < size - 1:
        if child + 1 < size - 1 and goal[child + 1] < goal[child]:
            child += 1
        if goal[child] >= last:
            break
        goal[hole], owner[hole] = goal[child], owner[child]
        hole, child = child, 2 * child + 1
    goal[hole], owner[hole] = last, who


@kernel
def run_batched(
    arrival_s: Series,
    steps: Series,
    servers: int,
    step_s: Series,
    step_j: Series,
    begins_s: Series,
    sojourn_s: Series,
) -> tuple[float, float]:
    """Fill beginnings and sojourns; return joules, and the mean batch that a token is made in.

    `step_j` is the energy of one token at a batch size.
    """
    limit = len(step_s) - 1
    count = len(arrival_s)
    under_way = np.zeros(servers, np.int64)
    done = np.zeros(servers)  # steps that each request of a server has had, from its first on
    since_s = np.zeros(servers)
    end_s = np.full(servers, np.inf)
    goal, owner = np.empty((servers, limit)), np.empty((servers, limit), np.int64)
    joules = shared = made = 0.0
    now_s = 0.0
    next_one, ended = 0, 0
    while ended < count:
        starts = False
        k = np.argmin(under_way)
        first = np.argmin(end_s)
        if next_one < count and under_way[k] < limit:
            at_s = max(now_s, arrival_s[next_one])
            starts = at_s < end_s[first]
        if not starts:
            k, at_s = first, end_s[first]
        now_s = at_s
        n = under_way[k]
        if n > 0:
            grown = (at_s - since_s[k]) / step_s[n]
            done[k] += grown
            joules += grown * n * step_j[n]
            shared += grown * n * n
            made += grown * n
        since_s[k] = at_s
        if starts:
            if n == 0:
                done[k] = 0.0
            _push(goal[k], owner[k], n, done[k] + steps[next_one], next_one)
            begins_s[next_one] = at_s
            under_way[k] = n + 1
            next_one += 1
        else:
            i = owner[k, 0]
            done[k] = goal[k, 0]
            _pop(goal[k], owner[k], n)
            sojourn_s[i] = at_s - arrival_s[i]
            under_way[k] = n - 1
            ended += 1
        n = under_way[k]
        end_s[k] = at_s + (goal[k, 0] - done[k]) * step_s[n] if n > 0 else np.inf
    return joules, shared / made if made > 0 else 0.0
