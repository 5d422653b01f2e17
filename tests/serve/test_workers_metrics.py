"""Numbers of several workers: added up as if one had counted, and never falling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.serve.metrics import Metrics
from skerry.serve.workers_metrics import PageError, Totals, parse_page

Events = list[tuple[str, str, float]]
models = st.sampled_from(["", "a", 'quo"te\\', "line\nbreak", "{brace}", "a,b"])
events = st.lists(
    st.tuples(models, st.sampled_from(["ok", "refused", "failed"]), st.floats(0, 20)), max_size=12
)


def count(metrics: Metrics, happened: Events) -> Metrics:
    for model, outcome, latency_s in happened:
        if outcome == "ok":
            metrics.answered(model, [latency_s])
        elif outcome == "refused":
            metrics.refused(model, "E0403")
        else:
            metrics.failed(model)
    return metrics


def gauges(number: float) -> list[tuple[str, str, dict[str, str], float]]:
    return [("depth", "How deep.", {"model": "a"}, number), ("up", "Whether.", {}, 1.0)]


def rows(page: bytes) -> dict[tuple[str, str], float]:
    return {
        key: round(value, 6) for one in parse_page(page).values() for key, value in one.rows.items()
    }


@given(events, events)
def test_two_workers_count_what_one_would_have_counted(first: Events, second: Events) -> None:
    totals = Totals()
    for index, happened in enumerate((first, second)):
        totals.take(index, 1, parse_page(count(Metrics(), happened).text([])))
    alone = count(count(Metrics(), first), second).text([])
    assert rows(totals.text({0: 1, 1: 1})) == pytest.approx(rows(alone), rel=1e-5)


@given(events, events)
def test_a_worker_that_starts_again_takes_nothing_back(before: Events, after: Events) -> None:
    totals = Totals()
    totals.take(0, 1, parse_page(count(Metrics(), before).text([])))
    totals.take(0, 2, parse_page(count(Metrics(), after).text([])))
    alone = count(count(Metrics(), before), after).text([])
    assert rows(totals.text({0: 2})) == pytest.approx(rows(alone), rel=1e-5)


def test_gauges_are_told_apart_and_go_with_their_worker() -> None:
    totals = Totals()
    for index in (0, 1):
        totals.take(index, 1, parse_page(Metrics().text(gauges(index + 3.0))))
    text = totals.text({0: 1, 1: 1}).decode()
    assert 'depth{worker="0",model="a"} 3\ndepth{worker="1",model="a"} 4\n' in text
    assert 'up{worker="0"} 1\nup{worker="1"} 1\n' in text
    assert text.count("# TYPE depth gauge") == 1
    assert 'worker="1"' not in totals.text({0: 1}).decode()


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b"a 1", "wanted a row below its TYPE"),
        (b"# TYPE a counter\nb 1", "wanted one of a"),
        (b"# TYPE a counter\na x", "wanted a number"),
        (b"# TYPE a counter\na 1\na 2", "wanted each once"),
        (b"# TYPE a counter\n# TYPE a counter", "wanted each once"),
        (b'# TYPE a counter\na{b="c} 1', "wanted a row below its TYPE"),
        (b"# TYPE a counter\n" + b'a{b="' + b"\\" * 50_001 + b'"} 1', "wanted a row"),
        (b"# TYPE a summary\n", "wanted a row below its TYPE"),
        (b"\n" * 100_001, "wanted at most 100000"),
    ],
)
def test_a_page_that_no_worker_writes_is_refused(page: bytes, why: str) -> None:
    with pytest.raises(PageError, match=why):
        parse_page(page)
