"""Headroom: losses simulated by hand and by events, and the servers that ride through them."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.plan.assumptions import assumptions
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.expression import Expression
from skerry.plan.capacity.headroom import Headroom, Loss, busiest_s, headroom
from skerry.plan.capacity.kernels_fifo import Series, waits_s
from skerry.plan.capacity.kernels_loss import waits_with_loss_s
from skerry.plan.capacity.least import Simulator, size
from skerry.plan.capacity.target import parse_target
from skerry.plan.capacity.trace import Source, Work, read_work

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "capacity" / "requests.csv"
SERVICE = "0.05+0.0002*context_tokens+0.02*generated_tokens"
gaps = st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=40)


def test_one_server_lost_by_hand() -> None:
    """It would be done at 4; it is lost at 3, back at 10, and begins again then."""
    waits = waits_with_loss_s(
        np.array([0.0, 1.0]), np.array([4.0, 1.0]), 1, lost=1, lost_at_s=3.0, back_at_s=10.0
    )
    assert waits.tolist() == [10.0, 13.0]


def test_the_other_server_takes_over_by_hand() -> None:
    """Busy until 6 and 5; the busier is lost at 2: its work begins again at 5, then the third."""
    waits = waits_with_loss_s(
        np.array([0.0, 0.0, 1.0]),
        np.array([6.0, 5.0, 1.0]),
        2,
        lost=1,
        lost_at_s=2.0,
        back_at_s=100.0,
    )
    assert waits.tolist() == [5.0, 0.0, 10.0]


@settings(deadline=None)
@given(gaps, st.integers(1, 6), st.integers(0, 2**31))
def test_without_a_loss_it_is_the_plain_queue(gap: list[float], servers: int, seed: int) -> None:
    arrival_s = np.cumsum(gap)
    service_s = np.random.default_rng(seed).exponential(1.0, len(gap))
    found = waits_with_loss_s(arrival_s, service_s, servers, lost=0, lost_at_s=0, back_at_s=0)
    assert (found == waits_s(arrival_s, service_s, servers)).all()


@settings(deadline=None)
@given(gaps, st.integers(2, 6), st.integers(0, 2**31))
def test_a_server_that_is_never_there_is_one_less(
    gap: list[float], servers: int, seed: int
) -> None:
    arrival_s = np.cumsum(gap)
    service_s = np.random.default_rng(seed).exponential(1.0, len(gap))
    found = waits_with_loss_s(
        arrival_s, service_s, servers, lost=1, lost_at_s=0.0, back_at_s=np.inf
    )
    assert (found == waits_s(arrival_s, service_s, servers - 1)).all()


def by_events(
    arrival_s: Series, service_s: Series, servers: int, lost: int, lost_at: float, back_at: float
) -> list[float]:
    """The same in simpy: servers are processes that take from a store in order."""
    world = simpy.Environment()
    queue: list[int] = []
    idle: list[simpy.Event] = []
    waits = [0.0] * len(arrival_s)
    ends: dict[int, float] = {}
    work: dict[int, int] = {}
    away: set[int] = set()

    def wake() -> None:
        while idle:
            idle.pop().succeed()

    def server(own: int) -> Generator[Any, Any, None]:
        while True:
            while own in away or not queue:
                event = world.event()
                idle.append(event)
                yield event
            request = queue.pop(0)
            waits[request] = world.now - arrival_s[request]
            work[own], ends[own] = request, world.now + service_s[request]
            try:
                yield world.timeout(service_s[request])
            except simpy.Interrupt:
                pass
            work.pop(own, None)

    def arrivals() -> Generator[Any, Any, None]:
        for index, at in enumerate(arrival_s):
            yield world.timeout(at - world.now)
            queue.append(index)
            wake()

    def loss() -> Generator[Any, Any, None]:
        yield world.timeout(lost_at)
        busy = sorted(work, key=lambda own: -ends[own])[:lost]
        spare = [own for own in range(servers) if own not in work][: lost - len(busy)]
        queue[:0] = sorted(work[own] for own in busy)
        away.update(busy + spare)
        for own in busy:
            processes[own].interrupt()
        wake()
        yield world.timeout(back_at - lost_at)
        away.clear()
        wake()

    processes = [world.process(server(own)) for own in range(servers)]
    world.process(arrivals())
    if lost:
        world.process(loss())
    world.run(until=10_000)
    return waits


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.floats(0.01, 3), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 2**31),
)
def test_losses_are_those_of_a_simulation_of_events(
    gap: list[float], servers: int, lost: int, seed: int
) -> None:
    """Random real times, so that no two things happen at once."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(gap)
    service_s = rng.exponential(2.0, len(gap)) + 0.001
    lost = min(lost, servers)
    at = float(rng.uniform(0, arrival_s[-1] + 1))
    back = at + float(rng.exponential(5.0)) + 0.001
    found = waits_with_loss_s(
        arrival_s, service_s, servers, lost=lost, lost_at_s=at, back_at_s=back
    )
    assert found == pytest.approx(by_events(arrival_s, service_s, servers, lost, at, back))


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator.of(read_work(Source(trace=EXAMPLE), Expression(SERVICE))[0])


@pytest.fixture(scope="module")
def found(simulator: Simulator) -> dict[Loss, Headroom]:
    target = parse_target("p99=15s")
    least = size(simulator, target).servers_least
    assert least == 32
    inputs = assumptions("capacity", settings=["node_repair_s=120", "site_repair_s=120"])
    return {
        loss: headroom(simulator, [target], least, loss, sites=4, inputs=inputs) for loss in Loss
    }


def test_one_more_rides_through_any_one_away(found: dict[Loss, Headroom]) -> None:
    assert found[Loss.N_PLUS_1].servers == 33
    assert found[Loss.N_PLUS_1].lost == 1


def test_a_short_loss_needs_no_more_than_one_away_for_ever(found: dict[Loss, Headroom]) -> None:
    assert found[Loss.NODE].servers in (32, 33)
    assert found[Loss.NODE].back_at_s - found[Loss.NODE].lost_at_s == pytest.approx(120)


def test_a_site_lost_needs_more_than_a_node_lost(found: dict[Loss, Headroom]) -> None:
    site = found[Loss.SITE]
    assert site.servers == 43
    assert site.lost == 11
    assert site.sojourn_s_p99_without is not None
    assert site.sojourn_s_p99 <= 15 < site.sojourn_s_p99_without


def test_work_that_is_late_once_it_begins_again_has_no_number() -> None:
    """Seven requests of 10 s, and p99 within 11 s: the one that is interrupted takes 13 s."""
    arrival_s = np.array([0.0, 1.0, 2.0, 5.0, 5.1, 5.2, 5.3])
    work = Work(source="test", arrival_s=arrival_s, service_s=np.full(7, 10.0))
    found = headroom(
        Simulator.of(work),
        [parse_target("p99=11s")],
        7,
        Loss.NODE,
        sites=1,
        inputs=assumptions("capacity", settings=["node_repair_s=3"]),
    )
    assert (found.servers, found.lost_at_s) == (None, 5.0)
    assert "begins again is late" in found.reason


def test_the_only_site_cannot_be_lost(simulator: Simulator) -> None:
    with pytest.raises(CapacityError, match="leaves nothing"):
        headroom(
            simulator,
            [parse_target("p99=15s")],
            32,
            Loss.SITE,
            sites=1,
            inputs=assumptions("capacity"),
        )


def test_the_busiest_time_is_where_most_work_comes() -> None:
    work = Work(
        source="test",
        arrival_s=np.array([0.0, 50.0, 51.0, 90.0]),
        service_s=np.array([3.0, 2.0, 2.0, 3.9]),
    )
    assert busiest_s(work, 10.0) == 50.0
    assert busiest_s(work, 0.5) == 90.0
