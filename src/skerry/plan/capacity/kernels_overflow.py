"""Many small sites that overflow upwards: edge, region, cloud, each site with its own queue.

A request asks its own site first. Where it would wait longer there than the tier allows, it
goes on to the site above, over the round trip of that tier; at the last tier it waits as
long as it must. Within a site it takes the server that is free first.

    sojourn = round trip of the tier that serves + wait + service

One tier has one round trip, so requests reach it in the order they arrived in.

Units:   seconds.
Shapes:  arrivals (ascending), services, sites, waits and tiers are (requests,); the tables of
         tiers are (tiers,). Site e of the first tier belongs to site e * sites // first sites.
"""

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import kernel

Series = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def overflow(
    arrival_s: Series,
    service_s: Series,
    site: Ints,
    sites: Ints,
    servers: Ints,
    round_trip_s: Series,
    wait_max_s: Series,
    sojourn_s: Series,
    served_by: Ints,
) -> float:
    """Fill sojourns and the tier that served each request; return the sum of waits."""
    tiers = len(sites)
    # Free times of a site stand in order in a row, with infinity behind them (`kernels_fifo`).
    begin = np.zeros(tiers + 1, np.int64)
    for t in range(tiers):
        begin[t + 1] = begin[t] + sites[t] * (servers[t] + 1)
    free = np.full(begin[tiers], -np.inf)
    for t in range(tiers):
        for own in range(sites[t]):
            free[begin[t] + own * (servers[t] + 1) + servers[t]] = np.inf
    waited_s = 0.0
    for i in range(len(arrival_s)):
        for t in range(tiers):
            own = site[i] if t == 0 else site[i] * sites[t] // sites[0]
            row = begin[t] + own * (servers[t] + 1)
            at = arrival_s[i] + round_trip_s[t] / 2
            wait = max(free[row] - at, 0.0)
            if wait > wait_max_s[t] and t < tiers - 1:
                continue
            new = at + wait + service_s[i]
            for j in range(row, row + servers[t]):
                here = free[j]
                later = free[j + 1]
                moved = new if new > here else here
                free[j] = later if later < moved else moved
            sojourn_s[i] = round_trip_s[t] + wait + service_s[i]
            served_by[i] = t
            waited_s += wait
            break
    return waited_s
