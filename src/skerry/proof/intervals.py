"""Intervals: how far a figure may be from the truth, given how much was seen.

A quantile's interval is the bootstrap's own, drawn in one step per resample: sorted, a
resample's k-th value is the sample's value at a rank that follows Beta(k, n - k + 1), so
nothing has to be resampled whole. Means are resampled. Ratios take Wilson's interval,
and their difference Newcombe's, which hold at 0 and 1, where a bootstrap of an all-good
sample would claim certainty.

Units:   those of the sample; confidence is a fraction, 0 to 1.
Errors:  SampleError, for an empty sample or a value that is not finite.
Source:  Conover, "Practical Nonparametric Statistics", 1999, section 3.2, for the median;
         Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13;
         Newcombe, "Interval estimation for the difference between independent
         proportions", Statistics in Medicine 17, 1998, method 10.
Limits:  requests are taken as independent. Latencies that come in bursts make true
         intervals wider than these.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, binomtest

from skerry.proof.errors import SampleError

Series = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000
_DRAWS_AT_ONCE = 4_000_000  # bounds memory to 32 MB per draw of indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value and the range that holds the truth with the stated confidence."""

    value: float
    low: float
    high: float
    confidence: float
    samples: int

    @property
    def holds_zero(self) -> bool:
        """Whether zero is inside: for a difference, that none was shown."""
        return self.low <= 0 <= self.high


def quantile(
    sample: ArrayLike, q: float, *, rng: np.random.Generator, confidence: float = CONFIDENCE
) -> Interval:
    """Return a quantile (q from 0 to 1) with its interval."""
    values = _sorted(sample)
    value = float(values[_rank(len(values), q) - 1])
    draws = _quantile_draws(values, q, rng)
    return _around(value, draws, confidence, len(values))


def mean(
    sample: ArrayLike, *, rng: np.random.Generator, confidence: float = CONFIDENCE
) -> Interval:
    """Return a mean with its interval."""
    values = _sorted(sample)
    return _around(float(values.mean()), _mean_draws(values, rng), confidence, len(values))


def quantile_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    q: float,
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return quantile of ours minus quantile of theirs, with its interval."""
    mine, other = _sorted(ours), _sorted(theirs)
    value = float(mine[_rank(len(mine), q) - 1] - other[_rank(len(other), q) - 1])
    draws = _quantile_draws(mine, q, rng) - _quantile_draws(other, q, rng)
    return _around(value, draws, confidence, min(len(mine), len(other)))


def median(sample: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """Return a median with the exact interval of its order statistics, whatever the distribution.

    Of paired differences it is the interval that belongs to the sign test. The range of a
    sample too small to bound the median at this confidence is its whole range.
    """
    values = _sorted(sample)
    count = len(values)
    # The k-th smallest is above the median with the chance of fewer than k below it.
    below = int(binom.ppf((1 - confidence) / 2, count, 0.5))
    return Interval(
        value=float(np.median(values)),
        low=float(values[max(below - 1, 0)]),
        high=float(values[min(count - below, count - 1)]),
        confidence=confidence,
        samples=count,
    )


def mean_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return mean of ours minus mean of theirs, with its interval."""
    mine, other = _sorted(ours), _sorted(theirs)
    draws = _mean_draws(mine, rng) - _mean_draws(other, rng)
    samples = min(len(mine), len(other))
    return _around(float(mine.mean() - other.mean()), draws, confidence, samples)


def ratio(hits: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return hits of total with Wilson's interval."""
    if not 0 <= hits <= total or total == 0:
        raise SampleError(f"{hits} of {total}", "0 to total, and a total of 1 or more")
    # Exactly 0 and 1 keep their end: scipy's value is a rounding away from it.
    found = binomtest(hits, total).proportion_ci(confidence, method="wilson")
    low = 0.0 if hits == 0 else float(found.low)
    high = 1.0 if hits == total else float(found.high)
    return Interval(value=hits / total, low=low, high=high, confidence=confidence, samples=total)


def ratio_difference(ours: Interval, theirs: Interval) -> Interval:
    """Return the difference of two ratios from `ratio`, with Newcombe's interval."""
    value = ours.value - theirs.value
    below = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    above = math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return Interval(
        value=value,
        low=value - below,
        high=value + above,
        confidence=ours.confidence,
        samples=min(ours.samples, theirs.samples),
    )


def samples_min(q: float, confidence: float = CONFIDENCE) -> int:
    """Return the least sample size that bounds a quantile on both sides.

    Below it the largest value seen is, too often, still under the quantile.
    """
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(q, 1 - q)))


def _sorted(sample: ArrayLike) -> Series:
    values = np.sort(np.asarray(sample, dtype=np.float64))
    if not len(values):
        raise SampleError("the sample is empty", "at least one value")
    if not np.isfinite(values).all():
        raise SampleError("the sample holds a value that is not finite", "finite numbers only")
    return values


def _rank(count: int, q: float) -> int:
    """Return the 1-based rank of the nearest-rank quantile."""
    if not 0 < q < 1:
        raise SampleError(f"the quantile is {q:g}", "between 0 and 1")
    # 0.95 * 20 is 19.000000000000004 in floats, which must not become rank 20.
    return max(1, math.ceil(q * count - 1e-9))


def _quantile_draws(values: Series, q: float, rng: np.random.Generator) -> Series:
    rank = _rank(len(values), q)
    places = rng.beta(rank, len(values) - rank + 1, size=RESAMPLES)
    picked: Series = values[np.minimum((places * len(values)).astype(np.intp), len(values) - 1)]
    return picked


def _mean_draws(values: Series, rng: np.random.Generator) -> Series:
    count = len(values)
    step = max(1, _DRAWS_AT_ONCE // count)
    draws = [
        values[rng.integers(0, count, size=(min(step, RESAMPLES - done), count))].mean(axis=1)
        for done in range(0, RESAMPLES, step)
    ]
    return np.concatenate(draws)


def _around(value: float, draws: Series, confidence: float, samples: int) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    # The value stays inside its own interval even where resampling is lopsided.
    return Interval(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        confidence=confidence,
        samples=samples,
    )
