"""The tally: what was answered is counted once, in its own second, whenever somebody looks."""

from hypothesis import given
from hypothesis import strategies as st

from skerry.serve.metrics import Metrics
from skerry.serve.statistics import Statistics
from skerry.serve.tally import PENDING_MAX, Tally
from skerry.serve.window import Window

steps_s = st.lists(st.floats(0, 0.7), min_size=1, max_size=60)


def made() -> tuple[Tally, Window, Statistics, Metrics]:
    window, statistics, metrics = Window(0.0), Statistics(), Metrics()
    return Tally("m", window, statistics, metrics), window, statistics, metrics


@given(steps_s, st.sets(st.integers(0, 59)))
def test_every_answer_is_counted_once_however_often_somebody_looks(
    steps: list[float], looks: set[int]
) -> None:
    tally, window, statistics, metrics = made()
    now_s = 100.0
    for number, step_s in enumerate(steps):
        now_s += step_s
        tally.answered(now_s, 0.001 * (number + 1))
        if number in looks:
            tally.settle()
    tally.settle()
    tally.settle()
    count = len(steps)
    assert window.stats(now_s)["requests"] == count
    assert statistics.successes == metrics.count() == count
    assert statistics.answered_s * 1000 - count * (count + 1) / 2 < 1e-6
    assert (
        f'skerry_request_duration_seconds_count{{model="m"}} {count}' in metrics.text([]).decode()
    )
    assert 0 <= now_s - window.used_at_s < 1.0


def test_an_answer_leaves_the_window_a_minute_after_its_own_second() -> None:
    tally, window, _, _ = made()
    tally.answered(100.9, 0.001)
    tally.answered(101.1, 0.001)
    tally.settle()
    assert window.stats(160.5)["requests"] == 1
    assert window.stats(161.5)["requests"] == 0


def test_a_flood_within_one_second_is_counted_before_it_fills_memory() -> None:
    tally, _, statistics, _ = made()
    for _ in range(PENDING_MAX + 1):
        tally.answered(100.0, 0.001)
    assert statistics.successes == PENDING_MAX
