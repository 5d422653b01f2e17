"""Admission: never above the queue's bound, never against the clock, and rising with load."""

from hypothesis import given
from hypothesis import strategies as st

from skerry.serve.admission import (
    ADMIT,
    REFUSE_DEADLINE,
    REFUSE_QUEUE_FULL,
    admit,
    mean_run_s,
    retry_after_s,
    runs_inline,
    still_in_time,
    wait_s,
)

lengths = st.integers(0, 1000)
times = st.floats(0, 60)
batches = st.integers(1, 64)
bits = st.integers(0, 1)


@given(lengths, st.integers(1, 1000), bits, times, batches, times)
def test_what_is_admitted_fits_the_queue_and_the_deadline(
    queue_len: int, limit: int, running: int, run_s: float, batch: int, left_s: float
) -> None:
    verdict = admit(queue_len, limit, running, run_s, batch, left_s)
    fits = queue_len < limit
    in_time = wait_s(queue_len, running, run_s, batch) + run_s <= left_s
    assert verdict == (
        ADMIT if fits and in_time else REFUSE_DEADLINE if fits else REFUSE_QUEUE_FULL
    )


@given(lengths, bits, times, batches)
def test_a_longer_queue_never_waits_less(
    queue_len: int, running: int, run_s: float, batch: int
) -> None:
    assert wait_s(queue_len + 1, running, run_s, batch) >= wait_s(queue_len, running, run_s, batch)


@given(lengths, bits, times, batches)
def test_a_refused_client_comes_back_soon_but_not_at_once(
    queue_len: int, running: int, run_s: float, batch: int
) -> None:
    assert 0.05 <= retry_after_s(queue_len, running, run_s, batch) <= 30


def test_the_wait_counts_the_run_under_way_and_whole_batches() -> None:
    assert wait_s(0, 0, 0.01, 1) == 0
    assert wait_s(3, 1, 0.01, 1) == 0.04
    assert wait_s(7, 1, 0.01, 8) == 0.01
    assert wait_s(8, 1, 0.01, 8) == 0.02


def test_a_run_near_one_millisecond_does_not_change_sides_at_every_run() -> None:
    assert runs_inline(1, 0.0011) == 1
    assert runs_inline(0, 0.0011) == 0
    assert runs_inline(1, 0.0013) == 0
    assert runs_inline(0, 0.0007) == 1


@given(times, times)
def test_the_mean_stays_between_old_and_new(mean: float, newest: float) -> None:
    low, high = sorted((mean, newest))
    assert low - 1e-9 <= mean_run_s(mean, newest) <= high + 1e-9


def test_a_run_that_would_end_late_is_not_started() -> None:
    assert still_in_time(0.01, 0.01) == 1
    assert still_in_time(0.01, 0.009) == 0
