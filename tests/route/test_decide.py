"""Routing decisions: residency before all else, deny by default, and bounded patience."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.route import decide
from skerry.route.decide import Breaker

times = st.floats(0, 1e4)
phases = st.sampled_from([decide.CLOSED, decide.OPEN, decide.HALF_OPEN])


@given(st.integers(0, 9), phases, st.floats(), st.floats())
def test_nothing_outweighs_residency(
    hops: int, phase: int, expected_s: float, left_s: float
) -> None:
    assert decide.fit(False, hops, phase, expected_s, left_s) == decide.RESIDENCY


def test_each_reason_has_its_verdict() -> None:
    assert decide.fit(True, 0, decide.CLOSED, 0.01, 1.0) == decide.FIT
    assert decide.fit(True, 2, decide.CLOSED, 0.01, 1.0) == decide.HOPS
    assert decide.fit(True, 1, decide.OPEN, 0.01, 1.0) == decide.BREAKER
    assert decide.fit(True, 1, decide.HALF_OPEN, 0.01, 1.0) == decide.FIT
    assert decide.fit(True, 1, decide.CLOSED, 1.01, 1.0) == decide.DEADLINE


@pytest.mark.parametrize("left_s", [0.0, -1.0, math.nan])
def test_no_time_left_means_no_candidate(left_s: float) -> None:
    assert decide.fit(True, 0, decide.CLOSED, 0.0, left_s) == decide.DEADLINE


@given(st.integers(0, 20), st.integers(0, 20), st.booleans(), st.booleans(), times, times)
def test_tier_order_comes_before_site_and_site_before_latency(
    a: int, b: int, near_a: bool, near_b: bool, latency_a: float, latency_b: float
) -> None:
    first, second = decide.rank(a, near_a, latency_a), decide.rank(b, near_b, latency_b)
    if a != b:
        assert (first < second) == (a < b)
    elif near_a != near_b:
        assert (first < second) == near_a
    elif latency_a + 1e-6 < latency_b:
        assert first < second


def test_the_standin_answers_when_a_rule_says_so_or_the_large_model_does_not_fit() -> None:
    for large in (decide.DOWN, decide.DEADLINE, decide.BUSY, decide.BREAKER, decide.ABSENT):
        assert decide.standin_verdict(False, large, True, decide.FIT)
    assert decide.standin_verdict(True, decide.FIT, True, decide.FIT)
    assert not decide.standin_verdict(False, decide.FIT, True, decide.FIT)
    assert not decide.standin_verdict(True, decide.FIT, False, decide.FIT)
    assert not decide.standin_verdict(True, decide.FIT, True, decide.RESIDENCY)


def test_a_slow_spell_is_forgotten_and_a_fast_one_is_not() -> None:
    assert decide.believed_s(1.0, 0.0, 0.0) == 1.0
    assert decide.believed_s(1.0, 0.0, decide.FORGET_S) == pytest.approx(0.5)
    assert decide.believed_s(0.01, 0.5, 1e6) == 0.01


@given(st.floats(0, 100), st.integers(0, 64), st.floats(0, 1), st.floats(-1, 100))
def test_patience_is_bounded_and_leaves_half_the_time(
    p95_s: float, samples: int, round_trip_s: float, left_s: float
) -> None:
    wait_s = decide.hedge_delay_s(p95_s, samples, round_trip_s, left_s)
    assert 0.0 <= wait_s <= decide.HEDGE_S_MAX
    assert wait_s <= max(left_s, 0.0) / 2


def test_patience_follows_the_measured_percentile() -> None:
    assert decide.hedge_delay_s(0.040, 64, 0.0, 10.0) == pytest.approx(0.050)
    assert decide.hedge_delay_s(0.0001, 64, 0.0, 10.0) == decide.HEDGE_S_MIN


def test_three_failures_in_a_row_open_a_breaker_and_a_certain_one_opens_it_at_once() -> None:
    breaker = Breaker()
    for _ in range(decide.FAILURES_MAX - 1):
        breaker = decide.breaker_failed(breaker, 5.0, False, 0.5)
        assert breaker.phase == decide.CLOSED
    assert decide.breaker_failed(breaker, 5.0, False, 0.5).phase == decide.OPEN
    assert decide.breaker_failed(Breaker(), 5.0, True, 0.5).phase == decide.OPEN


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_each_trip_waits_longer_up_to_a_bound(chances: list[float]) -> None:
    breaker = Breaker()
    for trip, chance in enumerate(chances):
        breaker = decide.breaker_failed(breaker, 0.0, True, chance)
        full_s = min(decide.OPEN_S_MIN * 2.0**trip, decide.OPEN_S_MAX)
        assert 0.75 * full_s <= breaker.until_s <= 1.25 * full_s


def test_a_failed_trial_opens_again_with_a_longer_wait() -> None:
    first = decide.breaker_failed(Breaker(), 0.0, True, 0.5)
    trial = decide.breaker_probed(first)
    assert trial.phase == decide.HALF_OPEN
    second = decide.breaker_failed(trial, 1.0, False, 0.5)
    assert second.phase == decide.OPEN
    assert second.until_s - 1.0 == pytest.approx(2 * first.until_s)


def test_a_silence_wants_a_probe_at_once_and_does_not_shorten_a_wait() -> None:
    assert decide.probe_due(decide.breaker_silent(Breaker(), 7.0), 7.0)
    waiting = decide.breaker_failed(Breaker(), 7.0, True, 0.5)
    assert decide.breaker_silent(waiting, 7.0) == waiting
    assert not decide.probe_due(waiting, 7.0)


def test_every_verdict_has_a_word() -> None:
    assert len(set(decide.VERDICT_WORDS)) == len(decide.VERDICT_WORDS) == decide.BUDGET + 1


@given(st.floats(0, 1), st.floats(0, 100), st.lists(st.floats(0, 1), max_size=60))
def test_attempts_stay_below_a_share_of_requests_and_the_minimum_per_second(
    ratio: float, per_s: float, gaps_s: list[float]
) -> None:
    tokens = spent = 0.0
    for gap_s in gaps_s:
        tokens = decide.budget_earned(tokens, gap_s, ratio, per_s, 1e9)
        spent += math.floor(tokens)
        tokens -= math.floor(tokens)
    assert spent <= ratio * len(gaps_s) + per_s * sum(gaps_s) + 1e-6


def test_saved_attempts_are_bounded_and_time_that_goes_back_takes_none_away() -> None:
    assert decide.budget_earned(5.0, 1e9, 0.2, 10.0, 100.0) == 100.0
    assert decide.budget_earned(5.0, -3.0, 0.2, 10.0, 100.0) == pytest.approx(5.2)


def test_who_fails_or_lags_far_more_than_its_like_stands_out() -> None:
    assert decide.is_outlier(10, 0.5, 0.0, math.nan, math.nan)
    assert decide.is_outlier(10, 0.0, math.nan, 0.2, 0.02)
    assert not decide.is_outlier(9, 1.0, 0.0, 1.0, 0.0), "too little is known"
    assert not decide.is_outlier(99, 0.5, 0.4, math.nan, math.nan), "all are sick"
    assert not decide.is_outlier(99, 0.0, 0.0, 0.012, 0.001), "a few milliseconds are no matter"
    assert not decide.is_outlier(99, 1.0, math.nan, 1.0, math.nan), "there is nobody like it"


@given(st.integers(1, 50), st.floats(0, 1))
def test_ejections_leave_a_share_and_never_nobody(candidates: int, ratio_max: float) -> None:
    ejected = 0
    while decide.may_eject(ejected, candidates, ratio_max):
        ejected += 1
    assert ejected <= ratio_max * candidates
    assert ejected < candidates


@given(st.floats(0, 1))
def test_ejections_double_up_to_a_bound(chance: float) -> None:
    for times in range(40):
        full_s = min(decide.EJECT_S_MIN * 2.0**times, decide.EJECT_S_MAX)
        assert 0.75 * full_s <= decide.ejection_s(times, chance) <= 1.25 * full_s


def test_the_less_loaded_is_asked_and_of_two_idle_ones_the_faster() -> None:
    assert decide.is_lighter(1.0, 9.0, 2.0, 0.1)
    assert decide.is_lighter(0.0, 0.1, 0.0, 0.2)
    assert not decide.is_lighter(0.0, 0.2, 0.0, 0.1)


def test_what_a_node_told_of_its_load_fades() -> None:
    assert decide.load(2, 8.0, 0.0) == 10.0
    assert decide.load(2, 8.0, decide.QUEUE_FADES_S) == 6.0
