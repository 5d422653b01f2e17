"""Agreement: intervals that hold the truth, bounds that are bounds, and no figure from nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.proof.agreement import agreement
from skerry.proof.intervals import median
from skerry.schema.shadow import DIFFERENCE_EDGES, Paired, ShadowRecord


def record(**changes: object) -> ShadowRecord:
    fields = {"model": "m", "to": "here", "candidate": "new", "share": 0.1, "seed": 0}
    return ShadowRecord(**{**fields, **changes})  # type: ignore[arg-type]


def test_nothing_seen_gives_no_figure() -> None:
    found = agreement(record())
    assert found.same is None
    assert found.latency_ms_median_difference is None
    assert found.abs_difference_p50 is None
    assert found.not_compared == {}


def test_shares_come_with_their_interval_and_level() -> None:
    found = agreement(record(compared=1000, same=970, within=500, failed={"E0505": 10}))
    assert found.same is not None
    assert found.same.value == 0.97
    assert 0.955 < found.same.low < 0.97 < found.same.high < 0.98
    assert (found.same.confidence, found.same.level) == (0.95, "measured")
    assert found.answered is not None
    assert found.answered.value == pytest.approx(1000 / 1010)
    assert found.not_compared == {"failed: E0505": 10}


def test_the_interval_of_agreement_holds_the_truth_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        same = int(rng.binomial(500, 0.95))
        figure = agreement(record(compared=500, same=same)).same
        assert figure is not None
        held += figure.low <= 0.95 <= figure.high
    assert held / 400 > 0.92


def test_latency_is_compared_request_by_request() -> None:
    """Requests differ tenfold; the candidate takes 2 ms more of each, and the pairs show it."""
    base = np.random.default_rng(0).uniform(10, 100, 200)
    pairs = [Paired(float(one), float(one) + 2.0) for one in base]
    figure = agreement(record(pairs=pairs)).latency_ms_median_difference
    assert figure is not None
    assert (figure.value, figure.low, figure.high) == pytest.approx((2.0, 2.0, 2.0))
    few = agreement(record(pairs=pairs[:20]))
    assert few.latency_ms_p95_difference is None, "20 requests say nothing of a tail"
    assert agreement(record(pairs=pairs)).latency_ms_p95_difference is not None


def test_the_interval_of_a_median_holds_the_truth_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(500):
        found = median(rng.exponential(size=41))
        held += found.low <= np.log(2) <= found.high
    assert held / 500 > 0.93


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_a_median_lies_in_its_own_interval_and_in_the_sample(sample: list[float]) -> None:
    found = median(sample)
    assert min(sample) <= found.low <= found.value <= found.high <= max(sample)


def test_the_sketch_bounds_differences_from_above() -> None:
    counts = [0] * (len(DIFFERENCE_EDGES) + 1)
    counts[0], counts[12], counts[-1] = 60, 39, 1
    found = agreement(record(differences=counts, abs_difference_max=3e7))
    assert found.abs_difference_p50 == DIFFERENCE_EDGES[0]
    assert found.abs_difference_p99 == DIFFERENCE_EDGES[12]
    counts[-1] = 50
    assert agreement(record(differences=counts, abs_difference_max=3e7)).abs_difference_p99 == 3e7
