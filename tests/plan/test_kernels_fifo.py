"""The queue's kernels: equal to a simulation of events and to each other, monotone."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.plan.capacity.kernels_fifo import Series, wait_heap, wait_row, waits_s

gaps = st.lists(st.sampled_from([0.0, 0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=60)


def by_events(arrival_s: Series, service_s: Series, servers: int) -> list[float]:
    """The same queue in simpy: the oracle."""
    world = simpy.Environment()
    desk = simpy.Resource(world, capacity=servers)
    waits = [0.0] * len(arrival_s)

    def request(index: int) -> Generator[Any, Any, None]:
        yield world.timeout(arrival_s[index])
        with desk.request() as turn:
            yield turn
            waits[index] = world.now - arrival_s[index]
            yield world.timeout(service_s[index])

    for index in range(len(arrival_s)):
        world.process(request(index))
    world.run()
    return waits


@settings(deadline=None, max_examples=60)
@given(gaps, st.integers(1, 6), st.integers(0, 2**31))
def test_waits_are_those_of_a_simulation_of_events(gap: list[float], c: int, seed: int) -> None:
    arrival_s = np.cumsum(gap)
    service_s = np.random.default_rng(seed).choice([0.25, 0.5, 1.0, 4.0], len(gap))
    assert waits_s(arrival_s, service_s, c).tolist() == by_events(arrival_s, service_s, c)


@settings(deadline=None)
@given(gaps, st.integers(1, 300), st.integers(0, 2**31))
def test_the_row_and_the_heap_agree_to_the_last_bit(gap: list[float], c: int, seed: int) -> None:
    arrival_s = np.cumsum(gap)
    service_s = np.random.default_rng(seed).exponential(1.0, len(gap))
    row, heap = np.empty(len(gap)), np.empty(len(gap))
    wait_row(arrival_s, service_s, c, row)
    wait_heap(arrival_s, service_s, c, heap)
    assert (row == heap).all()


@settings(deadline=None)
@given(gaps, st.integers(1, 40), st.integers(0, 2**31))
def test_nobody_waits_longer_with_one_server_more(gap: list[float], c: int, seed: int) -> None:
    arrival_s = np.cumsum(gap)
    service_s = np.random.default_rng(seed).exponential(2.0, len(gap))
    more, less = waits_s(arrival_s, service_s, c + 1), waits_s(arrival_s, service_s, c)
    assert (more <= less + 1e-9).all()
    assert (more >= 0).all()


def test_one_server_by_hand() -> None:
    waits = waits_s(np.array([0.0, 1.0, 1.0, 9.0]), np.array([3.0, 1.0, 2.0, 1.0]), 1)
    assert waits.tolist() == [0.0, 2.0, 3.0, 0.0]


@pytest.mark.parametrize("servers", [30, 500])
def test_both_forms_are_reached_by_the_number_of_servers(servers: int) -> None:
    rng = np.random.default_rng(2)
    arrival_s, service_s = np.sort(rng.random(3000)), rng.exponential(0.3, 3000)
    wanted = np.empty(3000)
    wait_heap(arrival_s, service_s, servers, wanted)
    assert (waits_s(arrival_s, service_s, servers) == wanted).all()
