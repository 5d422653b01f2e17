"""The gate: a bad version fails on few requests, a good one survives bad luck."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.fleet.gate import CHANCE_MAX, Grade, chance_of, judge
from skerry.schema.desired import Gate
from skerry.schema.observed import Window

GATE = Gate(hold_s=20.0, latency_ms_p95=50.0, errors_ratio=0.001, requests_min=20)


def window(*, requests: int, slow: int | None = 0, errors: int = 0, p95: float = 20.0) -> Window:
    return Window(
        duration_s=20.0,
        requests=requests,
        errors=errors,
        local=requests,
        latency_ms_p50=10.0,
        latency_ms_p95=p95,
        slow=slow,
    )


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0.001, 0.999))
def test_the_chance_is_the_binomial_tail(of: int, count: int, ratio: float) -> None:
    by_hand = sum(
        math.comb(of, k) * ratio**k * (1 - ratio) ** (of - k) for k in range(count, of + 1)
    )
    assert chance_of(count, of, ratio) == pytest.approx(min(1.0, by_hand), rel=1e-6, abs=1e-12)


def test_five_slow_answers_of_five_fail_at_once() -> None:
    judgement = judge(GATE, window(requests=5, slow=5, p95=150.0), held_s=1.0)
    assert judgement.grade is Grade.FAIL
    assert "p95 150.0 ms > 50 ms" in judgement.reason


def test_two_slow_answers_of_twenty_are_bad_luck() -> None:
    """Two or more of twenty happen by chance 26 times in a hundred, at a p95 that holds."""
    assert judge(GATE, window(requests=20, slow=2, p95=52.0), held_s=21.0).grade is Grade.PASS


def test_enough_slow_answers_are_no_bad_luck() -> None:
    assert judge(GATE, window(requests=20, slow=5, p95=80.0), held_s=1.0).grade is Grade.FAIL


def test_one_error_of_twenty_waits_and_two_fail() -> None:
    assert judge(GATE, window(requests=20, errors=1), held_s=21.0).grade is Grade.PASS
    assert judge(GATE, window(requests=20, errors=2), held_s=1.0).grade is Grade.FAIL


def test_a_report_without_a_count_of_slow_answers_is_judged_by_its_p95() -> None:
    assert judge(GATE, window(requests=20, slow=None, p95=52.0), held_s=1.0).grade is Grade.FAIL


@given(st.integers(5, 2000), st.data())
def test_more_slow_answers_never_turn_a_failure_into_a_pass(
    requests: int, data: st.DataObject
) -> None:
    few = data.draw(st.integers(0, requests))
    many = data.draw(st.integers(few, requests))
    first = judge(GATE, window(requests=requests, slow=few, p95=60.0), held_s=30.0)
    second = judge(GATE, window(requests=requests, slow=many, p95=60.0), held_s=30.0)
    assert not (first.grade is Grade.FAIL and second.grade is not Grade.FAIL)
    assert CHANCE_MAX < 0.05
