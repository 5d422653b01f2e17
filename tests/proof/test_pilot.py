"""Pilots: verdicts follow intervals, emulation is never hidden, A/A shows no difference."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.proof.errors import SampleError
from skerry.proof.pilot import PilotArm, judge
from skerry.proof.verdicts import verdict_of
from skerry.schema.goal import AT_LEAST, Figure, GoalName, GoalRecord, Level, Verdict
from skerry.schema.pilot import PilotRecord

GOALS = {
    GoalName.LATENCY_MS_P95: 50.0,
    GoalName.LOCAL_RATIO: 0.95,
    GoalName.ENERGY_WH_PER_1K: 10.0,
    GoalName.UPSTREAM_BYTES_PER_1K: 1000.0,
    GoalName.AVAILABILITY_RATIO: 0.99,
}


def figure(value: float, low: float, high: float, level: Level = Level.ESTIMATE) -> Figure:
    return Figure(value=value, low=low, high=high, level=level, source="test", at_unix_s=0.0)


def arm(
    name: str,
    level: Level = Level.MEASURED,
    *,
    scale_ms: float = 10.0,
    seed: int = 1,
    count: int = 2000,
    upstream: int = 0,
    local: int | None = None,
    failed: int = 0,
) -> PilotArm:
    latencies = np.random.default_rng(seed).lognormal(0.0, 0.4, count) * scale_ms
    return PilotArm(
        name=name,
        level=level,
        source="test",
        at_unix_s=0.0,
        latencies_ms=latencies,
        failed=failed,
        local=count if local is None else local,
        upstream_bytes=upstream,
        figures={GoalName.ENERGY_WH_PER_1K: figure(5.0, 4.0, 6.0)},
    )


def by_name(record: PilotRecord) -> dict[GoalName, GoalRecord]:
    return {goal.name: goal for goal in record.goals}


def test_a_good_fleet_meets_its_goals_against_a_measured_baseline() -> None:
    record = judge(arm("fleet"), arm("cloud", scale_ms=80), GOALS, fleet="clinic", seed=1)
    goals = by_name(record)
    assert goals[GoalName.LATENCY_MS_P95].verdict is Verdict.MET
    assert goals[GoalName.LATENCY_MS_P95].baseline is not None
    assert record.verdict == "5 of 5 goals met."
    words = {one.name: one.word for one in record.comparisons}
    assert words[GoalName.LATENCY_MS_P95] == "lower"
    assert words[GoalName.LOCAL_RATIO] == "no difference"


@pytest.mark.parametrize("which", ["fleet", "baseline", "both"])
def test_with_an_emulated_arm_no_verdict_is_better_than_emulated(which: str) -> None:
    ours = Level.EMULATED if which != "baseline" else Level.MEASURED
    theirs = Level.EMULATED if which != "fleet" else Level.MEASURED
    record = judge(arm("fleet", ours), arm("cloud", theirs), GOALS, fleet="clinic", seed=1)
    assert {goal.verdict for goal in record.goals} == {Verdict.MET_EMULATED, Verdict.UNKNOWN}
    assert "emulated" in record.verdict


figures = st.tuples(
    st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.sampled_from(list(Level))
).map(lambda t: figure(*sorted(t[:3])[1:2], *sorted(t[:3])[::2], level=t[3]))


@given(st.sampled_from(list(GoalName)), st.floats(0, 100), figures, st.booleans())
def test_a_verdict_says_emulated_exactly_when_something_was(
    name: GoalName, goal: float, judged: Figure, beside: bool
) -> None:
    verdict, _ = verdict_of(name, goal, judged, emulated=beside)
    plain = verdict in (Verdict.MET, Verdict.MISSED)
    if beside or judged.level is Level.EMULATED:
        assert not plain
    else:
        assert plain or verdict is Verdict.UNKNOWN


@given(st.sampled_from(list(GoalName)), st.floats(0, 100), figures)
def test_met_means_that_the_whole_interval_is_on_the_good_side(
    name: GoalName, goal: float, judged: Figure
) -> None:
    verdict, _ = verdict_of(name, goal, judged, emulated=False)
    whole = judged.low >= goal if name in AT_LEAST else judged.high <= goal
    assert (verdict in (Verdict.MET, Verdict.MET_EMULATED)) == whole


def test_the_same_arm_twice_shows_no_difference() -> None:
    """A/A: 60 pilots of one population; at 95 % some 3 may disagree on the p95, 8 may not."""
    disagreed = 0
    for run in range(60):
        one, other = arm("a", seed=2 * run, count=300), arm("a", seed=2 * run + 1, count=300)
        record = judge(one, other, GOALS, fleet="clinic", seed=run)
        disagreed += record.comparisons[0].word != "no difference"
        assert all(
            one.word == "no difference"
            for one in record.comparisons
            if one.name is not GoalName.LATENCY_MS_P95
        )
    assert disagreed < 8


def test_a_handful_of_requests_gives_no_verdict_on_a_p95() -> None:
    record = judge(arm("fleet", count=40), arm("cloud"), GOALS, fleet="clinic", seed=1)
    latency = by_name(record)[GoalName.LATENCY_MS_P95]
    assert latency.verdict is Verdict.UNKNOWN
    assert latency.reason == "40 requests are too few for a p95, wanted 72"


def test_failures_cost_availability_and_a_slow_fleet_misses() -> None:
    record = judge(
        arm("fleet", scale_ms=80, failed=200, local=500, upstream=10_000_000),
        arm("cloud"),
        GOALS,
        fleet="clinic",
        seed=1,
    )
    goals = by_name(record)
    for name in (GoalName.LATENCY_MS_P95, GoalName.LOCAL_RATIO, GoalName.AVAILABILITY_RATIO):
        assert goals[name].verdict is Verdict.MISSED, name
    assert goals[GoalName.UPSTREAM_BYTES_PER_1K].verdict is Verdict.MISSED
    assert record.verdict.startswith("1 of 5 goals met; missed: latency_ms_p95")


def test_an_estimated_energy_says_so_in_its_reason() -> None:
    energy = by_name(judge(arm("a"), arm("b"), GOALS, fleet="clinic", seed=1))[
        GoalName.ENERGY_WH_PER_1K
    ]
    assert (energy.verdict, energy.reason) == (Verdict.MET, "the figure is estimate")


def test_an_arm_that_answered_nothing_is_refused_by_name() -> None:
    with pytest.raises(SampleError, match="arm fleet answered none"):
        judge(arm("fleet", count=0), arm("cloud"), GOALS, fleet="clinic", seed=1)


def test_the_record_is_the_same_for_the_same_seed_and_survives_json() -> None:
    one, other = (
        judge(arm("fleet"), arm("cloud"), GOALS, fleet="clinic", seed=4) for _ in range(2)
    )
    assert one == other
    assert msgspec.json.decode(msgspec.json.encode(one), type=PilotRecord) == one
