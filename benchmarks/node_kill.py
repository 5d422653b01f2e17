"""One of two servers is killed under load: who fails, and how many are asked again.

    python benchmarks/node_kill.py [--seconds 8] [--callers 16]

Two `skerry serve` processes with the same model; one client of the SDK with many requests
under way at a time, none of which pauses. Half way through, one server gets SIGKILL.

Held: no request fails, and no more are asked again than were under way at that moment.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections import Counter

import numpy as np
from measured import BUILD, tell
from served import fresh, served, small_model

from skerry.client import AsyncClient

ASKED_AGAIN = ("down", "hedge", "timeout", "overloaded")
"""Reasons of answers that the other server was asked for after the first; a breaker that is
open costs no second request."""
INPUT = {"x": np.ones((1, 4), np.float32)}


async def load(urls: list[str], victim: int, seconds: float, callers: int) -> None:
    """Ask from all callers, kill half way, tell what became of the requests."""
    took_ms: list[float] = []
    failed: list[str] = []
    reasons: Counter[str | None] = Counter()
    killed = False
    ends_s = time.perf_counter() + seconds

    async def caller(client: AsyncClient) -> None:
        while (started_s := time.perf_counter()) < ends_s:
            try:
                answer = await client.infer("small", INPUT)
                reasons[answer.fallback_reason] += killed
            except Exception as error:
                failed.append(f"{type(error).__name__}: {error}")
            took_ms.append((time.perf_counter() - started_s) * 1000)

    async with AsyncClient(urls) as client:
        callers_running = asyncio.gather(*(caller(client) for _ in range(callers)))
        await asyncio.sleep(seconds / 2)
        os.kill(victim, signal.SIGKILL)
        killed = True
        await callers_running
    sys.stderr.write(f"after the kill: {dict(reasons)} {failed[:3]}\n")
    tell("kill-requests", len(took_ms), "requests")
    tell("kill-failed", len(failed), "requests")
    tell("kill-asked-again", sum(reasons[why] for why in ASKED_AGAIN), "requests")
    tell("kill-p99", float(np.percentile(took_ms, 99)), "ms")
    tell("kill-max", max(took_ms), "ms")


def main() -> None:
    """Serve twice, load, kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--callers", type=int, default=16)
    chosen = parser.parse_args()
    folder = fresh(BUILD / "node-kill")
    small_model(folder / "small" / "1" / "model.onnx")
    with served(folder, cpus="0-1") as one, served(folder, cpus="0-1") as other:
        urls = [f"http://127.0.0.1:{server.http}" for server in (one, other)]
        asyncio.run(load(urls, one.pid, chosen.seconds, chosen.callers))


if __name__ == "__main__":
    main()
