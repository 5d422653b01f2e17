"""How sure a model may be believed to be: calibration, and a threshold with a certificate.

A small model's confidence is made honest on one set of held-out pairs and a threshold is
certified on another; neither set may have trained a model or each other's result.

    calibrated = softmax(logits / temperature)          or isotonic, from any score
    certified  = the lowest threshold t of a fixed grid of N for which
                 upper(errors at t and above, answers at t and above, delta / N) <= alpha

`upper` is the exact binomial bound of Clopper and Pearson. The grid does not depend on
the data and each of its N tests gets an equal part of delta (Bonferroni), so all that
pass hold together with probability 1 - delta, and the lowest may be taken. What is held:
of the requests that the small model answers, at most a share alpha differ from the
large model's answer, as long as traffic is like the held-out pairs.

Shapes:  logits (n, classes), labels (n,) integers, confidence and agrees (n,).
Errors:  CalibrationError, for data or levels that cannot be used.
Source:  temperature: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
         isotonic: pool adjacent violators, Ayer et al., Ann. Math. Stat. 26(4), 1955.
         bound: Clopper, Pearson, Biometrika 26(4), 1934. certificate: Angelopoulos et
         al., "Learn then Test", Ann. Appl. Stat. 19(2), 2025 (arXiv 2110.01052).
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from skerry.route.errors import CalibrationError

Floats = NDArray[np.floating[Any]]
TEMPERATURE_MIN: Final = 0.05
TEMPERATURE_MAX: Final = 20.0
THRESHOLDS: Final = (*(1.0 - 10.0 ** (-step / 8) for step in range(32, 0, -1)), 0.0)
"""The grid, from 0.9999 down to 0: finer where confidences crowd."""
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A threshold and what is known of it. A threshold of None: none could be certified."""

    threshold: float | None
    alpha: float
    delta: float
    answered: int
    """Held-out answers at or above the threshold, of `pairs`."""
    errors: int
    pairs: int
    disagreement_high: float
    """The bound on the share of its answers that differ, at confidence 1 - delta over all."""


def confidence_of(scores: Floats, *, logits: bool, temperature: float) -> NDArray[np.float64]:
    """Return the calibrated confidence of each row: the probability of its best class."""
    values = np.asarray(scores, np.float64).reshape(len(scores), -1)
    if not logits:
        return np.asarray(values.max(axis=1))
    scaled = (values - values.max(axis=1, keepdims=True)) / temperature
    return np.asarray(1.0 / np.exp(scaled).sum(axis=1))


def fit_temperature(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the temperature of least negative log-likelihood on held-out labels."""
    values = np.asarray(logits, np.float64)
    if values.ndim != 2 or len(values) != len(labels) or not len(values):
        raise CalibrationError("logits", str(values.shape), "(n, classes), with n labels")
    if not np.isfinite(values).all():
        raise CalibrationError("logits", "not finite", "numbers")
    values = values - values.max(axis=1, keepdims=True)
    right = values[np.arange(len(values)), labels]

    def loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return float((np.log(np.exp(values * scale).sum(axis=1)) - right * scale).mean())

    # The loss is convex in 1 / temperature, so it has one valley in the logarithm too.
    low, high = math.log(TEMPERATURE_MIN), math.log(TEMPERATURE_MAX)
    for _ in range(60):
        one, two = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, two) if loss(one) < loss(two) else (one, high)
    return math.exp((low + high) / 2)


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A rising step function from scores to probabilities."""

    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __call__(self, scores: Floats) -> NDArray[np.float64]:
        """Return the probability of each score; the ends reach on for ever."""
        at = np.searchsorted(self.scores, scores, side="right") - 1
        return np.asarray(self.probabilities[np.maximum(at, 0)])


def fit_isotonic(scores: Floats, right: NDArray[np.bool_]) -> Isotonic:
    """Return the rising function of least squares from scores to how often they are right."""
    if not len(scores) or len(scores) != len(right):
        raise CalibrationError("scores", f"{len(scores)} for {len(right)} outcomes", "as many")
    known, counts = np.unique(scores, return_counts=True)
    sums = np.zeros(len(known))
    np.add.at(sums, np.searchsorted(known, scores), np.asarray(right, np.float64))
    blocks: list[list[float]] = []  # mean, weight, first index
    for index, (total, count) in enumerate(zip(sums, counts, strict=True)):
        blocks.append([total / count, float(count), index])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, weight, _ = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * weight) / (last[1] + weight)
            last[1] += weight
    starts = [int(block[2]) for block in blocks]
    means = np.array([block[0] for block in blocks])
    return Isotonic(known[starts].astype(np.float64), means)


def certify(
    confidence: Floats, agrees: NDArray[np.bool_], *, alpha: float, delta: float
) -> Certificate:
    """Return the lowest threshold under which a small model may answer, with its bound.

    `agrees` says of each held-out pair whether the small model's answer was as good as
    the large one's; `alpha` is the share that may not be, `delta` the chance to be wrong.
    """
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:
            raise CalibrationError(name, f"{value:g}", "between 0 and 1")
    if len(confidence) != len(agrees) or not np.isfinite(confidence).all():
        raise CalibrationError("confidence", f"{len(confidence)} values", "as many as outcomes")
    values, wrong = np.asarray(confidence, np.float64), ~np.asarray(agrees, bool)
    found: float | None = None
    answered, errors, high = 0, 0, 1.0
    for threshold in THRESHOLDS:
        sure = values >= threshold
        trials, failures = int(sure.sum()), int((sure & wrong).sum())
        bound = upper_bound(failures, trials, delta / len(THRESHOLDS))
        if bound <= alpha:
            found, answered, errors, high = threshold, trials, failures, bound
    return Certificate(
        threshold=found,
        alpha=alpha,
        delta=delta,
        answered=answered,
        errors=errors,
        pairs=len(values),
        disagreement_high=high,
    )


def interval(errors: int, trials: int, delta: float = 0.05) -> tuple[float, float]:
    """Return the two-sided Clopper-Pearson interval of a share, at confidence 1 - delta."""
    low = 1.0 - upper_bound(trials - errors, trials, delta / 2) if trials else 0.0
    return low, upper_bound(errors, trials, delta / 2)


def upper_bound(errors: int, trials: int, delta: float) -> float:
    """Return the share that is exceeded with probability delta at most (Clopper-Pearson)."""
    if errors >= trials:
        return 1.0
    low, high = errors / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _binomial_cdf(errors, trials, middle) > delta:
            low = middle
        else:
            high = middle
    return high


def _binomial_cdf(successes: int, trials: int, share: float) -> float:
    if share <= 0.0:
        return 1.0
    if share >= 1.0:
        return 1.0 if successes >= trials else 0.0
    counts = np.arange(successes + 1)
    logs = _log_choose(trials, successes) + counts * math.log(share)
    logs += (trials - counts) * math.log1p(-share)
    top = float(logs.max())
    return min(math.exp(top) * float(np.exp(logs - top).sum()), 1.0)


def _log_choose(trials: int, successes: int) -> NDArray[np.float64]:
    """Return log(trials over k) for k from 0 to `successes`."""
    k = np.arange(1, successes + 1)
    return np.concatenate([[0.0], np.cumsum(np.log(trials - k + 1) - np.log(k))])
