"""Live latency: the percentile is that of the window, by definition."""

from hypothesis import given
from hypothesis import strategies as st

from skerry.route.latency import WINDOW, Latency


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200))
def test_the_percentile_is_that_of_the_last_answers(seen: list[float]) -> None:
    latency = Latency(1.0)
    for value in seen:
        latency.saw(value, 0.0)
    window = sorted(seen[-WINDOW:])
    assert latency.samples == len(window)
    below = sum(value <= latency.p95_s for value in window)
    assert below >= 0.95 * len(window)
    assert latency.p95_s in window


def test_before_any_answer_the_prior_counts_and_the_first_replaces_it() -> None:
    latency = Latency(0.02)
    assert latency.expected_s(100.0) == latency.p95_s == 0.02
    latency.saw(0.3, 100.0)
    assert latency.expected_s(100.0) == 0.3
    assert latency.expected_s(1000.0) < 0.021
