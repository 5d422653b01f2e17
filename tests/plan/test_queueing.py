"""Formulas of waiting: the exact ones at their anchors, the others near a simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.plan.capacity.kernels_fifo import waits_s
from skerry.plan.capacity.queueing import (
    erlang_b,
    erlang_c,
    servers_least,
    wait_exceeds,
    wait_mean,
    wait_mean_any,
    wait_mean_between,
    wait_mean_fixed,
    wait_mean_general,
    wait_quantile,
)


@pytest.mark.parametrize(
    ("servers", "load", "waits", "mean", "p95", "p99"),
    [
        (1, 0.5, 0.500000, 1.000000, 4.6052, 7.8240),
        (3, 2, 4 / 9, 0.444444, 2.1848, 3.7942),
        (5, 4, 0.554113, 0.554113, 2.4053, 4.0148),
        (10, 6, 0.101299, 0.025325, 0.1765, 0.5789),
        (10, 9, 0.668732, 0.668732, 2.5934, 4.2028),
        (50, 45, 0.363864, 0.072773, 0.3970, 0.7188),
        (100, 90, 0.216940, 0.021694, 0.1468, 0.3077),
        (500, 480, 0.266513, 0.013326, 0.0837, 0.1641),
    ],
)
def test_erlang_c_and_its_waits_are_exact(
    servers: int, load: float, waits: float, mean: float, p95: float, p99: float
) -> None:
    """Reference values in units of the mean service, written with the digits given here."""
    assert erlang_c(servers, load) == pytest.approx(waits, abs=1e-6)
    assert wait_mean(servers, load) == pytest.approx(mean, abs=1e-6)
    assert wait_quantile(servers, load, 0.95) == pytest.approx(p95, abs=6e-5)
    assert wait_quantile(servers, load, 0.99) == pytest.approx(p99, abs=6e-5)
    assert wait_exceeds(servers, load, wait_quantile(servers, load, 0.99)) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("load", "wait", "share", "servers"),
    [(45, 0.5, 0.01, 52), (90, 0.25, 0.01, 102), (8, 1, 0.05, 11)],
)
def test_the_least_servers_for_a_wait(load: float, wait: float, share: float, servers: int) -> None:
    assert servers_least(load, wait=wait, share=share) == servers
    assert wait_exceeds(servers, load, wait) <= share < wait_exceeds(servers - 1, load, wait)


@pytest.mark.parametrize(
    ("servers", "load", "scv", "simulated"),
    [(4, 3.2, 0.0, 0.3829), (16, 14.4, 0.0, 0.1934), (4, 3.2, 4.0, 1.702), (4, 3.2, 1.0, 0.74554)],
)
def test_kimura_is_within_3_percent_of_a_long_simulation(
    servers: int, load: float, scv: float, simulated: float
) -> None:
    """Means of 8 million simulated arrivals; the two-moment rule is 9.5 % off at SCV 4."""
    assert wait_mean_general(servers, load, scv) == pytest.approx(simulated, rel=0.03)


def test_cosmetatos_and_kimura_are_the_published_ones() -> None:
    assert wait_mean_fixed(4, 3.2) == pytest.approx(0.3854, abs=6e-5)
    assert wait_mean_fixed(16, 14.4) == pytest.approx(0.1934, abs=6e-5)
    # Kimura between the exact M/M/4 and the simulated M/D/4.
    assert wait_mean_between(4.0, wait_mean(4, 3.2), 0.3829) == pytest.approx(1.727, abs=6e-4)


@pytest.mark.parametrize("scv", [0.0, 1.0, 4.0])
def test_the_kernel_simulates_what_the_formulas_say(scv: float) -> None:
    """400,000 arrivals; means of waits at 0.8 load are known to some percent then."""
    rng = np.random.default_rng(5)
    count = 400_000
    arrival_s = np.cumsum(rng.exponential(1 / 3.2, count))
    if scv == 0.0:
        service_s = np.ones(count)
    elif scv == 1.0:
        service_s = rng.exponential(1.0, count)
    else:  # two exponentials with balanced means
        share = (1 + math.sqrt((scv - 1) / (scv + 1))) / 2
        often = rng.random(count) < share
        mean = np.where(often, 1 / (2 * share), 1 / (2 * (1 - share)))
        service_s = rng.exponential(1.0, count) * mean
    simulated = waits_s(arrival_s, service_s, 4).mean()
    assert wait_mean_general(4, 3.2, scv) == pytest.approx(simulated, rel=0.08)


@given(st.integers(1, 300), st.floats(0.01, 0.999))
def test_more_servers_never_wait_longer(servers: int, used: float) -> None:
    load = servers * used
    assert 0 <= erlang_b(servers, load) <= erlang_c(servers, load) <= 1
    assert wait_mean(servers + 1, load) <= wait_mean(servers, load)
    assert wait_mean_fixed(servers, load) <= wait_mean(servers, load) * (1 + 1e-12)


def test_arrivals_that_vary_scale_the_wait_and_bursts_have_no_formula() -> None:
    assert wait_mean_any(4, 3.2, 1.0, 1.0) == wait_mean_general(4, 3.2, 1.0)
    assert wait_mean_any(4, 3.2, 0.0, 0.0) == 0.0  # a clock that serves a clock
    half = wait_mean_any(4, 3.2, 1.0, 0.5)
    assert half == pytest.approx(0.75 * wait_mean_general(4, 3.2, 1.0))
    assert wait_mean_any(4, 3.2, 1.0, 2.0) is None


def test_a_queue_that_never_settles_waits_for_ever() -> None:
    assert erlang_c(3, 3.0) == 1.0
    assert wait_mean(3, 3.0) == wait_mean_general(3, 4.0, 0.5) == math.inf
    assert wait_quantile(3, 3.5, 0.5) == math.inf
    assert wait_exceeds(3, 3.5, 10.0) == 1.0


def test_no_load_never_waits() -> None:
    assert erlang_b(2, 0.0) == erlang_c(2, 0.0) == wait_mean(2, 0.0) == 0.0
    assert wait_mean_general(2, 0.0, 1.0) == wait_quantile(2, 0.0, 0.99) == 0.0


def test_values_that_cannot_be_are_named() -> None:
    with pytest.raises(ValueError, match="servers is 0"):
        erlang_b(0, 1.0)
    with pytest.raises(ValueError, match="load_erlang is nan"):
        erlang_c(1, math.nan)
    with pytest.raises(ValueError, match="service_scv is -1"):
        wait_mean_general(1, 0.5, -1.0)
    with pytest.raises(ValueError, match="share is 1"):
        wait_quantile(1, 0.5, 1.0)
    with pytest.raises(ValueError, match="share is 0"):
        servers_least(1.0, wait=1.0, share=0.0)
