"""Summaries: nothing is counted twice or lost, order never matters, quantiles keep their bound."""

import itertools
import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.records import LATENCY_EDGES_US, Outcome, RequestRecord, Summary
from skerry.telemetry.errors import SummaryError
from skerry.telemetry.summaries import (
    add_counts,
    bucket_of,
    fold,
    key_of,
    merge,
    merge_all,
    quantile_ms,
)

latencies_us = st.integers(0, 40_000_000)
records = st.lists(
    st.builds(
        RequestRecord,
        at_unix_ms=st.integers(0, 5_000),
        model=st.sampled_from(["magika", "vad"]),
        version=st.just("1"),
        data_class=st.sampled_from(["health", "public"]),
        outcome=st.sampled_from(list(Outcome)),
        latency_us=latencies_us,
        served_site=st.sampled_from(["oslo", "cloud"]),
        served_node=st.just("oslo/1"),
        served_tier=st.just("closet"),
        reason=st.sampled_from(["local", "hedge"]),
        bytes_in=st.integers(0, 10_000),
        bytes_upstream=st.integers(0, 10_000),
        forwarded_for=st.sampled_from(["", "bergen"]),
    ),
    max_size=40,
)


def folded(of: list[RequestRecord]) -> list[Summary]:
    return fold(of, site="oslo", node="oslo/1")


@given(records)
def test_every_record_is_counted_exactly_once(of: list[RequestRecord]) -> None:
    summaries = folded(of)
    assert sum(s.count for s in summaries) == len(of)
    assert sum(sum(s.latency_counts.values()) for s in summaries) == len(of)
    assert sum(s.latency_us_sum for s in summaries) == sum(r.latency_us for r in of)
    assert sum(s.bytes_in for s in summaries) == sum(r.bytes_in for r in of)
    assert sum(s.bytes_upstream for s in summaries) == sum(r.bytes_upstream for r in of)


@given(records)
def test_windows_are_one_second_and_hold_the_records_they_count(of: list[RequestRecord]) -> None:
    starts = {r.at_unix_ms // 1000 * 1000 for r in of}
    summaries = folded(of)
    assert {s.from_unix_ms for s in summaries} == starts
    assert all(s.to_unix_ms - s.from_unix_ms == 1000 for s in summaries)
    assert len({(s.from_unix_ms, key_of(s)) for s in summaries}) == len(summaries)


@given(records, st.randoms(use_true_random=False))
def test_the_order_of_records_and_of_summaries_does_not_matter(
    of: list[RequestRecord], chance: random.Random
) -> None:
    shuffled = of.copy()
    chance.shuffle(shuffled)
    assert merge_all(folded(shuffled)) == merge_all(folded(of))
    summaries = folded(of)
    chance.shuffle(summaries)
    assert merge_all(summaries) == merge_all(folded(of))


@given(records, st.integers(0, 40))
def test_folding_in_two_parts_adds_up_to_folding_at_once(of: list[RequestRecord], cut: int) -> None:
    parts = folded(of[:cut]) + folded(of[cut:])
    assert merge_all(parts) == merge_all(folded(of))


@given(st.lists(latencies_us, min_size=3, max_size=30))
def test_merge_is_associative_and_commutative(latencies: list[int]) -> None:
    a, b, c = (one_summary(latencies[i::3], at_ms=i * 1000) for i in range(3))
    assert merge(a, merge(b, c)) == merge(merge(a, b), c)
    assert merge(a, b) == merge(b, a)


def one_summary(latencies: list[int], *, at_ms: int) -> Summary:
    made = [
        RequestRecord(
            at_ms, "m", "1", "health", Outcome.OK, us, "oslo", "oslo/1", "closet", "local", 1, 0
        )
        for us in latencies
    ]
    return folded(made)[0]


def test_unlike_summaries_are_refused_by_name() -> None:
    ok = one_summary([1], at_ms=0)
    with pytest.raises(SummaryError, match="model is 'other', wanted 'm'"):
        merge(ok, Summary(**{f: getattr(ok, f) for f in ok.__struct_fields__} | {"model": "other"}))


@given(st.lists(latencies_us, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(latencies: list[int], q: float) -> None:
    counts: dict[int, int] = {}
    for us in latencies:
        counts = add_counts(counts, {bucket_of(us): 1})
    exact_us = sorted(latencies)[max(1, math.ceil(q * len(latencies))) - 1]
    found = quantile_ms(counts, q)
    assert found is not None
    bucket = bucket_of(exact_us)
    if bucket == len(LATENCY_EDGES_US):
        assert found * 1000 == pytest.approx(LATENCY_EDGES_US[-1])  # a lower bound, as stated
    else:
        low = LATENCY_EDGES_US[bucket - 1] if bucket else 0
        assert low * (1 - 1e-9) < found * 1000 <= LATENCY_EDGES_US[bucket] * (1 + 1e-9)


@given(st.lists(latencies_us, min_size=1, max_size=50))
def test_a_higher_quantile_is_never_faster(latencies: list[int]) -> None:
    counts: dict[int, int] = {}
    for us in latencies:
        counts = add_counts(counts, {bucket_of(us): 1})
    found = [quantile_ms(counts, q / 20) for q in range(21)]
    assert all(a is not None and b is not None and a <= b for a, b in itertools.pairwise(found))


def test_the_stated_error_of_a_quantile_follows_from_the_edges() -> None:
    steps = [b / a for a, b in itertools.pairwise(LATENCY_EDGES_US)]
    assert max(steps) < 1.195
    assert 1 - 1 / max(steps) < 0.165


def test_a_median_inside_one_bucket_is_interpolated_by_hand() -> None:
    """Ten requests in 100 to 119 us: rank 5 of 10 lies half way, 109.5 us."""
    assert quantile_ms({1: 10}, 0.5) == pytest.approx(0.1095)


def test_no_requests_have_no_quantile_and_a_wrong_share_is_refused() -> None:
    assert quantile_ms({}, 0.95) is None
    for bad in (-0.1, 1.1, 95.0, math.nan):
        with pytest.raises(SummaryError, match="wanted 0 to 1"):
            quantile_ms({1: 1}, bad)


def test_the_agent_can_fold_without_loading_numpy() -> None:
    script = "import sys, skerry.telemetry.summaries; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
