"""The rules of an instance: each one binds, each is checked anew, each is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.site.answer import plan_site
from skerry.plan.site.case import Case, read_case
from skerry.plan.site.check import check_instance
from skerry.plan.site.instance import Instance
from skerry.plan.site.recovery import recoveries
from skerry.plan.site.solve import solve
from skerry.schema.plan_report import Table

Json = dict[str, Any]
PLACES: Json = {
    "latency": {"base_ms": 2.0, "ms_per_km": 0.02},
    "kwh_per_unit_yr": 1000.0,
    "usd_per_unit_ms_yr": 1.0,
    "candidates": [
        {
            "id": "near",
            "country": "DE",
            "lat": 50.0,
            "lon": 8.0,
            "fixed_usd_yr": 1000,
            "usd_kwh": 0.1,
        },
        {
            "id": "far",
            "country": "FR",
            "lat": 48.0,
            "lon": 2.0,
            "fixed_usd_yr": 1500,
            "usd_kwh": 0.1,
        },
    ],
    "demands": [
        {"id": "a", "country": "DE", "lat": 50.1, "lon": 8.1, "demand": 2},
        {"id": "b", "country": "FR", "lat": 48.1, "lon": 2.1, "demand": 3},
    ],
}


def inputs() -> Assumptions:
    return assumptions("site", "latency")


def case_of(folder: Path, document: Json, *, split: bool = False) -> Case:
    path = folder / "instance.json"
    path.write_text(json.dumps(document))
    return read_case(path, "json", inputs(), split=split, capacity=None)


def with_candidate(document: Json, index: int, **fields: object) -> Json:
    candidates = [dict(one) for one in document["candidates"]]
    candidates[index] |= fields
    return {**document, "candidates": candidates}


def with_demand(document: Json, index: int, **fields: object) -> Json:
    demands = [dict(one) for one in document["demands"]]
    demands[index] |= fields
    return {**document, "demands": demands}


RULES: list[tuple[str, Callable[[Json], Json]]] = [
    ("latency", lambda d: {**d, "rtt_slo_ms": 9.0}),
    ("latency", lambda d: with_demand(d, 1, rtt_slo_ms=9.0)),
    ("residency", lambda d: {**d, "residency": [{"demand_in": "FR", "served_from": "FR"}]}),
    ("residency", lambda d: with_demand(d, 1, served_from=["FR", "BE"])),
    ("vendor", lambda d: {**with_candidate(d, 0, vendor="Acme"), "vendors_refused": ["Acme"]}),
    (
        "vendor",
        lambda d: with_demand(with_candidate(d, 0, vendor="Acme"), 1, vendors_refused=["Acme"]),
    ),
    ("risk", lambda d: {**with_candidate(d, 0, risk=0.9), "risk_max": 0.5}),
    (
        "permit_lead_time",
        lambda d: {**with_candidate(d, 0, permit_lead_days=400), "lead_days_max": 365},
    ),
    (
        "connectivity_lead_time",
        lambda d: {**with_candidate(d, 0, connectivity_lead_days=400), "lead_days_max": 365},
    ),
]


@pytest.mark.parametrize(("rule", "change"), RULES)
def test_a_rule_forbids_a_pair_and_the_check_finds_it_broken(
    rule: str, change: Callable[[Json], Json], tmp_path: Path
) -> None:
    """Site `near` alone is cheapest; each rule takes demand `b` (or all) away from it."""
    plain = case_of(tmp_path, PLACES)
    free = solve(plain.problem, seconds=5, tell=lambda _share, _what: None).siting
    assert free is not None
    assert free.open.tolist() == [True, False]

    ruled = case_of(tmp_path, change(PLACES))
    assert ruled.rules is not None
    assert ruled.rules.forbids[rule][0, 1]
    found = solve(ruled.problem, seconds=5, tell=lambda _share, _what: None).siting
    assert found is not None
    assert found.open[1]
    assert ruled.check(found).ok(found.objective)
    broken = ruled.check(free).breaches
    assert any(text.startswith(rule.split("_")[0]) for text in broken), broken


@pytest.mark.parametrize(
    "fields", [{"capacity": 4.0}, {"permit_kw": 1.0}], ids=["capacity", "permit"]
)
def test_room_and_permits_bind(fields: Json, tmp_path: Path) -> None:
    """With 0.2 kW a unit and a PUE of 1, 1 kW carries 5 units; at 1.4 it does not."""
    plain = case_of(tmp_path, PLACES)
    free = solve(plain.problem, seconds=5, tell=lambda _share, _what: None).siting
    assert free is not None
    document = with_candidate({**PLACES, "kw_per_unit": 0.2, "pue_ratio": 1.4}, 0, **fields)
    ruled = case_of(tmp_path, document)
    found = solve(ruled.problem, seconds=5, tell=lambda _share, _what: None).siting
    assert found is not None
    assert found.open[1]
    assert ruled.check(found).ok(found.objective)
    assert ruled.check(free).breaches


def test_candidates_that_fail_by_different_rules_are_named_by_rule(tmp_path: Path) -> None:
    risky = {**with_candidate(PLACES, 0, risk=0.9), "risk_max": 0.5}
    document = {**with_candidate(risky, 1, vendor="Acme"), "vendors_refused": ["Acme"]}
    report = plan_site(case_of(tmp_path, document), seconds=5, tell=lambda _share, _what: None)
    [one] = report.figures["infeasible"]  # type: ignore[misc]
    assert one["candidates_forbidden"] == {"risk": ["near"], "vendor": ["far"]}
    [table] = report.sections[0].blocks
    assert isinstance(table, Table)
    assert "risk keeps away near" in str(table.rows[0][3])
    assert "vendor keeps away far" in str(table.rows[0][3])


def test_the_check_finds_every_kind_of_wrong_plan(tmp_path: Path) -> None:
    path = tmp_path / "instance.json"
    path.write_text(json.dumps(PLACES))
    instance = msgspec.json.decode(path.read_bytes(), type=Instance)
    good = {0: [(0, 1.0)], 1: [(0, 1.0)]}
    for opened, served, said in (
        ({0}, good, ""),
        ({0}, {0: [(0, 1.0)]}, "demand 1 is not served once"),
        ({0}, {**good, 1: [(0, 0.5)]}, "demand 1 is not served once"),
        ({0, 1}, {**good, 1: [(0, 0.5), (1, 0.5)]}, "demand 1 is split"),
        ({0}, {**good, 1: [(1, 1.0)]}, "demand 1 is served by a closed site"),
    ):
        found = check_instance(instance, inputs(), opened, served, split=False)
        assert said in "; ".join(found.breaches)
        assert bool(said) == bool(found.breaches)


def test_coordinates_without_latency_take_the_fitted_model(tmp_path: Path) -> None:
    document = {key: value for key, value in PLACES.items() if key != "latency"}
    case = case_of(tmp_path, document)
    assert case.rules is not None
    assert case.rules.round_trip_ms[0, 0] == pytest.approx(8.81548 + 0.02344 * 13.23, abs=0.01)
    assert "latency_near_base_ms" in {row.name for row in case.inputs.used()}


def test_measured_round_trips_take_the_place_of_any_model(tmp_path: Path) -> None:
    case = case_of(tmp_path, {**PLACES, "rtt_ms": [[1, 2], [3, 4]]})
    assert case.rules is not None
    assert case.rules.round_trip_ms.tolist() == [[1, 2], [3, 4]]


def test_a_lost_site_leaves_what_nobody_may_serve_and_names_a_spare(tmp_path: Path) -> None:
    document = {**PLACES, "rtt_slo_ms": 9.0}
    spare = {**PLACES["candidates"][0], "id": "spare", "fixed_usd_yr": 5000}
    case = case_of(tmp_path, {**document, "candidates": [*PLACES["candidates"], spare]})
    siting = solve(case.problem, seconds=5, tell=lambda _share, _what: None).siting
    assert siting is not None
    near, far = recoveries(case.problem, siting)
    assert (near.lost, near.spare, near.spare_takes) == (0, 2, 2.0)
    assert near.unserved.tolist() == [2.0, 0.0]
    assert near.out_of_reach == (0,)
    assert (far.lost, far.spare) == (1, -1)


@pytest.mark.parametrize("split", [True, False])
def test_what_a_lost_site_served_is_moved_or_named_and_never_overfills(split: bool) -> None:
    example = Path(__file__).parents[2] / "examples" / "plan" / "site" / "months.json"
    case = read_case(example, "json", inputs(), split=split, capacity=None)
    siting = solve(case.problem, seconds=20, tell=lambda _share, _what: None).siting
    assert siting is not None
    load = siting.share @ case.problem.demand
    for one in recoveries(case.problem, siting):
        assert one.moved.sum() + one.unserved.sum() == pytest.approx(load[one.lost])
        assert (load + one.moved <= case.problem.capacity + 1e-9)[siting.open].all()
        assert not one.moved[~siting.open].any()
        served = siting.share[one.lost] * case.problem.demand - one.unserved
        assert (served >= -1e-9).all()
        if not split:
            whole = np.isclose(served, 0) | np.isclose(one.unserved, 0)
            assert whole.all()
