"""Goals from summaries: counted once, known to a bucket, energy never without its level."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.proof.goals import add_up, latency_ms, measured_goals, within
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName, GoalRecord, Level, Verdict
from skerry.schema.records import LATENCY_EDGES_US, Outcome, Summary

Make = Callable[..., Summary]


def goals(
    summaries: list[Summary], fleet: Fleet, level: Level = Level.MEASURED
) -> dict[GoalName, GoalRecord]:
    found = measured_goals(summaries, fleet, duration_s=60.0, at_unix_s=1000.0, level=level)
    assert [one.name for one in found] == list(GoalName)
    return {one.name: one for one in found}


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_a_quantile_s_bucket_holds_the_true_quantile(latencies_us: list[int], q: float) -> None:
    edges = np.array(LATENCY_EDGES_US)
    places, counts = np.unique(np.searchsorted(edges, latencies_us), return_counts=True)
    made = Summary(
        from_unix_ms=0,
        to_unix_ms=1000,
        site="oslo",
        node="oslo/1",
        model="magika",
        version="1",
        data_class="health",
        outcome=Outcome.OK,
        served_site="oslo",
        served_tier="edge",
        reason="local",
        forwarded=False,
        count=len(latencies_us),
        latency_us_sum=sum(latencies_us),
        latency_counts=dict(zip(places.tolist(), counts.tolist(), strict=True)),
        bytes_in=0,
        bytes_upstream=0,
    )
    found = latency_ms(add_up([made]), q)
    assert found is not None
    value, low, high = found
    truth = float(np.quantile(latencies_us, q, method="inverted_cdf")) / 1000
    assert low <= truth <= high
    assert low <= value <= high


def test_a_forwarded_request_counts_once_and_only_as_not_local(fleet: Fleet, summary: Make) -> None:
    away = summary(served_site="region-eu", bytes_upstream=5000, count=50)
    there = summary(site="region-eu", served_site="region-eu", forwarded=True, count=50)
    found = goals([summary(count=150), away, there], fleet)
    local = found[GoalName.LOCAL_RATIO].measured
    assert local is not None
    assert (local.value, local.samples) == (0.75, 200)
    upstream = found[GoalName.UPSTREAM_BYTES_PER_1K].measured
    assert upstream is not None
    assert upstream.value == pytest.approx(25_000)


def test_refusals_by_policy_cost_no_availability_and_those_by_load_do(
    fleet: Fleet, summary: Make
) -> None:
    def availability(*more: Summary) -> float:
        figure = goals([summary(count=90), *more], fleet)[GoalName.AVAILABILITY_RATIO].measured
        assert figure is not None
        return figure.value

    refused = {"outcome": Outcome.REFUSED, "count": 10, "latency_counts": {}, "served_site": ""}
    assert availability(summary(**refused, reason="residency")) == 1.0
    assert availability(summary(**refused, reason="queue-full")) == 0.9
    assert availability(summary(**{**refused, "outcome": Outcome.FAILED})) == 0.9


def test_energy_carbon_and_cost_are_estimates_between_idle_and_the_load_seen(
    fleet: Fleet, summary: Make
) -> None:
    """Idle: 2 sites x 10 W x 1.5 x 60 s = 0.5 Wh for 100 answers, so 5 Wh per 1,000."""
    energy = goals([summary(latency_us_sum=30_000_000)], fleet)[GoalName.ENERGY_WH_PER_1K]
    assert energy.measured is not None
    assert energy.measured.level is Level.ESTIMATE
    assert energy.measured.low == pytest.approx(5.0)
    # oslo half busy: 10 + 20 * (1 - 0.5**1.4) = 22.42 W, region idle: 10 W.
    assert energy.measured.high == pytest.approx(32.42 * 1.5 / 60 * 10, abs=0.01)
    found = goals([summary()], fleet)
    for name in (GoalName.CARBON_G_PER_1K, GoalName.COST_USD_PER_1K):
        figure = found[name].measured
        assert figure is not None
        assert figure.level is Level.ESTIMATE
        assert 0 < figure.low <= figure.value <= figure.high


def test_more_answers_that_met_the_limit_make_each_cheaper_and_slow_ones_do_not(
    fleet: Fleet, summary: Make
) -> None:
    def cost(*summaries: Summary) -> float | None:
        figure = goals(list(summaries), fleet)[GoalName.COST_USD_PER_1K].measured
        return None if figure is None else figure.low

    slow = summary(latency_counts={50: 100})  # about 580 ms, beyond the goal of 50 ms
    base = cost(summary())
    assert base is not None
    assert cost(summary(), summary()) == pytest.approx(base / 2)
    assert cost(summary(), slow) == pytest.approx(base)
    assert cost(slow) is None
    assert within(add_up([summary(), slow]), None) == 200


def test_an_emulated_fleet_never_simply_meets_a_goal(fleet: Fleet, summary: Make) -> None:
    found = goals([summary(count=1000, latency_counts={20: 1000})], fleet, Level.EMULATED)
    assert found[GoalName.LATENCY_MS_P95].verdict is Verdict.MET_EMULATED
    assert Verdict.MET not in {one.verdict for one in found.values()}


def test_silence_is_unknown_and_not_good(fleet: Fleet) -> None:
    found = goals([], fleet)
    assert {one.verdict for one in found.values()} == {Verdict.UNKNOWN}
    assert all(one.measured is None for one in found.values())
