"""A tier's work: Erlang as published, a PUE worse at low load, never less of it for more load."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.fleet.links import link_between
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.capacity import queueing
from skerry.plan.finance.demand import STEPS, Demand, demand_of
from skerry.plan.finance.work import Work, erlang_c, places_of, work_of
from skerry.plan.trace import story_trace
from skerry.schema.fleet import Fleet

FLEET_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
INPUTS = assumptions("finance")


def flat(fleet: Fleet, requests_per_month: float) -> Demand:
    """Both edge sites ask alike, at every hour; a run takes 10 ms."""
    return Demand(
        requests_per_month=requests_per_month,
        sites=("oslo", "hamburg"),
        share=np.full((2, STEPS), 1 / (2 * STEPS)),
        service_s=0.01,
        content_bytes=1000.0,
        source="test",
    )


def work(fleet: Fleet, tier: str, requests: float, inputs: Assumptions = INPUTS) -> Work:
    places = places_of(fleet, fleet.tiers[tier], flat(fleet, requests))
    return work_of(places, inputs, target_s=0.05)


@pytest.mark.parametrize(
    ("servers", "offered", "waits"),
    [(1, 0.5, 0.5), (3, 2, 4 / 9), (10, 6, 0.101299), (50, 45, 0.363864), (500, 480, 0.266513)],
)
def test_erlang_c_as_published(servers: float, offered: float, waits: float) -> None:
    assert float(erlang_c(np.array(servers), np.array(offered))) == pytest.approx(waits, abs=1e-6)


@given(st.integers(1, 60), st.floats(0, 0.99))
def test_erlang_c_of_arrays_is_that_of_one_queue(servers: int, load: float) -> None:
    found = float(erlang_c(np.array(float(servers)), np.array(load * servers)))
    assert found == pytest.approx(queueing.erlang_c(servers, load * servers), abs=1e-12)


def test_above_500_servers_the_approximation_is_near_and_overload_waits_for_sure() -> None:
    exact = queueing.erlang_c(600, 570.0)
    assert float(erlang_c(np.array(600.0), np.array(570.0))) == pytest.approx(exact, abs=0.04)
    assert float(erlang_c(np.array(2.0), np.array(2.0))) == 1.0


def test_one_place_by_hand(fleet: Fleet) -> None:
    """10 requests/s of 10 ms at one machine of the region: u = 0.1, PUE 1.5 half fixed."""
    found = work(fleet, "room", 10 * SECONDS_PER_MONTH)
    hours = SECONDS_PER_MONTH / 3600
    it_w = 10 + 20 * (0.2 - 0.1**1.4)
    over_w = 0.5 * (0.5 * 30 + 0.5 * it_w)
    assert float(found.machines) == 1
    assert float(found.it_kwh) == pytest.approx(it_w * hours / 1000)
    assert float(found.overhead_kwh) == pytest.approx(over_w * hours / 1000)
    assert float(found.pue_ratio) > fleet.tiers["room"].pue_ratio


def test_the_busiest_step_says_how_many_machines_and_load_is_shared_by_them(fleet: Fleet) -> None:
    """2.1 erlangs in one step of 24 take 3 machines at 70 %; the other steps are idle."""
    share = np.zeros((1, STEPS))
    share[0, 9] = 1.0
    demand = replace(flat(fleet, 210 * SECONDS_PER_MONTH / STEPS), sites=("oslo",), share=share)
    places = places_of(fleet, fleet.tiers["room"], demand)
    found = work_of(places, INPUTS, target_s=1.0)
    hours = SECONDS_PER_MONTH / 3600 / STEPS
    busy_w = 10 + 20 * (2 * 0.7 - 0.7**1.4)
    assert float(found.machines) == 3
    assert float(found.it_kwh) == pytest.approx(3 * hours * (busy_w + 23 * 10) / 1000)


def test_answers_in_time_by_hand(fleet: Fleet) -> None:
    """Of M/M/1 at u = 0.1, 1 - u exp(-(100 - 10) t) wait no longer than the t that is left."""
    found = work(fleet, "room", 10 * SECONDS_PER_MONTH)
    ways_ms = [20.0 + 0.5 + 0.3 + 0.4, 8.0 + 0.5 + 0.3 + 0.4]  # round trip, jitter, LAN, 1 kB
    shares = [1 - 0.1 * math.exp(-90 * (0.05 - way / 1000 - 0.01)) for way in ways_ms]
    expected = sum(shares) / 2
    assert float(found.in_time / found.requests) == pytest.approx(expected, rel=1e-9)


def test_a_place_beyond_the_target_has_nothing_in_time_and_counts_its_lateness(
    fleet: Fleet,
) -> None:
    """Hamburg and Oslo are 70 and 80 ms from the cloud; the target is 50 ms."""
    found = work(fleet, "cloud", 1e6)
    assert float(found.in_time) == 0
    late_ms = (70 + 80) / 2 + 0.5 + 0.3 + 0.4 + 10 - 50
    assert float(found.late_ms / found.requests) == pytest.approx(late_ms, abs=0.1)


def test_full_load_has_the_stated_pue(fleet: Fleet) -> None:
    inputs = INPUTS.with_value("utilisation_max", 1.0)
    found = work(fleet, "room", 100 * SECONDS_PER_MONTH, inputs)
    assert float(found.machines) == 1
    assert float(found.pue_ratio) == pytest.approx(1.5)


@FLEET_FIXTURE
@given(st.sampled_from(["closet", "room", "cloud"]), st.floats(0, 1e10), st.floats(0, 1e10))
def test_more_load_never_takes_fewer_machines_or_less_energy(
    fleet: Fleet, tier: str, one: float, other: float
) -> None:
    less, more = (work(fleet, tier, load) for load in sorted((one, other)))
    assert less.machines <= more.machines
    assert less.it_kwh <= more.it_kwh * (1 + 1e-9)
    assert less.overhead_kwh <= more.overhead_kwh * (1 + 1e-9)
    assert 0 <= less.in_time <= less.requests * (1 + 1e-9)


def test_a_column_of_draws_gives_what_each_of_them_gives(fleet: Fleet) -> None:
    places = places_of(fleet, fleet.tiers["closet"], flat(fleet, 1e8))
    ratios = [0.5, 1.0, 40.0]
    many = work_of(places, {**INPUTS, "requests_ratio": np.array(ratios)[:, None]}, target_s=0.05)
    for index, ratio in enumerate(ratios):
        single = work_of(places, {**INPUTS, "requests_ratio": ratio}, target_s=0.05)
        for name in ("machines", "it_kwh", "in_time", "late_ms", "requests"):
            assert getattr(many, name)[index, 0] == pytest.approx(float(getattr(single, name)))


@pytest.mark.parametrize("origin", ["oslo", "hamburg"])
@pytest.mark.parametrize("place", ["region-eu", "cloud"])
def test_ways_are_those_of_the_fleets_links_stated_and_computed(
    fleet: Fleet, origin: str, place: str
) -> None:
    for links in (fleet.links, ()):
        one = msgspec.structs.replace(fleet, links=links)
        demand = flat(one, 1e6).of(frozenset({origin}))
        places = places_of(one, one.tiers[one.site(place).tier], demand)
        link = link_between(one, origin, place)
        sending_ms = 8 * 1000.0 / link.bandwidth_bit_per_s * 1000
        way_ms = link.round_trip_ms + link.jitter_ms + 0.3 + sending_ms
        assert float((places.travel_s * places.travel_share).sum()) * 1000 == pytest.approx(way_ms)


def test_regions_serve_their_own_sites_and_nobody_else(fleet: Fleet) -> None:
    demand = flat(fleet, 1e6)
    assert places_of(fleet, fleet.tiers["room"], demand).demand.sites == ("oslo", "hamburg")
    elsewhere = tuple(
        msgspec.structs.replace(site, region="cloud") if site.name == "hamburg" else site
        for site in fleet.sites
    )
    moved = msgspec.structs.replace(fleet, sites=elsewhere)
    assert places_of(moved, moved.tiers["room"], demand).demand.sites == ("oslo",)
    assert places_of(moved, moved.tiers["cloud"], demand).demand.sites == ("oslo", "hamburg")
    standby = work_of(places_of(fleet, fleet.tiers["room"], None), INPUTS, target_s=0.05)
    assert float(standby.machines) == 1
    assert float(standby.requests) == 0
    assert float(standby.it_kwh) > 0


def test_a_story_of_20_000_a_day_is_that_many_a_month(fleet: Fleet) -> None:
    services = {"magika": 0.008, "magika-small": 0.001}
    demand = demand_of(story_trace(fleet, requests=20_000, seed=1), services_s=services)
    assert demand.requests_per_month == pytest.approx(20_000 * 365.25 / 12)
    assert demand.share.sum() == pytest.approx(1)
    assert demand.service_s == pytest.approx(0.008)
    part = demand.of(frozenset({"oslo"}))
    assert part.requests_per_month == pytest.approx(demand.requests_per_month * 2 / 3, rel=0.05)
    assert part.share.sum() == pytest.approx(1)
