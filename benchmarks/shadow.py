"""What shadow mode and explanations cost the callers who asked for neither.

    python benchmarks/shadow.py [--turns 30]

One `skerry serve` answers; a client sends a share of its requests to a candidate too:
one that answers, one that is frozen (SIGSTOP: its kernel still takes connections), one
that is gone. Then plain requests are sent while another client has answers explained
without end. Ways take turns of a hundred requests, so that a busy moment meets all of
them alike; figures are over all turns of a way, in milliseconds. The client is in this
process, copies are made in its loop: the median shows what they cost.
"""

import argparse
import asyncio
import os
import signal
import time

import numpy as np
from measured import BUILD, tell
from served import fresh, served, small_model

from skerry.base.errors import SkerryError
from skerry.client import AsyncClient
from skerry.schema.shadow import ShadowRule

TURN = 100
SHARE = 0.2
GONE = "http://127.0.0.1:9"
X = {"x": np.ones((1, 4), np.float32)}


async def turn(client: AsyncClient) -> list[float]:
    """Send a hundred requests, one after the other; return what each took, in seconds."""
    took_s = []
    for _ in range(TURN):
        started_s = time.perf_counter()
        await client.infer("small", X)
        took_s.append(time.perf_counter() - started_s)
    return took_s


async def shadows(cloud: str, site: str, site_pid: int, turns: int) -> None:
    """Compare the caller's latency with no shadow, and with each kind of candidate."""

    def rule(to: str) -> ShadowRule:
        return ShadowRule(model="small", to=to, share=SHARE)

    took_s: dict[str, list[float]] = {"none": [], "answers": [], "frozen": [], "gone": []}
    async with (
        AsyncClient(cloud) as none,
        AsyncClient(cloud, shadow=rule(site)) as answers,
        AsyncClient(cloud, shadow=rule(site)) as frozen,
        AsyncClient(cloud, shadow=rule(GONE)) as gone,
    ):
        ways = {"none": none, "answers": answers, "frozen": frozen, "gone": gone}
        for client in ways.values():
            await turn(client)
        for _ in range(turns):
            for name, client in ways.items():
                if name == "frozen":
                    os.kill(site_pid, signal.SIGSTOP)
                try:
                    took_s[name] += await turn(client)
                finally:
                    os.kill(site_pid, signal.SIGCONT)
        compared = (await answers.shadow_records())[0].compared
    for name, values in took_s.items():
        for percent in (50, 99):
            tell(f"shadow-{name}-p{percent}", float(np.percentile(values, percent)) * 1000, "ms")
    tell("shadow-compared", compared, "answers")


async def explanations(url: str, turns: int) -> None:
    """Compare plain requests alone with plain requests beside explanations."""
    budget = {"explain": True, "explain_budget": 20_000, "explain_method": "shapley"}
    x = {"x": np.random.default_rng(0).normal(size=(1, 200)).astype(np.float32)}
    explained = 0

    async def without_end(client: AsyncClient) -> None:
        nonlocal explained
        while True:
            try:
                await client.infer("wide", x, parameters=budget, deadline_s=10)
                explained += 1
            except SkerryError:
                await asyncio.sleep(0.01)

    took_s: dict[str, list[float]] = {"alone": [], "beside": []}
    async with AsyncClient(url) as plain, AsyncClient(url) as asking:
        await turn(plain)
        for _ in range(turns):
            took_s["alone"] += await turn(plain)
            task = asyncio.ensure_future(without_end(asking))
            await asyncio.sleep(0.02)
            took_s["beside"] += await turn(plain)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.02)
    for name, values in took_s.items():
        for percent in (50, 99):
            tell(f"explain-{name}-p{percent}", float(np.percentile(values, percent)) * 1000, "ms")


def main() -> None:
    """Start the servers and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=30)
    turns = parser.parse_args().turns
    folder = fresh(BUILD / "shadow")
    for name in ("cloud", "site"):
        small_model(folder / name / "small" / "1" / "model.onnx")
    small_model(folder / "cloud" / "wide" / "1" / "model.onnx", width=200)
    with served(folder / "cloud") as cloud, served(folder / "site") as site:
        url, there = f"http://127.0.0.1:{cloud.http}", f"http://127.0.0.1:{site.http}"
        asyncio.run(shadows(url, there, site.pid, turns))
        asyncio.run(explanations(url, turns))


if __name__ == "__main__":
    main()
