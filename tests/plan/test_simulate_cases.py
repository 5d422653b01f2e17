"""The simulation beside others: simpy, the replay of a day, production's own functions."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.energy.battery import battery_step
from skerry.energy.power_curve import draw_w
from skerry.fleet.desired import policy_of
from skerry.fleet.load import load_fleet
from skerry.plan.assumptions import assumptions
from skerry.plan.bill import bill
from skerry.plan.replay import QUEUE_LEN_MAX, replay
from skerry.plan.simulate import kernels_hours
from skerry.plan.simulate import kernels_requests as kernels_simulate
from skerry.plan.simulate import requests as simulate_requests
from skerry.plan.simulate import storm as simulate_storm
from skerry.plan.simulate.fleet_arrays import LAN_S, FleetArrays, arrays_of
from skerry.plan.simulate.run import case_of, simulate
from skerry.plan.simulate.world import normal, shipped_weights
from skerry.plan.trace import story_trace
from skerry.route import decide
from skerry.route.journey import DEADLINE_S
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.simulation import Incident, IncidentKind, Scenario
from skerry.serve import admission
from skerry.spine import backoff
from skerry.trust.residency import ResidencyTable

ASSUMED = {**assumptions("simulate"), "demand_day_cv": 0.0}
EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"
STEADY = Scenario(name="steady", failures=0)


def figures(
    columns: FleetArrays, weights: np.ndarray, hours: int, sample: int, seed: int = 5
) -> dict[str, float]:
    case = case_of(
        columns,
        STEADY,
        assumptions("simulate", settings=["demand_day_cv=0"]),
        weights=weights,
        hours=hours,
        sample_requests=sample,
    )
    return simulate(replace(case, threads=1), seed).figures


@pytest.mark.parametrize(
    ("requests", "service_s", "p95_within"), [(20_000, 0.0078, 0.01), (60_000, 0.4, 0.05)]
)
def test_a_day_of_the_clinic_is_what_the_replay_says(
    requests: int, service_s: float, p95_within: float
) -> None:
    """Same day, same decisions: energy within 0.2 %, answers within 0.5 %, p95 as stated.

    The second case keeps the machines busy, so that waits make the latency: the replay
    spreads requests over a site's machines by their number, the simulation in turns.
    """
    fleet = load_fleet(EXAMPLE)
    services = {model.name: service_s for model in fleet.models}
    trace = story_trace(fleet, requests=requests, seed=3)
    destinations = ResidencyTable(policy_of(fleet, generation=0)).destinations
    run = replay(fleet, trace, services_s=services, destinations=destinations, seed=3)
    used = bill(fleet, run.load, span_s=run.span_s, kinds=frozenset(Kind))
    nodes = sum(site.nodes for site in fleet.sites if site.kind is Kind.EDGE)
    columns = arrays_of(fleet, services_s=services, requests_per_node_day=requests / nodes)
    every_day = normal(np.tile(shipped_weights()[:24], 7))
    found = figures(columns, every_day, 24, 10**9)
    p95_ms = np.percentile(run.latencies_ms, 95, method="inverted_cdf")
    assert found["energy_kwh"] * 1000 == pytest.approx(used.energy_wh, rel=2e-3)
    assert found["carbon_kg"] * 1000 == pytest.approx(used.carbon_g, rel=2e-3)
    assert found["cost_usd"] == pytest.approx(used.total_usd, rel=2e-3)
    assert found["latency_ms_p95"] == pytest.approx(p95_ms, rel=p95_within)
    assert found["local_ratio"] == pytest.approx(run.local / run.answered, abs=5e-3)
    assert found["availability_ratio"] == pytest.approx(run.answered / len(trace), abs=5e-3)


class _Simpy:
    """One site and its room as simpy has them: a resource each, asked by production's rule."""

    def __init__(self, per_s: float, service_s: float, trip_s: float, seed: int) -> None:
        self.env, self.rng = simpy.Environment(), random.Random(seed)
        self.places = [simpy.Resource(self.env, 1), simpy.Resource(self.env, 1)]
        self.shedding = [0, 0]
        self.service_s, self.trip_s, self.per_s = service_s, trip_s, per_s
        self.latencies: list[float] = []
        self.by = [0, 0]
        self.refused = 0

    def run(self, until_s: float) -> None:
        self.env.process(self._arrive())
        self.env.run(until=until_s)

    def _arrive(self) -> Iterator[Any]:
        while True:
            yield self.env.timeout(self.rng.expovariate(self.per_s))
            self.env.process(self._request())

    def _request(self) -> Iterator[Any]:
        began_s = self.env.now
        run_s = self.service_s * float(RUNS[self.rng.randrange(len(RUNS))])
        for place, resource in enumerate(self.places):
            if place:
                yield self.env.timeout(self.trip_s / 2)
            waiting = len(resource.queue)
            if not waiting:
                self.shedding[place] = 0
            verdict = admission.admit(
                waiting,
                QUEUE_LEN_MAX,
                resource.count,
                self.service_s,
                1,
                DEADLINE_S - place * self.trip_s,
                self.shedding[place],
            )
            if verdict == admission.REFUSE_QUEUE_FULL:
                self.shedding[place] = 1
            if verdict != admission.ADMIT:
                continue
            with resource.request() as turn:
                yield turn
                yield self.env.timeout(run_s)
            trip_s = self.trip_s / 2 if place else 0.0
            self.latencies.append(self.env.now - began_s + trip_s + LAN_S)
            self.by[place] += 1
            return
        self.refused += 1


RUNS = simulate_requests.run_times()


@pytest.mark.parametrize("load", [0.7, 1.5, 2.6])
def test_small_cases_are_what_simpy_says(fleet: Fleet, load: float) -> None:
    """Below, above and far above what one site can do: who answers, and how fast."""
    service_s, trip_s = 0.05, 0.02
    site = msgspec.structs.replace(fleet.site("hamburg"), longitude_deg=0.0)
    room = fleet.site("region-eu")
    link = msgspec.structs.replace(
        fleet.links[2], round_trip_ms=trip_s * 1000, jitter_ms=0.0, bandwidth_bit_per_s=1e15
    )
    one = msgspec.structs.replace(
        fleet,
        sites=(site, room),
        links=(link,),
        models=(msgspec.structs.replace(fleet.models[0], data_classes=("public",)),),
    )
    services = {"magika": service_s}
    columns = arrays_of(one, services_s=services, requests_per_node_day=load / service_s * 86_400)
    found = figures(columns, np.ones(168), 1, 10**9)
    peer = _Simpy(load / service_s, service_s, trip_s, seed=1)
    peer.run(3600.0)
    asked = sum(peer.by) + peer.refused
    assert found["sampled_requests"] == pytest.approx(asked, rel=0.02)
    assert found["sampled_local_ratio"] == pytest.approx(peer.by[0] / sum(peer.by), abs=0.01)
    assert found["sampled_availability_ratio"] == pytest.approx(sum(peer.by) / asked, abs=0.01)
    for name, percent in (("latency_ms_p50", 50), ("latency_ms_p95", 95)):
        seen_ms = np.percentile(peer.latencies, percent) * 1000
        assert found[name] == pytest.approx(seen_ms, rel=0.06), name


def test_work_that_goes_up_takes_the_road_and_the_run(fleet: Fleet) -> None:
    """Hamburg's only machine is gone: 8 ms to the room and back, 70 to the cloud, by hand."""
    one = msgspec.structs.replace(
        fleet,
        sites=tuple(site for site in fleet.sites if site.name != "oslo"),
        models=(msgspec.structs.replace(fleet.models[0], data_classes=("public",)),),
    )
    columns = arrays_of(one, services_s={"magika": 0.05}, requests_per_node_day=20_000)
    for gone, trip_ms in ((("hamburg",), 8.0), (("hamburg", "region-eu"), 70.0)):
        lost = [
            Incident(
                do=IncidentKind.LOSE_SITE if name == "hamburg" else IncidentKind.LOSE_REGION,
                at="0 h",
                lasts="2 h",
                where=name,
            )
            for name in gone
        ]
        case = case_of(
            columns,
            Scenario(name="gone", failures=0, incidents=tuple(lost)),
            assumptions("simulate"),
            weights=np.ones(168),
            hours=1,
            sample_requests=10**9,
        )
        found = simulate(replace(case, threads=1), 3).figures
        assert found["local_ratio"] == found["sampled_local_ratio"] == 0
        # Half of the runs take no longer than 0.05 / sqrt(1.04); jitter and body add 0.5 + 3.4.
        run_ms = 50 / 1.04**0.5
        assert found["latency_ms_p50"] == pytest.approx(trip_ms + run_ms + 0.3 + 3.9, abs=2.5)


numbers = st.floats(0, 100)


@settings(deadline=None)
@given(
    queue=st.integers(0, 300),
    running=st.integers(0, 4),
    run_s=st.floats(0, 1),
    left_s=st.floats(-1, 20),
    shedding=st.integers(0, 1),
    expected_s=numbers,
    chance=st.floats(0, 1),
)
def test_kernels_decide_as_production_does(
    queue: int,
    running: int,
    run_s: float,
    left_s: float,
    shedding: int,
    expected_s: float,
    chance: float,
) -> None:
    asked = (queue, QUEUE_LEN_MAX, running, run_s, 1, left_s, shedding)
    assert kernels_simulate._admit(*asked) == admission.admit(*asked)
    judged = (True, 1, decide.CLOSED, expected_s, left_s)
    assert kernels_simulate._fit(*judged) == decide.fit(*judged)
    assert simulate_storm._pause_s(run_s, chance) == backoff.pause_s(run_s, chance)
    assert simulate_storm._longer_s(run_s, 5.0) == backoff.longer_s(run_s, 5.0)
    watts = (run_s, 8.0, 45.0, 1.4)
    assert kernels_hours._draw_w(*watts) == pytest.approx(draw_w(*watts), rel=1e-12)
    stored = (run_s, left_s, 5.0, 1.0, 0.95)
    assert kernels_hours._battery_step(*stored) == pytest.approx(battery_step(*stored), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    nodes=st.integers(1, 400),
    per_s=st.floats(5, 500),
    down_s=st.floats(20, 600),
    spread=st.booleans(),
)
def test_a_storm_ends_with_everybody_back_and_no_server_beyond_its_rate(
    nodes: int, per_s: float, down_s: float, spread: bool
) -> None:
    found = simulate_storm.storm(
        "eu", nodes, down_s=down_s, logins_per_s=per_s, seed=4, spread=spread
    )
    assert found.logins.sum() == nodes
    assert found.attempts.sum() >= nodes
    assert (found.back_s > 0).all()
    assert found.logins.max() <= per_s + 1
    assert found.reconverged_s >= nodes / per_s * (1 - 1e-9)


@pytest.mark.parametrize("down_s", [6.0, 120.0])
def test_a_storm_is_what_a_plain_loop_over_a_heap_says(down_s: float) -> None:
    """The same pauses drawn from the same chances, with Python's own heap."""
    nodes, per_s, seed = 300, 10.0, 9
    chances = np.random.default_rng((seed, 88)).random(1 << 16).tolist()
    drawn = iter(chances)
    waiting = []
    for node in range(nodes):
        at_s, wait_s = (
            -down_s + next(drawn) * backoff.PING_S * backoff.PINGS_MAX,
            backoff.LOGIN_S_MIN,
        )
        while at_s < 0:
            at_s += backoff.LOGIN_TIMEOUT_S + backoff.pause_s(wait_s, next(drawn))
            wait_s = backoff.longer_s(wait_s, backoff.LOGIN_S_MAX)
        waiting.append((at_s, node, wait_s))
    heapq.heapify(waiting)
    free_s, back = 0.0, []
    while waiting:
        at_s, node, wait_s = heapq.heappop(waiting)
        ready_s = max(at_s, free_s) + 1 / per_s
        if ready_s - at_s > backoff.LOGIN_TIMEOUT_S:
            at_s += backoff.LOGIN_TIMEOUT_S + backoff.pause_s(wait_s, next(drawn))
            again = (at_s, node, backoff.longer_s(wait_s, backoff.LOGIN_S_MAX))
            heapq.heappush(waiting, again)
            continue
        free_s = ready_s
        back.append(ready_s)
    found = simulate_storm.storm("eu", nodes, down_s=down_s, logins_per_s=per_s, seed=seed)
    assert found.back_s.tolist() == sorted(back)


def test_chance_in_the_pauses_lowers_the_peak_of_a_storm() -> None:
    both = [
        simulate_storm.storm("eu", 4000, down_s=600, logins_per_s=200, seed=2, spread=spread)
        for spread in (True, False)
    ]
    assert both[0].attempts.max() * 3 < both[1].attempts.max() == 4000
    assert both[0].reconverged_s < both[1].reconverged_s
