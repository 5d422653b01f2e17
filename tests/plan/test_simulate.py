"""A simulated fleet: nothing is lost on the way, a seed repeats, failures only ever hurt."""

from dataclasses import replace

import pytest

from skerry.plan.assumptions import assumptions
from skerry.plan.fleet_arrays import FleetArrays, arrays_of
from skerry.plan.fleet_grow import grown
from skerry.plan.simulate import Case, Outcome, case_of, simulate
from skerry.plan.simulate_world import shipped_weights
from skerry.schema.fleet import Fleet
from skerry.schema.simulation import Scenario

ASSUMED = assumptions("simulate")
BREAKS = ("node_failures_per_year", "power_cuts_per_year", "wan_cuts_per_year")


@pytest.fixture
def columns(fleet: Fleet) -> FleetArrays:
    return arrays_of(
        fleet, services_s={"magika": 0.0078, "magika-small": 0.0002}, requests_per_node_day=5000
    )


def case(columns: FleetArrays, scenario: Scenario | None = None, **values: float) -> Case:
    made = case_of(
        columns,
        scenario or Scenario(name="test"),
        ASSUMED,
        weights=shipped_weights(),
        hours=48,
        sample_requests=20_000,
    )
    return replace(made, values={**made.values, **values}, threads=2)


def test_every_request_is_answered_or_refused_with_a_reason(columns: FleetArrays) -> None:
    many = dict.fromkeys(BREAKS, 400.0)
    found = simulate(case(columns, **many), 7)
    figures = found.figures
    assert figures["unserved"] > 0
    assert sum(found.refused.values()) == pytest.approx(figures["unserved"], rel=1e-9)
    shares = [figures["local_ratio"], figures["room_ratio"], figures["cloud_ratio"]]
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)


def test_a_seed_repeats_exactly_whatever_the_number_of_threads(columns: FleetArrays) -> None:
    large = grown(columns, 60, {**ASSUMED, "sites_per_region": 10}, seed=3)
    runs: list[Outcome] = [
        simulate(replace(case(large, solar_kwp=1.0, battery_kwh=2.0), threads=threads), 7)
        for threads in (1, 2, 5)
    ]
    assert runs[0] == runs[1] == runs[2]
    assert simulate(case(large), 8).figures != simulate(case(large), 7).figures
