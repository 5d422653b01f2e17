"""Predictions: estimates with a range over seeds, the cloud beside them, no verdict yet."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from skerry.plan.bill import SHORT_BILL
from skerry.plan.errors import RunFileError
from skerry.plan.from_run import read_run
from skerry.plan.predict import Prediction, meets, predict, prediction_errors
from skerry.plan.services import guessed, services_s
from skerry.plan.trace import Trace, story_trace
from skerry.schema.fleet import Fleet
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level, Verdict


def plan(fleet: Fleet, requests: int = 500, **more: object) -> Prediction:
    return predict(
        fleet,
        lambda seed: story_trace(fleet, requests=requests, seed=seed),
        seeds=range(3),
        clock=lambda: 1000.0,
        **more,  # type: ignore[arg-type]
    )


def named(prediction: Prediction) -> dict[GoalName, GoalRecord]:
    return {goal.name: goal for goal in prediction.goals}


def test_every_goal_is_an_estimate_with_its_range_and_no_verdict(fleet: Fleet) -> None:
    found = plan(fleet)
    assert [goal.name for goal in found.goals] == list(GoalName)
    for goal in found.goals:
        for figure in (goal.predicted, goal.baseline):
            if figure is None:  # the cloud's 70 ms: no answer in time to share the cost
                assert goal.name is GoalName.COST_USD_PER_1K
                assert goal.predicted is not None
                continue
            assert figure.low <= figure.value <= figure.high
            assert (figure.level, figure.at_unix_s) == (Level.ESTIMATE, 1000.0)
        assert goal.verdict is Verdict.UNKNOWN
        assert goal.measured is None


def test_the_clinic_answers_locally_and_the_cloud_never_does(fleet: Fleet) -> None:
    goals = named(plan(fleet))
    local, latency = goals[GoalName.LOCAL_RATIO], goals[GoalName.LATENCY_MS_P95]
    assert local.predicted is not None
    assert local.baseline is not None
    assert (local.predicted.value, local.baseline.value) == (1.0, 0.0)
    assert latency.predicted is not None
    assert latency.baseline is not None
    assert latency.predicted.high < 20 < 70 < latency.baseline.low
    assert meets(GoalName.LATENCY_MS_P95, 50.0, latency.predicted) is True
    assert meets(GoalName.LATENCY_MS_P95, 50.0, latency.baseline) is False


def test_a_cloud_that_is_never_in_time_has_no_cost_per_answer_and_says_so(fleet: Fleet) -> None:
    found = plan(fleet)
    assert named(found)[GoalName.COST_USD_PER_1K].baseline is None
    (note,) = [note for note in found.notes if note.startswith("cloud only")]
    assert "no answer met the latency goal" in note
    patient = msgspec.structs.replace(fleet, goals={**fleet.goals, GoalName.LATENCY_MS_P95: 200.0})
    found = plan(patient)
    assert named(found)[GoalName.COST_USD_PER_1K].baseline is not None
    assert found.notes == (SHORT_BILL,)


def test_a_range_on_both_sides_of_a_goal_is_neither_met_nor_missed() -> None:
    figure = Figure(
        value=50.0, low=45.0, high=55.0, level=Level.ESTIMATE, source="test", at_unix_s=0.0
    )
    assert meets(GoalName.LATENCY_MS_P95, 50.0, figure) is None
    assert meets(GoalName.LATENCY_MS_P95, None, figure) is None
    assert meets(GoalName.LOCAL_RATIO, 40.0, figure) is True


def test_a_day_without_load_says_so_and_invents_nothing(fleet: Fleet) -> None:
    def nobody(_: int) -> Trace:
        one = story_trace(fleet, requests=1, seed=1)
        empty = np.array([], dtype=np.int64)
        return Trace(
            source="nobody",
            span_s=one.span_s,
            sites=one.sites,
            models=one.models,
            data_classes=one.data_classes,
            arrival_s=np.array([]),
            site=empty,
            model=empty,
            data_class=empty,
            content_bytes=empty,
        )

    found = predict(fleet, nobody, seeds=[1])
    assert all(goal.predicted is None for goal in found.goals)
    assert any("no request was answered" in note for note in found.notes)


def test_a_fleet_without_a_cloud_has_no_baseline_and_says_so(fleet: Fleet) -> None:
    found = plan(msgspec.structs.replace(fleet, sites=fleet.sites[:3]))
    assert all(goal.baseline is None for goal in found.goals)
    assert "the fleet has no cloud node, so there is no baseline" in found.notes


def test_measured_service_times_replace_the_table(fleet: Fleet) -> None:
    stated, slower = (
        named(plan(fleet, service_ms=given))[GoalName.LATENCY_MS_P95].predicted
        for given in (None, {"magika": 30.0})
    )
    assert stated is not None
    assert slower is not None
    assert slower.low > stated.high + 15
    assert "measured service times" in slower.source


def test_a_model_in_no_table_is_named_as_guessed(fleet: Fleet) -> None:
    odd = msgspec.structs.replace(fleet.models[0], name="unheard-of", standin=None)
    strange = msgspec.structs.replace(fleet, models=(odd,))
    assert guessed(strange) == ("unheard-of",)
    assert services_s(strange) == {"unheard-of": 0.025}
    assert guessed(strange, {"unheard-of": 3.0}) == ()


def test_the_prediction_s_own_error_is_stated_per_goal(fleet: Fleet) -> None:
    goals = plan(fleet).goals
    predicted = next(g for g in goals if g.name is GoalName.LATENCY_MS_P95).predicted
    assert predicted is not None
    truth = msgspec.structs.replace(predicted, value=predicted.value / 1.25, level=Level.MEASURED)
    measured = [GoalRecord(name=GoalName.LATENCY_MS_P95, goal=None, measured=truth)]
    assert prediction_errors(goals, measured) == {GoalName.LATENCY_MS_P95: pytest.approx(0.25)}


def test_a_run_s_figures_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"at_unix_s": 1.0, "service_ms": {"magika": 3.1}}))
    assert read_run(path).service_ms == {"magika": 3.1}
    path.write_text(json.dumps({"at_unix_s": 1.0, "service_ms": {"magika": 0}}))
    with pytest.raises(RunFileError, match="service_ms of magika is 0"):
        read_run(path)
    path.write_text('{"at_unix_s": 1.0, "schema": "skerry.run/1"}')
    with pytest.raises(RunFileError, match=r"skerry\.run/1.*wanted 'skerry\.run-figures/1'"):
        read_run(path)
    path.write_text('{"service_ms": {}}')
    with pytest.raises(RunFileError, match="at_unix_s"):
        read_run(path)
    with pytest.raises(RunFileError, match="No such file"):
        read_run(tmp_path / "absent.json")


def test_a_large_plan_is_compiled_and_says_the_same(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = plan(fleet)
    monkeypatch.setattr("skerry.plan.predict.COMPILED_FROM", 1)
    monkeypatch.setattr("skerry.plan.predict.plain.replay", None)  # nobody may ask it
    assert plan(fleet) == plain
