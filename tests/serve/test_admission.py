"""Admission: never above the queue's bound, never against the clock, and rising with load."""

from hypothesis import given
from hypothesis import strategies as st

from skerry.serve.admission import (
    ADMIT,
    BURST_RUNS,
    REFUSE_DEADLINE,
    REFUSE_QUEUE_FULL,
    SHEDDING_RUNS,
    SHORT_WAIT_S,
    admit,
    mean_run_s,
    retry_after_s,
    runs_inline,
    still_in_time,
    tokens,
    wait_s,
)

lengths = st.integers(0, 1000)
times = st.floats(0, 60)
batches = st.integers(1, 64)
bits = st.integers(0, 1)


@given(lengths, st.integers(1, 1000), bits, times, batches, times, bits)
def test_what_is_admitted_fits_the_queue_and_the_deadline(
    queue_len: int,
    limit: int,
    running: int,
    run_s: float,
    batch: int,
    left_s: float,
    shedding: int,
) -> None:
    verdict = admit(queue_len, limit, running, run_s, batch, left_s, shedding)
    ahead_s = wait_s(queue_len, running, run_s, batch)
    if queue_len >= limit:
        assert verdict == REFUSE_QUEUE_FULL
    if verdict == ADMIT:
        assert ahead_s + run_s <= left_s
        assert ahead_s <= max(SHORT_WAIT_S, (SHEDDING_RUNS if shedding else BURST_RUNS) * run_s)
    if verdict == REFUSE_DEADLINE:
        assert ahead_s + run_s > left_s


@given(lengths, bits, times, batches)
def test_who_sheds_admits_no_more(queue_len: int, running: int, run_s: float, batch: int) -> None:
    verdicts = [admit(queue_len, 2000, running, run_s, batch, 1e9, bit) for bit in (0, 1)]
    assert verdicts[0] == ADMIT or verdicts[1] != ADMIT


def test_a_burst_may_wait_and_who_sheds_keeps_the_queue_short() -> None:
    """Ten milliseconds a run: 64 may lie ahead, 8 while shedding."""
    yes, no = ADMIT, REFUSE_QUEUE_FULL
    for shedding, wanted in ((0, [yes, yes, yes, no]), (1, [yes, no, no, no])):
        ahead = (6, 7, 62, 63)
        assert [admit(one, 1000, 1, 0.01, 1, 30.0, shedding) for one in ahead] == wanted


def test_a_wait_too_short_to_notice_is_never_too_long() -> None:
    assert admit(500, 1000, 1, 1e-5, 1, 30.0, 1) == ADMIT


@given(times, st.floats(1, 100), st.floats(0.1, 1000), times)
def test_a_bucket_fills_at_its_rate_and_never_above_its_burst(
    left: float, burst: float, rate_per_s: float, elapsed_s: float
) -> None:
    left = min(left, burst)
    found = tokens(left, burst, rate_per_s, elapsed_s)
    assert left <= found <= burst
    assert found == burst or found == left + rate_per_s * elapsed_s


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


def test_one_interrupted_run_does_not_move_a_short_model_off_the_loop() -> None:
    mean = mean_run_s(6e-6, 0.015)
    assert runs_inline(1, mean) == 1
    for _ in range(10):  # and a model that really became slow is known as such soon
        mean = mean_run_s(mean, 0.015)
    assert runs_inline(1, mean) == 0


def test_a_run_that_would_end_late_is_not_started() -> None:
    assert still_in_time(0.01, 0.01) == 1
    assert still_in_time(0.01, 0.009) == 0
