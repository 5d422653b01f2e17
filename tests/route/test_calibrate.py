"""Calibration and certificates: exact bounds, honest confidences, few broken promises."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.route.calibrate import (
    certify,
    confidence_of,
    fit_isotonic,
    fit_temperature,
    interval,
    upper_bound,
)
from skerry.route.errors import CalibrationError


def test_the_bound_is_the_exact_one() -> None:
    """By hand: no error in n is exceeded with probability delta at 1 - delta**(1/n)."""
    assert upper_bound(0, 59, 0.05) == pytest.approx(1 - 0.05 ** (1 / 59), abs=1e-9)
    assert upper_bound(5, 5, 0.05) == upper_bound(0, 0, 0.05) == 1.0
    # Clopper and Pearson's own interval for 2 of 10 at 95 %, from published tables.
    assert interval(2, 10) == pytest.approx((0.02521, 0.55610), abs=1e-5)
    assert interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.001, 0.4))
def test_the_bound_lies_above_what_was_seen_and_holds_its_tail(
    errors: int, trials: int, delta: float
) -> None:
    errors = min(errors, trials)
    high = upper_bound(errors, trials, delta)
    assert errors / trials <= high <= 1.0
    if errors < trials:
        counts = range(errors + 1)
        tail = math.fsum(
            math.comb(trials, k) * high**k * (1 - high) ** (trials - k) for k in counts
        )
        assert tail == pytest.approx(delta, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    rng = np.random.default_rng(4)
    true = rng.normal(0, 2, (20_000, 4))
    chances = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert fit_temperature(true * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_confidence_is_the_best_class_of_the_softened_scores() -> None:
    logits = np.array([[0.0, math.log(3)], [1000.0, 0.0]])
    assert confidence_of(logits, logits=True, temperature=1.0) == pytest.approx([0.75, 1.0])
    assert confidence_of(logits, logits=True, temperature=1e9)[0] == pytest.approx(0.5)
    assert confidence_of(np.array([[0.2, 0.8]]), logits=False, temperature=9.0) == [0.8]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=60))
def test_isotonic_rises_and_keeps_the_mean(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], float)
    right = np.array([ok for _, ok in pairs])
    fitted = fit_isotonic(scores, right)
    probabilities = fitted(np.arange(-1.0, 11.0))
    assert (np.diff(probabilities) >= -1e-12).all()
    assert fitted(scores).mean() == pytest.approx(right.mean())


def drawn(rng: np.random.Generator, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """A small model whose confidence is overstated: right with probability c**1.5."""
    confidence = 1 - rng.beta(0.6, 6.0, pairs)
    return confidence, rng.random(pairs) < confidence**1.5


def risk(threshold: float) -> float:
    rng = np.random.default_rng(0)
    confidence, agrees = drawn(rng, 400_000)
    return float((~agrees[confidence >= threshold]).mean())


def test_a_certified_threshold_keeps_its_promise() -> None:
    """200 certificates at delta 10 %: broken promises stay far below 20."""
    rng = np.random.default_rng(8)
    risks = {None: 0.0}
    broken = certified = 0
    for _ in range(200):
        made = certify(*drawn(rng, 1500), alpha=0.05, delta=0.1)
        if made.threshold not in risks:
            risks[made.threshold] = risk(made.threshold)
        certified += made.threshold is not None
        broken += risks[made.threshold] > 0.05
    assert certified > 150
    assert broken <= 20


def test_a_threshold_is_low_where_all_agree_and_there_is_none_where_too_little_is_known() -> None:
    sure = np.linspace(0.5, 1, 500)
    everything = certify(sure, np.ones(500, bool), alpha=0.05, delta=0.05)
    assert everything.threshold == 0.0
    assert (everything.answered, everything.errors) == (500, 0)
    assert everything.disagreement_high <= 0.05
    assert certify(sure[:20], np.ones(20, bool), alpha=0.01, delta=0.05).threshold is None
    assert certify(sure, np.zeros(500, bool), alpha=0.05, delta=0.05).threshold is None


def test_data_and_levels_that_cannot_be_used_are_named() -> None:
    with pytest.raises(CalibrationError, match="alpha is 0"):
        certify(np.ones(3), np.ones(3, bool), alpha=0, delta=0.1)
    with pytest.raises(CalibrationError, match="confidence is 2 values"):
        certify(np.ones(2), np.ones(3, bool), alpha=0.1, delta=0.1)
    with pytest.raises(CalibrationError, match="logits"):
        fit_temperature(np.ones((2, 2)), np.zeros(3, int))
    with pytest.raises(CalibrationError, match="scores"):
        fit_isotonic(np.ones(2), np.ones(3, bool))


def test_the_example_in_the_docs_runs_and_holds() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "routing.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(compile(example, str(page), "exec"), {})
