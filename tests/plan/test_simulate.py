"""A simulated fleet: nothing is lost on the way, a seed repeats, failures only ever hurt."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.fleet.desired import policy_of
from skerry.plan.assumptions import assumptions
from skerry.plan.simulate.fleet_arrays import FleetArrays, arrays_of
from skerry.plan.simulate.fleet_grow import grown
from skerry.plan.simulate.hours import Year, simulate_hours
from skerry.plan.simulate.kernels_hours import Column
from skerry.plan.simulate.outages import changes_of, drawn
from skerry.plan.simulate.requests import Answers, simulate_requests, slices_of
from skerry.plan.simulate.run import Case, case_of, simulate
from skerry.plan.simulate.world import World, rates_at, shipped_weights, world_of
from skerry.schema.fleet import Fleet
from skerry.schema.policy import Residency, Stays
from skerry.schema.simulation import Scenario
from skerry.trust.residency import ResidencyTable

ASSUMED = assumptions("simulate")
HOURS = 48
factors = st.floats(0, 300)
seeds = st.integers(0, 2**31)
rules = st.sampled_from(
    [
        Residency(stays=Stays.SITE),
        Residency(stays=Stays.REGION),
        Residency(stays=Stays.JURISDICTIONS, jurisdictions=("DE",)),
        Residency(stays=Stays.ANYWHERE),
    ]
)


def under(fleet: Fleet, rule: Residency) -> Fleet:
    """Return a fleet whose health data are under another rule."""
    return msgspec.structs.replace(fleet, data_classes={**fleet.data_classes, "health": rule})


def columns_of(fleet: Fleet, per_node_day: float = 5000) -> FleetArrays:
    services = {model.name: 0.0078 for model in fleet.models}
    return arrays_of(fleet, services_s=services, requests_per_node_day=per_node_day)


def case(columns: FleetArrays, scenario: Scenario | None = None, **values: float) -> Case:
    made = case_of(
        columns,
        scenario or Scenario(name="test"),
        ASSUMED,
        weights=shipped_weights(),
        hours=HOURS,
        sample_requests=20_000,
    )
    return replace(made, values={**made.values, **values}, threads=2)


def world(columns: FleetArrays, **values: float) -> World:
    return world_of(
        columns, {**ASSUMED, **values}, hours=HOURS, weights=shipped_weights(), happenings=()
    )


def year(columns: FleetArrays, factor: float, seed: int, **values: float) -> Year:
    assumed = {**ASSUMED, **values}
    spells = drawn(columns, assumed, factor=factor, span_s=HOURS * 3600, seed=seed)
    changes = changes_of(spells, len(columns.nodes))
    return simulate_hours(columns, changes, world(columns, **values), seed=seed, threads=1)


def sample(columns: FleetArrays, factor: float, seed: int, requests: int = 5000) -> Answers:
    spells = drawn(columns, ASSUMED, factor=factor, span_s=HOURS * 3600, seed=seed)
    here = world(columns)
    asked = float(columns.requests_per_day.sum()) * HOURS / 24
    slices = slices_of(columns, hours=HOURS, requests=asked, requests_max=requests, seed=seed)
    return simulate_requests(
        columns,
        changes_of(spells, len(columns.nodes)),
        here,
        slices,
        rates=rates_at(columns, here, slices.hour, seed=seed) / 3600,
        seed=seed,
        threads=1,
    )


def answered(totals: np.ndarray) -> float:
    return float(totals[Column.HERE] + totals[Column.ROOM] + totals[Column.CLOUD])


@settings(max_examples=30, deadline=None)
@given(
    factor=factors,
    seed=seeds,
    rule=rules,
    load=st.sampled_from([50, 5_000, 5_000_000, 50_000_000]),
)
def test_every_request_is_answered_or_refused(
    any_fleet: Fleet, factor: float, seed: int, rule: Residency, load: float
) -> None:
    totals = year(columns_of(under(any_fleet, rule), load), factor, seed).totals()
    refused = totals[Column.NO_WAY] + totals[Column.CUT] + totals[Column.FULL]
    assert (totals >= 0).all()
    assert answered(totals) + refused == pytest.approx(totals[Column.ASKED], rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(few=factors, more=factors, seed=seeds, load=st.sampled_from([5_000, 5_000_000, 50_000_000]))
def test_more_failures_never_raise_availability(
    any_fleet: Fleet, few: float, more: float, seed: int, load: float
) -> None:
    few, more = sorted((few, more))
    columns = columns_of(any_fleet, load)
    calm, rough = (answered(year(columns, factor, seed).totals()) for factor in (few, more))
    assert rough <= calm * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(solar=st.floats(0, 3), battery=st.floats(0, 10), ratio=st.floats(0.5, 1), seed=seeds)
def test_energy_is_conserved(
    any_fleet: Fleet, solar: float, battery: float, ratio: float, seed: int
) -> None:
    found = year(
        columns_of(any_fleet),
        50.0,
        seed,
        solar_kwp=solar,
        battery_kwh=battery,
        battery_round_trip_ratio=ratio,
    )
    totals, stored_wh = found.totals(), found.sites[:, 8].sum()
    gone = totals[Column.LOAD_WH] + totals[Column.EXPORT_WH] + totals[Column.LOSS_WH] + stored_wh
    assert totals[Column.SOLAR_WH] + totals[Column.IMPORT_WH] == pytest.approx(gone, rel=1e-9)
    assert (totals >= -1e-9).all()
    assert (found.sites[:, 8] <= battery * 1000 + 1e-9).all()


@settings(max_examples=20, deadline=None)
@given(
    rule=rules,
    seed=seeds,
)
def test_no_request_is_answered_outside_its_residency(
    any_fleet: Fleet, rule: Residency, seed: int
) -> None:
    """The policy's own table judges every answer, under failures that push work upwards."""

    fleet = msgspec.structs.replace(
        any_fleet, data_classes={**any_fleet.data_classes, "health": rule}
    )
    columns = columns_of(fleet, 60_000)
    found = sample(columns, 300.0, seed)
    table = ResidencyTable(policy_of(fleet, generation=0))
    assert found.asked == found.answered + found.refused.sum()
    assert found.answers.sum() == found.answered
    region = columns.region_of_site()
    for site, flow, way in np.argwhere(found.answers > 0):
        name = columns.site_names[site]
        _, data_class = columns.flow_names[flow]
        by = (name, columns.region_names[region[site]], *columns.cloud_names)[way]
        assert table.may_go(data_class, name, by) is None


def _other_shapes(fleet: Fleet) -> list[Fleet]:
    """Sites whose region is the cloud itself; and a second cloud, in another country."""
    replaced = msgspec.structs.replace
    bare = [
        replaced(site, region="cloud") if site.kind.value == "edge" else site
        for site in fleet.sites
        if site.name != "region-eu"
    ]
    second = replaced(fleet.site("cloud"), name="cloud-de", region="cloud-de", jurisdiction="DE")
    return [replaced(fleet, sites=tuple(bare)), replaced(fleet, sites=(*fleet.sites, second))]


@pytest.mark.parametrize("shape", [0, 1])
def test_regions_that_are_clouds_and_second_clouds_hold_the_same(
    any_fleet: Fleet, shape: int
) -> None:
    fleet = _other_shapes(any_fleet)[shape]
    rule = Residency(stays=Stays.JURISDICTIONS, jurisdictions=("DE",))
    fleet = msgspec.structs.replace(
        fleet, data_classes={"health": rule, "public": Residency(stays=Stays.ANYWHERE)}
    )
    columns = columns_of(fleet, 5_000_000)
    totals = year(columns, 20.0, 3).totals()
    refused = totals[Column.NO_WAY] + totals[Column.CUT] + totals[Column.FULL]
    assert answered(totals) + refused == pytest.approx(totals[Column.ASKED], rel=1e-9)
    assert totals[Column.CLOUD] > 0
    found = sample(columns, 20.0, 3, 400_000)
    table = ResidencyTable(policy_of(fleet, generation=0))
    up = (found.answers[:, :, 1:] > 0).any(axis=0)
    assert found.answers[:, :, 1 + shape :].sum() > 0
    for site, flow, way in np.argwhere(found.answers > 0):
        region = columns.region_names[int(columns.region_of_site()[site])]
        by = (columns.site_names[site], region, *columns.cloud_names)[way]
        data_class = columns.flow_names[flow][1]
        assert table.may_go(data_class, columns.site_names[site], by) is None
    assert up.any()


def test_a_lost_region_that_is_a_cloud_takes_the_cloud(any_fleet: Fleet) -> None:
    columns = columns_of(_other_shapes(any_fleet)[0])
    assert columns.place_names[columns.room_of(0)] == "cloud"
    assert columns.nodes[columns.sites] == 0
    assert columns_of(any_fleet).room_of(0) == 2


def test_shares_add_up_and_refusals_have_reasons(fleet: Fleet) -> None:
    many = dict.fromkeys(("node_failures_per_year", "power_cuts_per_year"), 400.0)
    found = simulate(case(columns_of(fleet), **many), 7)
    figures = found.figures
    assert figures["unserved"] > 0
    assert sum(found.refused.values()) == pytest.approx(figures["unserved"], rel=1e-9)
    shares = [figures["local_ratio"], figures["room_ratio"], figures["cloud_ratio"]]
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)


def test_a_seed_repeats_exactly_whatever_the_number_of_threads(fleet: Fleet) -> None:
    large = grown(columns_of(fleet), 60, {**ASSUMED, "sites_per_region": 10}, seed=3)
    one = case(large, solar_kwp=1.0, battery_kwh=2.0)
    runs = [simulate(replace(one, threads=threads), 7) for threads in (1, 2, 5)]
    assert runs[0] == runs[1] == runs[2]
    assert simulate(one, 8).figures != runs[0].figures


def test_the_sample_and_the_hours_agree(fleet: Fleet) -> None:
    """Two models of one thing: single requests in queues, and a flow through them."""
    columns = columns_of(fleet, 20_000)
    found = simulate(
        replace(
            case(columns),
            values={**ASSUMED, "node_failures_per_year": 200.0},
            sample_requests=1_000_000,
        ),
        11,
    ).figures
    assert found["sampled_availability_ratio"] == pytest.approx(
        found["availability_ratio"], abs=2e-3
    )
    assert found["sampled_local_ratio"] == pytest.approx(found["local_ratio"], abs=2e-3)
