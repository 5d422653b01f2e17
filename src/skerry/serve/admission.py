"""Admission: whether a request may wait for a model, from plain numbers.

The planner replays these same functions on a simulated clock (compiled by numba), so
they take and return numbers only.

    wait_s = runs ahead of this request * run_s
    runs ahead = 1 if a run is under way, plus the batches that the queue makes

Units:   seconds; `run_s` is the measured time of one run, 0 where none was measured yet.
Source:  the estimate is the mean of a FIFO queue with a deterministic server; a run
         under way counts whole, as its age is not known.
"""

ADMIT = 0
REFUSE_QUEUE_FULL = 1
REFUSE_DEADLINE = 2

INLINE_S_MAX = 0.001
"""Longest run that may hold the event loop; above it health checks and other models wait."""
INLINE_MARGIN = 0.25  # so that a model near the limit does not change sides at every run
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
) -> int:
    """Return ADMIT or the reason to refuse; a full queue comes before a deadline."""
    if queue_len >= queue_len_max:
        return REFUSE_QUEUE_FULL
    if wait_s(queue_len, running, run_s, batch_max) + run_s > deadline_left_s:
        return REFUSE_DEADLINE
    return ADMIT


def still_in_time(run_s: float, deadline_left_s: float) -> int:
    """Return 1 if a run that starts now can end within the deadline, else 0."""
    return 1 if run_s <= deadline_left_s else 0


def mean_run_s(mean_s: float, newest_s: float) -> float:
    """Return the running mean with the newest run in it."""
    return mean_s + RUN_WEIGHT * (newest_s - mean_s)


def runs_inline(inline_now: int, run_s: float) -> int:
    """Return 1 if runs of this length belong on the event loop, else 0."""
    limit_s = INLINE_S_MAX * (1 + INLINE_MARGIN if inline_now else 1 - INLINE_MARGIN)
    return 1 if run_s < limit_s else 0


def retry_after_s(queue_len: int, running: int, run_s: float, batch_max: int) -> float:
    """Return when a refused client may come back: when half of the queue will have gone."""
    half_s = wait_s(queue_len, running, run_s, batch_max) / 2
    return min(max(half_s, 0.05), 30.0)
