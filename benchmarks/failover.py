"""Failover from the client's side: a killed process, a silent black hole, a node of two killed.

Two real HTTP servers as processes; one `skerry.client.AsyncClient` with four requests
under way at a time. One server is killed (SIGKILL) or frozen (SIGSTOP: its kernel still
takes connections, nobody answers) in the middle. In the third case both servers are
nodes of one site and share the load of sixteen tasks that never pause; the reason in each
answer tells which requests had to be sent again. Prints one JSON document.

    python benchmarks/failover.py [--requests 1200] [--service-ms 3]

Held: killed: total p95 under 50 ms. Black hole: added p99 at most twice the healthy
p95, and slow requests at most one per task. Node of two: at most the requests in flight
were sent again. Nothing failed in any.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from skerry.client import AsyncClient
from skerry.client.endpoints import Endpoints
from skerry.schema.desired import Peer
from skerry.schema.policy import Place, Policy, Residency, Stays

TASKS = 4
LOAD_TASKS = 16
SERVER = Path(__file__).with_name("oip_echo.py")
INPUT = {"x": np.zeros((1, 64), np.float32)}


class Server:
    """One echo server as a process."""

    def __init__(self, node: str, service_ms: float) -> None:
        command = [sys.executable, str(SERVER), "--node", node, "--service-ms", str(service_ms)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def close(self) -> None:
        """Kill it and wait for its end; a frozen one too."""
        self.process.kill()
        self.process.wait()


async def load(
    client: AsyncClient,
    requests: int,
    fault: tuple[int, int] | None,
    *,
    tasks: int = TASKS,
    pause_s: float = 0.002,
) -> dict:
    """Send requests from some tasks; `fault` is (process id, signal), sent half way through."""
    latencies: list[float] = []
    failed: list[str] = []
    reasons: dict[str, int] = {}
    sent = iter(range(requests))

    async def task() -> None:
        for number in sent:
            if fault and number == requests // 2:
                os.kill(*fault)
            started = time.perf_counter()
            try:
                answer = await client.infer("echo", INPUT)
                reason = answer.fallback_reason or "first choice"
                reasons[reason] = reasons.get(reason, 0) + 1
            except Exception as error:
                failed.append(f"{type(error).__name__}: {error}")
            latencies.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(task() for _ in range(tasks)))
    p50, p95, p99 = map(float, np.percentile(latencies, [50, 95, 99]))
    return {
        "requests": requests,
        "failed": len(failed),
        "errors": failed[:3],
        "reasons": reasons,
        "p50_ms": round(p50, 2),
        "p95_ms": round(p95, 2),
        "p99_ms": round(p99, 2),
        "max_ms": round(max(latencies), 2),
        "latencies": latencies,
    }


async def scenario(kind: str, requests: int, service_ms: float) -> dict:
    """Measure healthy traffic, then the same with the fault half way through."""
    first, second = Server("a/1", service_ms), Server("b/1", service_ms)
    try:
        async with AsyncClient([first.url, second.url]) as client:
            await load(client, 200, None)
            healthy = await load(client, requests, None)
            number = {"killed": signal.SIGKILL, "black-hole": signal.SIGSTOP}[kind]
            faulty = await load(client, requests, (first.process.pid, number))
    finally:
        first.close()
        second.close()
    slow_ms = 3 * healthy["p95_ms"]
    slow = sum(int(latency > slow_ms) for latency in faulty.pop("latencies"))
    slow_before = sum(int(latency > slow_ms) for latency in healthy.pop("latencies"))
    added = faulty["p99_ms"] - healthy["p99_ms"]
    return {
        "scenario": kind,
        "healthy": healthy,
        "faulty": faulty,
        "added_p99_ms": round(added, 2),
        "slow_requests": slow,
        "slow_requests_when_healthy": slow_before,
        "held": faulty["failed"] == 0
        and (faulty["p95_ms"] < 50 if kind == "killed" else added <= 2 * healthy["p95_ms"]),
    }


def one_site(servers: list[Server]) -> Endpoints:
    """Return endpoints that are nodes of one site, so that the load is spread over them."""
    place = Place(site="a", region="r", jurisdiction="NO")
    policy = Policy(
        fleet="f",
        generation=1,
        data_classes={"public": Residency(stays=Stays.SITE)},
        model_classes={"echo": ("public",)},
        places={"a": place},
    )
    peers = tuple(
        Peer(
            node=f"a/{number}",
            site="a",
            region="r",
            tier="closet",
            url=server.url,
            round_trip_ms=0.1,
        )
        for number, server in enumerate(servers, 1)
    )
    return Endpoints(peers=peers, tier_order=("closet",), place=place, policy=policy)


async def node_of_two(requests: int, service_ms: float) -> dict:
    """Kill one of a site's two nodes under full load; count what was sent again, and failed."""
    servers = [Server("a/1", service_ms), Server("a/2", service_ms)]
    try:
        async with AsyncClient(one_site(servers)) as client:
            healthy = await load(client, requests, None, tasks=LOAD_TASKS, pause_s=0)
            fault = (servers[0].process.pid, signal.SIGKILL)
            faulty = await load(client, requests, fault, tasks=LOAD_TASKS, pause_s=0)
    finally:
        for server in servers:
            server.close()
    again = sum(count for reason, count in faulty["reasons"].items() if reason == "down")
    del healthy["latencies"], faulty["latencies"]
    return {
        "scenario": "node of two killed under load",
        "healthy": healthy,
        "faulty": faulty,
        "in_flight_max": LOAD_TASKS,
        "sent_again": again,
        "held": faulty["failed"] == 0 and again <= LOAD_TASKS,
    }


async def main() -> int:
    """Run every scenario; 0 only if all held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1200)
    parser.add_argument("--service-ms", type=float, default=3.0)
    chosen = parser.parse_args()
    results = [
        await scenario(kind, chosen.requests, chosen.service_ms)
        for kind in ("killed", "black-hole")
    ]
    results.append(await node_of_two(chosen.requests, chosen.service_ms))
    print(json.dumps(results, indent=2))
    return 0 if all(result["held"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
