"""Admission: whether a request may wait for a model, from plain numbers.

The planner replays these same functions on a simulated clock (compiled by numba), so
they take and return numbers only.

    wait_s = runs ahead of this request * run_s
    runs ahead = runs under way, plus the batches that the queue makes

A queue may hold a burst, and it may hold one request of each of many clients that wait
for their answers before they ask again. Once it overflows, work comes faster than it can
be done, and every request that still gets in would wait as long as the queue is. So from
then on until it was empty the lane is shedding: its queue is kept short, and what is
admitted keeps its latency.

Units:   seconds; `run_s` is the measured time of one run, 0 where none was measured yet.
Source:  the estimate is the mean of a FIFO queue with a deterministic server; a run
         under way counts whole, as its age is not known. The two limits: Maurer, "Fail at
         Scale", ACM Queue 13(8), 2015, after CoDel (Nichols, Jacobson, ACM Queue 10(5), 2012).
"""

ADMIT = 0
REFUSE_QUEUE_FULL = 1
REFUSE_DEADLINE = 2

BURST_RUNS = 64
"""Runs that may lie ahead of a request."""
SHEDDING_RUNS = 8
"""The same while shedding: less than one server at 0.8 load makes its slowest hundredth wait."""
SHORT_WAIT_S = 0.01
"""A wait shorter than this is never too long, however many runs it is."""

INLINE_S_MAX = 0.001
"""Longest run that may hold the event loop; above it health checks and other models wait."""
INLINE_MARGIN = 0.25  # so that a model near the limit does not change sides at every run
SPIKE = 10.0
RUN_WEIGHT = 0.1  # of the newest run in the running mean: about the last twenty count


def wait_s(queue_len: int, running: int, run_s: float, batch_max: int) -> float:
    """Return how long a request that joins the queue now will wait before its own run."""
    batches = queue_len // batch_max
    return (running + batches) * run_s


def admit(
    queue_len: int,
    queue_len_max: int,
    running: int,
    run_s: float,
    batch_max: int,
    deadline_left_s: float,
    shedding: int,
) -> int:
    """Return ADMIT or the reason to refuse; a full queue comes before a deadline.

    `shedding` is 1 from a refusal for a full queue until the queue was empty, else 0.
    """
    if queue_len >= queue_len_max:
        return REFUSE_QUEUE_FULL
    ahead_s = wait_s(queue_len, running, run_s, batch_max)
    runs_max = SHEDDING_RUNS if shedding else BURST_RUNS
    if running + queue_len // batch_max >= runs_max and ahead_s > SHORT_WAIT_S:
        return REFUSE_QUEUE_FULL
    if ahead_s + run_s > deadline_left_s:
        return REFUSE_DEADLINE
    return ADMIT


def tokens(left: float, burst: float, rate_per_s: float, elapsed_s: float) -> float:
    """Return what a token bucket holds after some time: a request takes one, if there is one."""
    return min(burst, left + rate_per_s * elapsed_s)


def still_in_time(run_s: float, deadline_left_s: float) -> int:
    """Return 1 if a run that starts now can end within the deadline, else 0."""
    return 1 if run_s <= deadline_left_s else 0


def mean_run_s(mean_s: float, newest_s: float) -> float:
    """Return the running mean with the newest run in it.

    A run that was put aside by the system for milliseconds says nothing of the model, so
    one run counts as `SPIKE` times the mean at most: a true change shows within ten runs.
    """
    if mean_s > 0.0:
        newest_s = min(newest_s, SPIKE * mean_s)
    return mean_s + RUN_WEIGHT * (newest_s - mean_s)


def runs_inline(inline_now: int, run_s: float) -> int:
    """Return 1 if runs of this length belong on the event loop, else 0."""
    limit_s = INLINE_S_MAX * (1 + INLINE_MARGIN if inline_now else 1 - INLINE_MARGIN)
    return 1 if run_s < limit_s else 0


def retry_after_s(queue_len: int, running: int, run_s: float, batch_max: int) -> float:
    """Return when a refused client may come back: when half of the queue will have gone."""
    half_s = wait_s(queue_len, running, run_s, batch_max) / 2
    return min(max(half_s, 0.05), 30.0)
