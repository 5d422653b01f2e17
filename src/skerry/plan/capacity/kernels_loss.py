"""First in, first out, while servers are lost at one moment and come back at a later one.

The busiest servers are the ones lost. What ran on them begins again, at the head of the
queue in its old order; nothing that waited is lost. Requests begin in order of arrival, so
the loss is applied before the first request that would begin at or after it.

Units:   seconds.
Shapes:  arrivals (ascending), services and waits are (requests,). A wait is until the
         request's last beginning: work that was lost counts as waiting.
"""

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import kernel, part

Series = NDArray[np.float64]
Ints = NDArray[np.int64]


def waits_with_loss_s(
    arrival_s: Series,
    service_s: Series,
    servers: int,
    *,
    lost: int,
    lost_at_s: float,
    back_at_s: float,
) -> Series:
    """Return waits where `lost` of the servers are away from one moment to another."""
    out = np.empty(len(arrival_s))
    wait_with_loss(arrival_s, service_s, servers, lost, lost_at_s, back_at_s, out)
    return out


@part
def _take_away(
    free: Series,
    running: Ints,
    lost: int,
    at_s: float,
    back_s: float,
    arrival_s: Series,
    service_s: Series,
    out: Series,
) -> None:
    """Lose the servers that are busy longest, and begin again what ran on them."""
    again = np.full(lost, len(arrival_s), np.int64)
    for k in range(lost):
        busiest = -1
        for j in range(len(free)):
            if free[j] != back_s and (busiest < 0 or free[j] > free[busiest]):
                busiest = j
        if busiest < 0:
            break
        if free[busiest] > at_s:
            again[k] = running[busiest]
        free[busiest] = back_s
    for i in np.sort(again):
        if i == len(arrival_s):
            break
        first = np.argmin(free)
        begin = max(at_s, free[first])
        out[i] = begin - arrival_s[i]
        free[first] = begin + service_s[i]
        running[first] = i


@kernel
def wait_with_loss(
    arrival_s: Series,
    service_s: Series,
    servers: int,
    lost: int,
    lost_at_s: float,
    back_at_s: float,
    out: Series,
) -> None:
    """Fill `out` with waits."""
    free, running = np.full(servers, -np.inf), np.zeros(servers, np.int64)
    whole = lost > 0
    for i in range(len(arrival_s)):
        at = arrival_s[i]
        first = np.argmin(free)
        begin = max(at, free[first])
        if whole and begin >= lost_at_s:
            whole = False
            _take_away(free, running, lost, lost_at_s, back_at_s, arrival_s, service_s, out)
            first = np.argmin(free)
            begin = max(at, free[first])
        out[i] = begin - at
        free[first] = begin + service_s[i]
        running[first] = i
    if whole:
        _take_away(free, running, lost, lost_at_s, back_at_s, arrival_s, service_s, out)
