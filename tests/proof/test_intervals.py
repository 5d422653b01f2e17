"""Intervals: they hold their value, they cover the truth as often as they say, and an
A/A comparison says that nothing differs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.proof import intervals
from skerry.proof.errors import SampleError

values = st.floats(-1e9, 1e9, allow_subnormal=False)
samples = st.lists(values, min_size=1, max_size=60)


@given(samples, st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_a_quantile_s_interval_holds_the_value_and_stays_inside_the_sample(
    sample: list[float], q: float, seed: int
) -> None:
    found = intervals.quantile(sample, q, rng=np.random.default_rng(seed))
    assert min(sample) <= found.low <= found.value <= found.high <= max(sample)
    assert found.value in sample


@given(samples, st.integers(0, 2**32 - 1))
def test_a_mean_s_interval_holds_the_mean(sample: list[float], seed: int) -> None:
    found = intervals.mean(sample, rng=np.random.default_rng(seed))
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(np.mean(sample), abs=1e-3)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_ratio_s_interval_holds_it_and_stays_between_0_and_1(pair: tuple[int, int]) -> None:
    hits, total = pair
    found = intervals.ratio(hits, total)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high > found.low  # even an all-good sample is not certainty


def test_wilson_s_interval_is_that_of_newcombe_1998() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I, method 3)."""
    found = intervals.ratio(81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_newcombe_s_difference_is_the_published_one() -> None:
    """56/70 - 48/80: 0.0524 to 0.3339 (Newcombe 1998, table II, method 10)."""
    found = intervals.ratio_difference(intervals.ratio(56, 70), intervals.ratio(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_a_p95_s_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """400 samples of 300: 95 % nominal; 91 % allows for chance and the bootstrap's own bias."""
    rng = np.random.default_rng(7)
    truth = float(np.log(20))  # the p95 of a unit exponential
    found = [intervals.quantile(rng.exponential(size=300), 0.95, rng=rng) for _ in range(400)]
    inside = sum(one.low <= truth <= one.high for one in found)
    assert 0.91 * 400 <= inside <= 0.99 * 400


def test_two_halves_of_one_sample_show_no_difference_about_19_times_of_20() -> None:
    rng = np.random.default_rng(11)
    quiet_p95 = quiet_mean = 0
    for _ in range(300):
        sample = rng.lognormal(2.0, 0.6, size=400)
        one, other = sample[:200], sample[200:]
        quiet_p95 += intervals.quantile_difference(one, other, 0.95, rng=rng).holds_zero
        quiet_mean += intervals.mean_difference(one, other, rng=rng).holds_zero
    assert 0.90 * 300 <= quiet_p95 <= 300
    assert 0.90 * 300 <= quiet_mean <= 0.99 * 300


def test_a_real_difference_is_seen() -> None:
    rng = np.random.default_rng(3)
    fast, slow = rng.lognormal(1, 0.3, 500), rng.lognormal(1.5, 0.3, 500)
    assert intervals.quantile_difference(fast, slow, 0.95, rng=rng).high < 0
    assert intervals.mean_difference(fast, slow, rng=rng).high < 0


def test_the_shortcut_for_quantiles_agrees_with_resampling_in_full() -> None:
    rng = np.random.default_rng(5)
    sample = rng.lognormal(2.0, 0.5, size=500)
    full = np.sort(rng.choice(sample, size=(20_000, 500)), axis=1)[:, 474]
    low, high = np.quantile(full, [0.025, 0.975])
    found = intervals.quantile(sample, 0.95, rng=rng)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.03)


def test_the_same_seed_gives_the_same_interval() -> None:
    sample = list(range(100))
    one, other = (intervals.quantile(sample, 0.95, rng=np.random.default_rng(1)) for _ in range(2))
    assert one == other


def test_72_requests_are_the_least_that_bound_a_p95() -> None:
    """0.95**72 = 0.0249 is the first power at or below 0.025."""
    assert intervals.samples_min(0.95) == 72


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [float("inf")]])
def test_a_sample_that_is_no_sample_is_refused(bad: list[float]) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SampleError):
        intervals.quantile(bad, 0.5, rng=rng)
    with pytest.raises(SampleError):
        intervals.mean(bad, rng=rng)


def test_more_hits_than_tries_is_refused() -> None:
    with pytest.raises(SampleError, match="5 of 4"):
        intervals.ratio(5, 4)
    with pytest.raises(SampleError, match="0 of 0"):
        intervals.ratio(0, 0)
