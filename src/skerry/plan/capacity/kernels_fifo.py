"""First in, first out, on many servers: what every request of a trace waits.

A request takes the server that is free first. The state is the times at which servers
become free, in order; the first is taken out and its new time put in:

    begin = max(arrival, free[0]);  new = begin + service
    free'[j] = min(free[j+1], max(new, free[j]))       with free[c] = infinity

That line has no branch, so a row of 64 servers is a handful of vector instructions. Above
`ROW_SERVERS_MAX` a heap needs fewer steps. Both give the same waits to the last bit, since
they only compare and move numbers.

Units:   seconds.
Shapes:  arrivals (ascending), services and waits are (requests,).
Source:  Kiefer, Wolfowitz, "On the theory of queues with many servers", Trans. AMS 78, 1955.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import kernel

Series = NDArray[np.float64]

ROW_SERVERS_MAX: Final = 192
"""Where the heap overtakes the row, by measurement (`benchmarks/plan.md`)."""


def waits_s(arrival_s: Series, service_s: Series, servers: int) -> Series:
    """Return the wait of every request before its own service begins."""
    out = np.empty(len(arrival_s))
    if servers > ROW_SERVERS_MAX:
        wait_heap(arrival_s, service_s, servers, out)
    else:
        wait_row(arrival_s, service_s, servers, out)
    return out


@kernel
def wait_row(arrival_s: Series, service_s: Series, servers: int, out: Series) -> None:
    """Fill `out` with waits; the free times stand in order in a row."""
    free = np.full(servers + 1, -np.inf)
    free[servers] = np.inf
    for i in range(len(arrival_s)):
        at = arrival_s[i]
        begin = at if at > free[0] else free[0]
        out[i] = begin - at
        new = begin + service_s[i]
        for j in range(servers):
            here = free[j]
            later = free[j + 1]
            moved = new if new > here else here
            free[j] = later if later < moved else moved


@kernel
def wait_heap(arrival_s: Series, service_s: Series, servers: int, out: Series) -> None:
    """Fill `out` with waits; the free times are a heap from index 1, its end at infinity."""
    free = np.full(2 * servers + 4, np.inf)
    free[1 : servers + 1] = -np.inf
    for i in range(len(arrival_s)):
        at = arrival_s[i]
        begin = at if at > free[1] else free[1]
        out[i] = begin - at
        new = begin + service_s[i]
        hole, child = 1, 2
        while child <= servers:
            child += free[child + 1] < free[child]
            if free[child] >= new:
                break
            free[hole] = free[child]
            hole, child = child, 2 * child
        free[hole] = new
