"""Waiting in queues by formula: the check and the start value beside a simulation.

    Erlang B   B_k = a B_{k-1} / (k + a B_{k-1}),  B_0 = 1
    Erlang C   P(wait) = c B / (c - a (1 - B))
    M/M/c      mean wait = P(wait) / (c/S - lambda);  P(W > t) = P(wait) exp(-(c/S - lambda) t)
    M/D/c      0.5 [1 + min(1/4, (1-rho)(c-1)(sqrt(4+5c)-2) / (16 rho c))] * mean wait of M/M/c
    M/G/c      (1+s) W_MM W_MD / (2 s W_MD + (1-s) W_MM)
    G/G/c      (ca+s) / (1+s) * mean wait of M/G/c, only for ca below 2

a is the offered load in erlangs (arrival rate times mean service time), c the number of
servers, rho = a/c, s the squared coefficient of variation (SCV) of service times, ca that of
times between arrivals. All but the last want Poisson arrivals, and all a steady rate. A
trace with bursts waits longer, often many times so: there only a simulation sizes.

Units:   waits in units of the service time that is given; 1 by default.
Errors:  ValueError, for a load or a count that cannot be; a queue that never settles
         (a >= c) waits for ever: infinity.
Source:  Erlang 1917. Cosmetatos, "Approximate explicit formulae for the average queueing
         time in M/D/r and D/M/r", INFOR 13(3), 1975; its bound of 1/4, for light loads:
         Whitt, "Approximations for the GI/G/m queue", Prod. Oper. Manag. 2(2), 1993.
         Kimura, "Approximations for multi-server queues", Queueing Systems 17, 1994.
"""

import math
from typing import Final

ARRIVAL_SCV_MAX: Final = 2.0
"""From here on arrivals come in bursts that no formula here knows; simulate."""


def erlang_b(servers: int, load_erlang: float) -> float:
    """Return the share of requests lost where nobody may wait."""
    _check(servers, load_erlang)
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load_erlang * blocked / (k + load_erlang * blocked)
    return blocked


def erlang_c(servers: int, load_erlang: float) -> float:
    """Return the probability that a request waits at all; 1 for a queue that never settles."""
    _check(servers, load_erlang)
    if load_erlang >= servers:
        return 1.0
    blocked = erlang_b(servers, load_erlang)
    return servers * blocked / (servers - load_erlang * (1.0 - blocked))


def wait_mean(servers: int, load_erlang: float, *, service: float = 1.0) -> float:
    """Return the mean wait of M/M/c."""
    if load_erlang >= servers:
        return math.inf
    return erlang_c(servers, load_erlang) * service / (servers - load_erlang)


def wait_quantile(servers: int, load_erlang: float, share: float, *, service: float = 1.0) -> float:
    """Return the wait that `share` (0 to 1) of the requests do not exceed in M/M/c."""
    if not 0 <= share < 1:
        raise ValueError(f"share is {share:g}, wanted 0 to 1")
    if load_erlang >= servers:
        return math.inf
    waits = erlang_c(servers, load_erlang)
    if waits <= 1.0 - share:
        return 0.0
    return math.log(waits / (1.0 - share)) * service / (servers - load_erlang)


def wait_exceeds(servers: int, load_erlang: float, wait: float, *, service: float = 1.0) -> float:
    """Return the probability of waiting longer than `wait` in M/M/c."""
    if load_erlang >= servers:
        return 1.0
    return erlang_c(servers, load_erlang) * math.exp(-(servers - load_erlang) * wait / service)


def wait_mean_fixed(servers: int, load_erlang: float, *, service: float = 1.0) -> float:
    """Return the mean wait of M/D/c: every service takes the same time (Cosmetatos)."""
    exponential = wait_mean(servers, load_erlang, service=service)
    if exponential in (0.0, math.inf):
        return exponential
    used = load_erlang / servers
    spread = (servers - 1) * (math.sqrt(4 + 5 * servers) - 2) / (16 * used * servers)
    return 0.5 * (1 + min(0.25, (1 - used) * spread)) * exponential


def wait_mean_general(
    servers: int, load_erlang: float, service_scv: float, *, service: float = 1.0
) -> float:
    """Return the mean wait of M/G/c by Kimura, from the SCV of service times."""
    if not 0 <= service_scv < math.inf:
        raise ValueError(f"service_scv is {service_scv:g}, wanted 0 or more")
    exponential = wait_mean(servers, load_erlang, service=service)
    fixed = wait_mean_fixed(servers, load_erlang, service=service)
    return wait_mean_between(service_scv, exponential, fixed)


def wait_mean_between(service_scv: float, exponential: float, fixed: float) -> float:
    """Return Kimura's mean wait from those of M/M/c and M/D/c."""
    if exponential in (0.0, math.inf):
        return exponential
    below = 2 * service_scv * fixed + (1 - service_scv) * exponential
    if below <= 0:  # far from anything Kimura fitted: the two-moment rule has no such pole
        return (1 + service_scv) / 2 * exponential
    return (1 + service_scv) * exponential * fixed / below


def wait_mean_any(
    servers: int,
    load_erlang: float,
    service_scv: float,
    arrival_scv: float,
    *,
    service: float = 1.0,
) -> float | None:
    """Return the mean wait of G/G/c; None where arrivals vary too much for any formula."""
    if not 0 <= arrival_scv < ARRIVAL_SCV_MAX:
        return None
    general = wait_mean_general(servers, load_erlang, service_scv, service=service)
    return (arrival_scv + service_scv) / (1 + service_scv) * general


def servers_least(load_erlang: float, *, wait: float, share: float, service: float = 1.0) -> int:
    """Return the least servers so that at most `share` of requests wait longer than `wait`."""
    if not 0 < share < 1:
        raise ValueError(f"share is {share:g}, wanted above 0 and below 1")
    _check(1, load_erlang)
    servers, blocked = 0, 1.0
    while True:  # the recursion of Erlang B, one server more at each turn
        servers += 1
        blocked = load_erlang * blocked / (servers + load_erlang * blocked)
        if servers <= load_erlang:
            continue
        waits = servers * blocked / (servers - load_erlang * (1.0 - blocked))
        if waits * math.exp(-(servers - load_erlang) * wait / service) <= share:
            return servers


def _check(servers: int, load_erlang: float) -> None:
    if servers < 1:
        raise ValueError(f"servers is {servers}, wanted 1 or more")
    if not 0 <= load_erlang < math.inf:
        raise ValueError(f"load_erlang is {load_erlang:g}, wanted 0 or more")
