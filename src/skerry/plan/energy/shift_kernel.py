"""When a job that may wait should run: every start hour of a signal, in one pass each.

A job of `job_h` hours that arrives at hour i may run in the window [i, i + slack_h + job_h),
cut off at the signal's end. It runs at once, or at the best start in one piece, or in the
best hours picked freely. Choices are made on a forecast and paid at the actual values; a
perfect forecast is the actual series itself.

    in one piece   prefix sums and a sliding minimum over starts, O(hours)
    picked freely  the job_h least of the window, by a Fenwick tree over the forecast's ranks,
                   O(hours * log hours)

Units:   the signal's own (g/kWh gives grams for a load of 1 kW); hours.
Shapes:  forecast and actual are (hours,); results are (starts,).
Source:  window and start rules of Sukprasert et al., EuroSys 2024; ties go to the earliest hour.
"""

import numpy as np
from numpy.typing import NDArray

from skerry.plan.compiled import kernel

Series = NDArray[np.float64]
Ranks = NDArray[np.int64]


def starts_of(hours: int, *, job_h: int, slack_h: int) -> int:
    """Return how many start hours a signal has for a job.

    The last hour at which the job still fits is left out, as the study does, unless the
    slack spans the whole signal.
    """
    return max(hours - job_h + (1 if slack_h >= hours else 0), 0)


def ranks_of(forecast: Series) -> Ranks:
    """Return each hour's place, from 0, among all hours sorted by forecast."""
    ranks = np.empty(len(forecast), dtype=np.int64)
    ranks[np.argsort(forecast, kind="stable")] = np.arange(len(forecast))
    return ranks


@kernel
def at_once(actual: Series, job_h: int, starts: int) -> Series:
    """Return what each job costs that does not wait."""
    paid = np.empty(starts)
    total = actual[:job_h].sum()
    for i in range(starts):
        paid[i] = total
        if i + job_h < len(actual):
            total += actual[i + job_h] - actual[i]
    return paid


@kernel
def in_one_piece(forecast: Series, actual: Series, job_h: int, slack_h: int, starts: int) -> Series:
    """Return what each job costs that starts at its window's best hour and runs through."""
    last = len(actual) - job_h  # the last hour at which the job still fits
    hoped, real = np.empty(last + 1), np.empty(last + 1)
    sum_hoped, sum_real = forecast[:job_h].sum(), actual[:job_h].sum()
    for s in range(last + 1):
        hoped[s], real[s] = sum_hoped, sum_real
        if s < last:
            sum_hoped += forecast[s + job_h] - forecast[s]
            sum_real += actual[s + job_h] - actual[s]
    queue = np.empty(last + 1, dtype=np.int64)  # starts, their sums ascending
    head = tail = added = 0
    paid = np.empty(starts)
    for i in range(starts):
        while added <= min(i + slack_h, last):
            while tail > head and hoped[queue[tail - 1]] > hoped[added]:
                tail -= 1
            queue[tail] = added
            tail += 1
            added += 1
        while queue[head] < i:
            head += 1
        paid[i] = real[queue[head]]
    return paid


@kernel
def picked_freely(actual: Series, ranks: Ranks, job_h: int, slack_h: int, starts: int) -> Series:
    """Return what each job costs that runs in the `job_h` hours its forecast ranks least."""
    hours = len(actual)
    size = 1
    while size * 2 <= hours:
        size *= 2
    count = np.zeros(hours + 1, dtype=np.int64)
    total = np.zeros(hours + 1)
    paid = np.empty(starts)
    added = 0
    for i in range(starts):
        while added < min(i + slack_h + job_h, hours):
            place = ranks[added] + 1
            while place <= hours:
                count[place] += 1
                total[place] += actual[added]
                place += place & -place
            added += 1
        place, left, least, step = 0, job_h, 0.0, size
        while step and left:
            ahead = place + step
            if ahead <= hours and count[ahead] <= left:
                place = ahead
                left -= count[ahead]
                least += total[ahead]
            step //= 2
        paid[i] = least
        place = ranks[i] + 1
        while place <= hours:
            count[place] -= 1
            total[place] -= actual[i]
            place += place & -place
    return paid


@kernel
def while_above(actual: Series, job_h: int, slack_h: int, starts: int, limit: float) -> Series:
    """Return what each job costs that waits while the hour is above a limit, to its deadline.

    It needs no forecast: a job looks at the present hour alone.
    """
    last = len(actual) - job_h
    sums = np.zeros(len(actual) + 1)
    for hour in range(len(actual)):
        sums[hour + 1] = sums[hour] + actual[hour]
    paid = np.empty(starts)
    ahead = last  # the next hour at or below the limit, seen from the end
    for i in range(last, -1, -1):
        if actual[i] <= limit or i == last:
            ahead = i
        if i < starts:
            at = min(ahead, i + slack_h, last)
            paid[i] = sums[at + job_h] - sums[at]
    return paid
