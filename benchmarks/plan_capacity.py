"""Capacity: how fast queues are simulated, with simpy on the same cases in the same run.

    python benchmarks/plan_capacity.py [--requests 5000000] [--peer-requests 100000]

Every case is measured `ROUNDS` times and the best taken, ours and the peer's in turn. Both
sides give the same outputs: every wait, their mean, and three quantiles of the sojourn.
The waits of both are compared before a figure is printed. One core.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import simpy

from skerry.plan.capacity.kernels_batch import run_batched
from skerry.plan.capacity.kernels_fifo import Series, waits_s
from skerry.plan.capacity.kernels_overflow import overflow
from skerry.plan.capacity.target import figures

ROUNDS = 3
SERVERS = (4, 10, 30, 64, 500)
USED = 0.85
QUANTILES = (0.5, 0.95, 0.99)
EDGE_SITES, EDGE_SERVERS, REGION_SITES, REGION_SERVERS = 10_000, 4, 50, 64
EDGE_USED = 0.6


def best_s(work: Callable[[], object]) -> float:
    """Return the least time of several rounds."""
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return min(took)


def case(requests: int, servers: int, seed: int = 1) -> tuple[Series, Series]:
    """Return Poisson arrivals and exponential services at a steady use."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1 / (servers * USED), requests))
    return arrival_s, rng.exponential(1.0, requests)


def simpy_fifo(arrival_s: Series, service_s: Series, servers: int) -> tuple[Series, Any]:
    """The same queue in simpy: waits, and the same quantiles."""
    world = simpy.Environment()
    desk = simpy.Resource(world, capacity=servers)
    waits = np.empty(len(arrival_s))

    def request(index: int, at_s: float, takes_s: float) -> Generator[Any, Any, None]:
        with desk.request() as turn:
            yield turn
            waits[index] = world.now - at_s
            yield world.timeout(takes_s)

    def arrivals() -> Generator[Any, Any, None]:
        for index, (at_s, takes_s) in enumerate(
            zip(arrival_s.tolist(), service_s.tolist(), strict=True)
        ):
            yield world.timeout(at_s - world.now)
            world.process(request(index, at_s, takes_s))

    world.process(arrivals())
    world.run()
    return waits, np.quantile(waits + service_s, QUANTILES)


def fifo(requests: int, peer_requests: int) -> list[dict[str, float]]:
    """Measure the plain queue."""
    found = []
    for servers in SERVERS:
        arrival_s, service_s = case(requests, servers)
        waits_s(arrival_s[:100], service_s[:100], servers)
        bare_s = best_s(lambda a=arrival_s, s=service_s, c=servers: waits_s(a, s, c))
        whole_s = best_s(
            lambda a=arrival_s, s=service_s, c=servers: figures(c, c * USED, waits_s(a, s, c), s)
        )
        few = (arrival_s[:peer_requests], service_s[:peer_requests])
        peer_s = best_s(lambda few=few, c=servers: simpy_fifo(*few, c))
        same = np.allclose(simpy_fifo(*few, servers)[0], waits_s(*few, servers), atol=1e-6)
        if not same:
            raise SystemExit(f"{servers} servers: simpy and the kernel disagree")
        found.append(
            {
                "servers": servers,
                "bare_m_per_s": requests / bare_s / 1e6,
                "all_metrics_m_per_s": requests / whole_s / 1e6,
                "simpy_k_per_s": peer_requests / peer_s / 1e3,
                "ratio": requests / whole_s / (peer_requests / peer_s),
            }
        )
    return found


def overflow_case(
    requests: int, edges: int, regions: int, seed: int = 2
) -> tuple[Series, Series, Any]:
    """Return requests over many sites, each site used alike."""
    rng = np.random.default_rng(seed)
    rate = edges * EDGE_SERVERS * EDGE_USED
    arrival_s = np.cumsum(rng.exponential(1 / rate, requests))
    return arrival_s, rng.exponential(1.0, requests), rng.integers(0, edges, requests)


def run_overflow(
    arrival_s: Series, service_s: Series, site: Any, edges: int, regions: int
) -> tuple[Series, Any]:
    """Run ours: every sojourn, the share served at the edge, and quantiles."""
    sojourn_s, by = np.empty(len(site)), np.empty(len(site), np.int64)
    overflow(
        arrival_s,
        service_s,
        site,
        np.array([edges, regions]),
        np.array([EDGE_SERVERS, REGION_SERVERS]),
        np.array([0.0, 0.0]),
        np.array([0.0, np.inf]),
        sojourn_s,
        by,
    )
    return sojourn_s, (np.bincount(by) / len(by), np.quantile(sojourn_s, QUANTILES))


def simpy_overflow(
    arrival_s: Series, service_s: Series, site: Any, edges: int, regions: int
) -> tuple[Series, Any]:
    """The same in simpy: an edge site that is full passes on to its region, which queues."""
    world = simpy.Environment()
    edge = [simpy.Resource(world, capacity=EDGE_SERVERS) for _ in range(edges)]
    region = [simpy.Resource(world, capacity=REGION_SERVERS) for _ in range(regions)]
    sojourn_s, by = np.empty(len(site)), np.zeros(len(site), np.int64)

    def request(index: int, own: int, takes_s: float) -> Generator[Any, Any, None]:
        begun = world.now
        desk = edge[own]
        if desk.count >= EDGE_SERVERS:
            desk, by[index] = region[own * regions // edges], 1
        with desk.request() as turn:
            yield turn
            yield world.timeout(takes_s)
        sojourn_s[index] = world.now - begun

    def arrivals() -> Generator[Any, Any, None]:
        rows = zip(arrival_s.tolist(), service_s.tolist(), site.tolist(), strict=True)
        for index, (at_s, takes_s, own) in enumerate(rows):
            yield world.timeout(at_s - world.now)
            world.process(request(index, own, takes_s))

    world.process(arrivals())
    world.run()
    return sojourn_s, (np.bincount(by) / len(by), np.quantile(sojourn_s, QUANTILES))


def tiers(requests: int, peer_requests: int) -> dict[str, float]:
    """Measure overflow from 10,000 edge sites, and simpy's from 100."""
    whole = overflow_case(requests, EDGE_SITES, REGION_SITES)
    run_overflow(*(one[:100] for one in whole), EDGE_SITES, REGION_SITES)
    ours_s = best_s(lambda: run_overflow(*whole, EDGE_SITES, REGION_SITES))
    few = overflow_case(peer_requests, 100, 1)
    peer_s = best_s(lambda: simpy_overflow(*few, 100, 1))
    small_s = best_s(lambda: run_overflow(*few, 100, 1))
    ours, peer = run_overflow(*few, 100, 1), simpy_overflow(*few, 100, 1)
    if not np.allclose(ours[0], peer[0], atol=1e-6):
        raise SystemExit("overflow: simpy and the kernel disagree")
    return {
        "all_metrics_m_per_s": requests / ours_s / 1e6,
        "same_case_m_per_s": peer_requests / small_s / 1e6,
        "simpy_k_per_s": peer_requests / peer_s / 1e3,
        "ratio_same_case": peer_s / small_s,
    }


def batched(requests: int) -> dict[str, float]:
    """Measure twenty batching servers."""
    rng = np.random.default_rng(3)
    step_s = np.array([0.0, *np.linspace(0.0073, 0.0115, 64)])
    arrival_s = np.cumsum(rng.exponential(200 * step_s[-1] / (20 * 64 * 0.8), requests))
    steps = rng.exponential(200.0, requests) + 1
    out = np.empty(requests), np.empty(requests)
    run_batched(arrival_s[:10], steps[:10], 20, step_s, np.ones(65), out[0][:10], out[1][:10])
    took_s = best_s(lambda: run_batched(arrival_s, steps, 20, step_s, np.ones(65), *out))
    return {"servers": 20, "batch_limit": 64, "m_per_s": requests / took_s / 1e6}


def replayed(requests: int) -> dict[str, float]:
    """Measure a day of the clinic through production's decisions, plain and compiled."""
    from skerry.fleet.desired import policy_of
    from skerry.fleet.load import load_fleet
    from skerry.plan import replay, replay_compiled
    from skerry.plan.services import services_s
    from skerry.plan.trace import story_trace
    from skerry.trust.residency import ResidencyTable

    root = Path(__file__).parents[1]
    fleet = load_fleet(root / "examples" / "clinic" / "fleet.yaml")
    more: dict[str, Any] = {
        "services_s": services_s(fleet),
        "destinations": ResidencyTable(policy_of(fleet, generation=0)).destinations,
        "seed": 1,
    }
    small = story_trace(fleet, requests=max(requests // 20, 1), seed=1)
    whole = story_trace(fleet, requests=requests, seed=1)
    replay_compiled.replay(fleet, small, **more)
    plain_s = best_s(lambda: replay.replay(fleet, small, **more))
    ours_s = best_s(lambda: replay_compiled.replay(fleet, whole, **more))
    return {
        "compiled_m_per_s": requests / ours_s / 1e6,
        "plain_m_per_s": len(small) / plain_s / 1e6,
        "ratio": requests / ours_s / (len(small) / plain_s),
    }


def main() -> int:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--peer-requests", type=int, default=100_000)
    chosen = parser.parse_args()
    load = Path("/proc/loadavg")
    told = {
        "machine": platform.processor() or platform.machine(),
        "load_before": load.read_text().split()[:3] if load.exists() else [],
        "requests": chosen.requests,
        "peer_requests": chosen.peer_requests,
        "fifo": fifo(chosen.requests, chosen.peer_requests),
        "overflow": tiers(chosen.requests, chosen.peer_requests),
        "batched": batched(chosen.requests // 5),
        "production_replay": replayed(chosen.requests // 5),
        "load_after": load.read_text().split()[:3] if load.exists() else [],
    }
    print(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
