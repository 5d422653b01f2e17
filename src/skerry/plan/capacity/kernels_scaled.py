"""First in, first out, with a number of servers that changes: by a schedule or by a rule.

Decisions fall at fixed times. A request begins only when no decision is due before it, so a
decision sees what was known then and nothing later. A server that is added can work when it
has started up; one that is let go finishes what it is doing. Idle ones go first.

    wanted = ceil((work that came in the last window + work not done yet) / window / used)

The rule goes up at once, and down only after it has wanted fewer for a while: to the most
that it wanted in that while.

Units:   seconds; server-seconds are paid from the order to start until the last work ends.
Shapes:  arrivals (ascending), services, waits are (requests,); a schedule is (steps,).
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import kernel, part

Series = NDArray[np.float64]
Ints = NDArray[np.int64]

BY_RULE: Final[Ints] = np.zeros(0, np.int64)
"""The empty schedule: the rule decides."""


def wanted_servers(
    came_s: float, left_s: float, window_s: float, used_ratio: float, low: int, high: int
) -> int:
    """Return how many servers the rule wants: enough for the work seen, at a target use."""
    servers = math.ceil((came_s + left_s) / window_s / used_ratio)
    return min(max(servers, low), high)


_wanted = part(wanted_servers)


@kernel
def wait_scaled(
    arrival_s: Series,
    service_s: Series,
    schedule: Ints,
    first_step_s: float,
    step_s: float,
    startup_s: float,
    window_s: float,
    used_ratio: float,
    down_after_s: float,
    start: int,
    low: int,
    high: int,
    out: Series,
) -> tuple[float, int, int]:
    """Fill `out` with waits; return server-seconds, the most servers at once, and changes.

    Decision k falls at `first_step_s + k * step_s`; before the first there are `start`
    servers. With a schedule its number k holds from then on; without, the rule decides
    within `low` to `high`.
    """
    count = len(arrival_s)
    free, since = np.empty(high), np.empty(high)
    servers = start
    free[:start], since[:start] = -np.inf, 0.0
    paid_s, most, changes = 0.0, start, 0
    step, due_s = 0, first_step_s
    arrived, aged = 0, 0
    came_s = waiting_s = 0.0
    fewer_since_s, fewer_most = np.inf, 0
    i = 0
    while i < count:
        first = np.argmin(free[:servers])
        begin = max(arrival_s[i], free[first])
        if begin < due_s:
            if i >= arrived:  # it begins as it arrives, before the next decision
                arrived += 1
                came_s += service_s[i]
            else:
                waiting_s -= service_s[i]
            out[i] = begin - arrival_s[i]
            free[first] = begin + service_s[i]
            i += 1
            continue
        while arrived < count and arrival_s[arrived] < due_s:
            came_s += service_s[arrived]
            waiting_s += service_s[arrived]
            arrived += 1
        while aged < arrived and arrival_s[aged] < due_s - window_s:
            came_s -= service_s[aged]
            aged += 1
        if len(schedule) > 0:
            wanted = schedule[min(step, len(schedule) - 1)]
        else:
            left_s = waiting_s
            for j in range(servers):
                if free[j] > due_s:
                    left_s += free[j] - max(due_s, since[j] + startup_s)
            seen_s = min(window_s, due_s)
            wanted = _wanted(max(came_s, 0.0), max(left_s, 0.0), seen_s, used_ratio, low, high)
            if wanted >= servers:
                fewer_since_s = np.inf
            else:
                if fewer_since_s == np.inf:
                    fewer_since_s, fewer_most = due_s, 0
                fewer_most = max(fewer_most, wanted)
                wanted = servers
                if due_s - fewer_since_s >= down_after_s:
                    wanted, fewer_since_s = fewer_most, np.inf
        changes += wanted != servers
        while servers < wanted:
            free[servers], since[servers] = due_s + startup_s, due_s
            servers += 1
        while servers > wanted:
            gone = np.argmin(free[:servers])
            paid_s += max(due_s, free[gone]) - since[gone]
            servers -= 1
            free[gone], since[gone] = free[servers], since[servers]
        most = max(most, servers)
        step += 1
        due_s = first_step_s + step * step_s
    end_s = arrival_s[count - 1]
    for j in range(servers):
        paid_s += max(end_s, free[j]) - since[j]
    return paid_s, most, changes
