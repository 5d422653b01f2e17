"""Servers that come and go: equal to events by hand, thrifty on a day, honest on a flat hour."""

import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.plan.assumptions import assumptions
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.kernels_fifo import waits_s
from skerry.plan.capacity.kernels_scaled import BY_RULE, Ints, Series, wait_scaled, wanted_servers
from skerry.plan.capacity.least import Simulator, size
from skerry.plan.capacity.scaling import (
    SPARE_RATIO,
    Profile,
    autoscale,
    hours_of,
    profile,
    scheduled_waits_s,
)
from skerry.plan.capacity.target import parse_target
from skerry.plan.capacity.trace import Work

MIDNIGHT = 1_704_067_200.0  # 2024-01-01T00:00:00Z
TARGET = parse_target("p95=30s")


def scheduled(
    arrival_s: Series, service_s: Series, schedule: Ints, start: int, startup_s: float = 0.0
) -> tuple[Series, float, int, int]:
    """Numbers change at 1, 2, 3 ... seconds."""
    out = np.empty(len(arrival_s))
    high = int(max(start, schedule.max()))
    paid_s, most, changes = wait_scaled(
        arrival_s, service_s, schedule, 1.0, 1.0, startup_s, 1.0, 1.0, 0.0, start, 1, high, out
    )
    return out, paid_s, most, changes


def by_steps(arrival_s: Series, service_s: Series, schedule: Ints, start: int) -> list[float]:
    """The same by a clock of events: arrivals, ends, and changes, in order of time."""
    events: list[tuple[float, int, int]] = [(at, 2, i) for i, at in enumerate(arrival_s)]
    events += [(1.0 + k, 1, int(n)) for k, n in enumerate(schedule)]
    heapq.heapify(events)
    waits, queue = [0.0] * len(arrival_s), list[int]()
    ends = [-math.inf] * start  # of the servers that take work
    while events:
        at, kind, value = heapq.heappop(events)
        if kind == 1:
            while len(ends) > value:
                ends.remove(min(ends))
            ends += [-math.inf] * (value - len(ends))
        elif kind == 2:
            queue.append(value)
        while queue and min(ends) <= at:
            i = queue.pop(0)
            waits[i] = at - arrival_s[i]
            ends.remove(min(ends))
            ends.append(at + service_s[i])
            heapq.heappush(events, (at + service_s[i], 0, i))
    return waits


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.floats(0.001, 1), min_size=1, max_size=40),
    st.integers(1, 4),
    st.lists(st.integers(1, 5), min_size=1, max_size=12),
    st.integers(0, 2**31),
)
def test_a_schedule_is_what_a_clock_of_events_makes_of_it(
    gap: list[float], start: int, numbers: list[int], seed: int
) -> None:
    arrival_s = np.cumsum(gap)
    service_s = np.random.default_rng(seed).exponential(1.0, len(gap)) + 0.01
    schedule = np.array(numbers)
    found = scheduled(arrival_s, service_s, schedule, start)[0]
    assert found == pytest.approx(by_steps(arrival_s, service_s, schedule, start), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.3, 1.0, 4.0]), min_size=1, max_size=40), st.integers(1, 6))
def test_a_schedule_that_never_changes_is_the_plain_queue(gap: list[float], servers: int) -> None:
    arrival_s = np.cumsum(gap)
    service_s = np.random.default_rng(1).exponential(1.0, len(gap))
    found, paid_s, most, changes = scheduled(arrival_s, service_s, np.array([servers]), servers)
    assert (found == waits_s(arrival_s, service_s, servers)).all()
    assert (most, changes) == (servers, 0)
    assert paid_s >= servers * arrival_s[-1]


def test_a_server_helps_once_it_has_started_up() -> None:
    """One server until 1, then two, of which the second is ready at 4: by hand."""
    arrival_s, service_s = np.array([0.0, 0.5, 0.6]), np.array([10.0, 2.0, 2.0])
    found, paid_s, most, changes = scheduled(arrival_s, service_s, np.array([2]), 1, startup_s=3.0)
    assert found == pytest.approx([0.0, 3.5, 5.4])
    assert (most, changes) == (2, 1)
    assert paid_s == pytest.approx(10 + (8 - 1))


def test_a_server_let_go_is_paid_until_its_work_ends() -> None:
    arrival_s, service_s = np.array([0.0, 0.1, 5.0]), np.array([3.0, 0.5, 1.0])
    found, paid_s, _, changes = scheduled(arrival_s, service_s, np.array([1]), 2)
    assert found.tolist() == [0.0, 0.0, 0.0]
    assert changes == 1
    assert paid_s == pytest.approx(1 + 6)  # the idle one goes at 1; the other ends its last at 6


def test_the_rule_wants_enough_for_the_work_it_sees() -> None:
    assert wanted_servers(60.0, 0.0, 60.0, 0.5, 1, 99) == 2
    assert wanted_servers(60.0, 30.0, 60.0, 0.5, 1, 99) == 3
    assert wanted_servers(0.0, 0.0, 60.0, 0.5, 1, 99) == 1
    assert wanted_servers(1e9, 0.0, 60.0, 0.5, 1, 99) == 99


def test_the_rule_goes_up_at_once_and_down_after_a_while() -> None:
    """10 a second of 1 s each for 100 s, then a trickle: about 10 servers, then one, much later."""
    busy = np.arange(0, 100, 0.1)
    arrival_s = np.concatenate([busy, np.arange(100.0, 1000.0, 10.0)])
    service_s = np.ones(len(arrival_s))
    out = np.empty(len(arrival_s))
    paid_s, most, changes = wait_scaled(
        arrival_s, service_s, BY_RULE, 5.0, 5.0, 2.0, 10.0, 0.8, 300.0, 1, 1, 50, out
    )
    assert 13 <= most <= 30
    assert changes >= 2
    assert out[600:1000].max() < 1.5  # the queue of the cold start is gone
    assert 13 * 300 < paid_s < most * 600


def day(seed: int = 2) -> Work:
    """Two days: up to 24 erlangs at 14:00, 2 at night."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.random(40_000)) * 2 * 86_400
    rate = 0.15 + 0.85 * np.maximum(0, np.cos((at / 3600 - 14) / 24 * 2 * math.pi)) ** 2
    arrival_s = at[rng.random(len(at)) < rate]
    return Work(
        source="test",
        arrival_s=arrival_s - arrival_s[0],
        service_s=rng.gamma(2.0, 30.0, len(arrival_s)) / 10,
        start_unix_s=MIDNIGHT + float(arrival_s[0]),
    )


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator.of(day())


@pytest.fixture(scope="module")
def hourly(simulator: Simulator) -> Profile:
    fixed = size(simulator, TARGET).servers_least
    assert fixed is not None
    return profile(simulator, [TARGET], fixed, zone=None, inputs=assumptions("capacity"))


def test_a_schedule_by_the_hour_saves_on_a_day_and_keeps_every_hour(
    simulator: Simulator, hourly: Profile
) -> None:
    counts = {row.hour: row.servers for row in hourly.hours}
    assert len(counts) == 24
    assert counts["14:00"] > counts["03:00"]
    work = simulator.work
    hours = hours_of(work, None)
    numbers = np.array([counts[name] for name in hours.names])
    sojourn_s = scheduled_waits_s(work, hours, numbers)[0] + work.service_s
    for slot in range(24):
        own = hours.of == slot
        limit_s = max(30.0, np.quantile(work.service_s[own], 0.95) * (1 + SPARE_RATIO))
        assert TARGET.value_s(sojourn_s[own]) <= limit_s


def test_no_hour_of_the_schedule_could_do_with_one_less(
    simulator: Simulator, hourly: Profile
) -> None:
    work = simulator.work
    hours = hours_of(work, None)
    numbers = np.array([row.servers for row in hourly.hours])
    for slot in np.flatnonzero(numbers > 1)[:6]:
        fewer = numbers.copy()
        fewer[slot] -= 1
        sojourn_s = scheduled_waits_s(work, hours, fewer)[0] + work.service_s
        assert any(TARGET.value_s(sojourn_s[hours.of == s]) > 30.0 for s in range(24))


def test_an_autoscaler_keeps_the_target_at_the_use_it_names(simulator: Simulator) -> None:
    fixed = size(simulator, TARGET).servers_least
    assert fixed is not None
    found = autoscale(simulator, [TARGET], fixed, assumptions("capacity"))
    assert found.used_ratio is not None
    assert found.servers_most is not None
    assert found.servers_mean is not None
    assert found.servers_mean < found.servers_most
    slow = assumptions("capacity", settings=["startup_s=600"])
    late = autoscale(simulator, [TARGET], fixed, slow)
    assert late.used_ratio is None or late.used_ratio <= found.used_ratio


def test_a_start_up_slower_than_any_burst_is_said_to_be_too_slow() -> None:
    """Nothing for an hour, then 400 at once, and again: no rule is there in time."""
    arrival_s = np.repeat(np.arange(0.0, 36_000.0, 3600.0), 400)
    work = Work(source="test", arrival_s=arrival_s, service_s=np.ones(len(arrival_s)))
    found = autoscale(Simulator.of(work), [parse_target("p95=2s")], 400, assumptions("capacity"))
    assert found.used_ratio is None
    assert "too slow" in found.reason


def test_hours_follow_the_clock_of_the_zone() -> None:
    """From 01:30 UTC: 02:30 in Berlin, where the clock jumps from 02:00 to 03:00 on 31 March."""
    start = 1_711_848_600.0 - 3600  # 2024-03-31T00:30:00Z, 01:30 in Berlin
    work = Work(
        source="test",
        arrival_s=np.array([0.0, 1799.0, 1800.0, 5400.0]),
        service_s=np.ones(4),
        start_unix_s=start,
    )
    hours = hours_of(work, "Europe/Berlin")
    assert hours.first_s == 1800
    assert hours.slot.tolist() == [1, 3, 4]
    assert hours.of.tolist() == [1, 1, 3, 4]
    assert hours.seconds[[1, 3, 4]].tolist() == [1800, 3600, 0]


def test_a_trace_in_seconds_has_hours_of_its_own_and_not_too_many() -> None:
    work = Work(source="test", arrival_s=np.array([0.0, 4000.0]), service_s=np.ones(2))
    hours = hours_of(work, None)
    assert hours.names == ("hour 0", "hour 1")
    assert hours.seconds.tolist() == [3600, 400]
    long = Work(source="test", arrival_s=np.array([0.0, 1e6]), service_s=np.ones(2))
    with pytest.raises(CapacityError, match="without a time of day"):
        hours_of(long, None)
