"""A reconnect storm: how a region's nodes come back when their link or their server does.

Each node notices the loss by its unanswered pings, then tries to log in again and again
with the production pauses (`spine.backoff`). A region's server logs in one node after the
other; a login that would wait longer than the node does is an attempt in vain.

Units:   seconds after the link is back.
Shapes:  (nodes,) per region; `attempts` and `logins` count per second, (BINS,).
Source:  `spine.nats_bus` is the loop that is replayed.
Limits:  a server's time for one login is constant; attempts in vain cost it nothing.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import compiled, kernel
from skerry.plan.simulate.fleet_arrays import Floats, Ints
from skerry.spine import backoff

_pause_s = compiled(backoff.pause_s)
_longer_s = compiled(backoff.longer_s)
_MIN_S, _MAX_S = backoff.LOGIN_S_MIN, backoff.LOGIN_S_MAX
_TIMEOUT_S = backoff.LOGIN_TIMEOUT_S
_NOTICED_S: Final = float(backoff.PING_S * backoff.PINGS_MAX)
BINS: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Storm:
    """How one region came back."""

    region: str
    nodes: int
    back_s: Floats
    """When each node was logged in again, sorted."""
    attempts: Ints
    logins: Ints

    @property
    def reconverged_s(self) -> float:
        """When the last node was back."""
        return float(self.back_s[-1]) if len(self.back_s) else 0.0


@kernel
def _storm(
    nodes: int,
    down_s: float,
    service_s: float,
    chances: Floats,
    spread: bool,
    back_s: Floats,
    attempts: Ints,
    logins: Ints,
) -> None:
    """Replay one region; `chances` is a ring of numbers from 0 to 1."""
    drawn = 0
    heap = np.empty(nodes)
    who = np.empty(nodes, dtype=np.int64)
    wait = np.empty(nodes)
    count = 0
    for n in range(nodes):
        first = chances[drawn % len(chances)] if spread else 0.5
        t = -down_s + first * _NOTICED_S
        pause = _MIN_S
        drawn += 1
        while t < 0.0:  # the link is down: every attempt waits for its time-out
            chance = chances[drawn % len(chances)] if spread else 1.0
            drawn += 1
            t += _TIMEOUT_S + _pause_s(pause, chance)
            pause = _longer_s(pause, _MAX_S)
        wait[n] = pause
        k = count
        count += 1
        while k > 0 and heap[(k - 1) // 2] > t:
            heap[k], who[k] = heap[(k - 1) // 2], who[(k - 1) // 2]
            k = (k - 1) // 2
        heap[k], who[k] = t, n
    free_s = 0.0
    while count > 0:
        t, n = heap[0], who[0]
        second = min(int(t), len(attempts) - 1)
        attempts[second] += 1
        ready_s = max(t, free_s) + service_s
        again = ready_s - t > _TIMEOUT_S
        if again:
            chance = chances[drawn % len(chances)] if spread else 1.0
            drawn += 1
            t += _TIMEOUT_S + _pause_s(wait[n], chance)
            wait[n] = _longer_s(wait[n], _MAX_S)
        else:
            free_s = ready_s
            back_s[n] = ready_s
            logins[min(int(ready_s), len(logins) - 1)] += 1
            count -= 1
            t, n = heap[count], who[count]
        k = 0
        while True:
            child = 2 * k + 1
            if child >= count:
                break
            if child + 1 < count and heap[child + 1] < heap[child]:
                child += 1
            if heap[child] >= t:
                break
            heap[k], who[k] = heap[child], who[child]
            k = child
        heap[k], who[k] = t, n


def storm(
    region: str, nodes: int, *, down_s: float, logins_per_s: float, seed: int, spread: bool = True
) -> Storm:
    """Replay a region's storm; without `spread` no pause is left to chance, for comparison."""
    back_s = np.zeros(nodes)
    attempts, logins = np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64)
    chances: NDArray[np.float64] = np.random.default_rng((seed, 88)).random(1 << 16)
    if nodes:
        service_s = 1.0 / logins_per_s
        _storm(nodes, min(down_s, 600.0), service_s, chances, spread, back_s, attempts, logins)
    return Storm(
        region=region, nodes=nodes, back_s=np.sort(back_s), attempts=attempts, logins=logins
    )


def percentile_s(back_s: Floats, percent: float) -> float:
    """Return when a share of the nodes was back."""
    if not len(back_s):
        return 0.0
    place = max(0, math.ceil(percent / 100 * len(back_s)) - 1)
    return float(np.sort(back_s)[place])
