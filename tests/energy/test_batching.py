"""Batching: the published trade, batches only as full as the load fills them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.batching import BatchCurve, BatchError

H100 = BatchCurve(
    name="H100",
    batch=np.array([8.0, 64, 256, 512]),
    j_per_token=np.array([0.4548, 0.1186, 0.0766, 0.0702]),
    inter_token_ms=np.array([7.3, 11.5, 26.1, 47.4]),
)


def test_batch_256_cuts_energy_by_83_percent_and_makes_tokens_3_6_times_slower() -> None:
    assert 1 - H100.j_at(256) / H100.j_at(8) == pytest.approx(0.83, abs=0.005)
    assert H100.ms_at(256) / H100.ms_at(8) == pytest.approx(3.6, abs=0.05)


@given(st.floats(7.3, 60))
def test_the_largest_batch_within_a_limit_is_the_largest(limit_ms: float) -> None:
    found = H100.largest_within(limit_ms)
    assert found is not None
    assert H100.ms_at(found) <= limit_ms * (1 + 1e-9)
    assert found == 512 or H100.ms_at(found + 1) > limit_ms


def test_a_limit_below_the_smallest_batch_is_impossible() -> None:
    assert H100.largest_within(7.2) is None


@given(st.floats(1, 20_000), st.sampled_from([64, 256, 512]))
def test_a_load_settles_where_requests_under_way_fill_the_batch(
    tokens_per_s: float, limit: int
) -> None:
    batch = H100.settles_at(tokens_per_s, limit)
    under_way = tokens_per_s * H100.ms_at(batch) / 1000
    assert 8 <= batch <= limit
    assert (
        under_way == pytest.approx(batch, rel=1e-6)
        or (batch == 8 and under_way < 8)
        or (batch == limit and under_way > limit)
    )


@given(st.floats(8, 512), st.floats(8, 512))
def test_a_fuller_batch_never_costs_more_energy_per_token(a: float, b: float) -> None:
    small, large = sorted((a, b))
    assert H100.j_at(large) <= H100.j_at(small) + 1e-12


@pytest.mark.parametrize(
    ("batch", "joules"), [([8.0], [1.0]), ([64.0, 8.0], [1.0, 2.0]), ([8.0, 64.0], [1.0, 0.0])]
)
def test_what_is_no_curve_is_refused(batch: list[float], joules: list[float]) -> None:
    with pytest.raises(BatchError, match="x: "):
        BatchCurve(
            name="x",
            batch=np.array(batch),
            j_per_token=np.array(joules),
            inter_token_ms=np.ones(len(batch)),
        )
