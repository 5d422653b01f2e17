"""What the SDK costs per call: one tiny model alone on the line, beside the stock clients.

    python benchmarks/sdk.py [--requests 2000]

The server has one core and the clients the other. All clients ask the same server, in turns
of a hundred requests, so that a busy moment meets all of them alike. Figures are p50 of one
call, and the processor time that this process used for one, the median turn's; both in
microseconds. `raw-run` is the model alone, in process. `tritonclient` is NVIDIA's own.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from measured import BUILD, tell
from served import CLIENT_CPUS, served
from serving import MODELS, repository

from skerry.client import AsyncClient, Client
from skerry.serve.onnx_engine import OnnxModel

TURN = 100
X = np.ones((1, 4), np.float32)
Call = Callable[[], object]


def ours(end: str) -> tuple[Call, Callable[[], None]]:
    """Return a call through the blocking client, and what closes it."""
    client = Client(end)
    return (lambda: client.infer(MODELS[0], {"x": X})), client.close


def awaited(end: str) -> tuple[Call, Callable[[], None]]:
    """Return a call through the awaited client, in turns of a loop of its own."""
    runner = asyncio.Runner()

    async def made() -> AsyncClient:
        return AsyncClient(end)

    client = runner.run(made())

    async def turn() -> list[float]:
        took_s = []
        for _ in range(TURN):
            started_s = time.perf_counter()
            await client.infer(MODELS[0], {"x": X})
            took_s.append(time.perf_counter() - started_s)
        return took_s

    def close() -> None:
        runner.run(client.aclose())
        runner.close()

    return (lambda: runner.run(turn())), close


def stock(module: Any, port: int) -> tuple[Call, Callable[[], None]]:
    """Return a call through tritonclient, as its examples make it."""
    client = module.InferenceServerClient(f"127.0.0.1:{port}")

    def call() -> object:
        given = module.InferInput("x", list(X.shape), "FP32")
        given.set_data_from_numpy(X)
        return client.infer(MODELS[0], [given]).as_numpy("y")

    return call, client.close


def main() -> None:
    """Measure each client and print its p50."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=2000)
    turns = max(1, arguments.parse_args().requests // TURN)
    folder = repository(BUILD / "sdk")
    raw = OnnxModel(MODELS[0], folder / MODELS[0] / "1" / "model.onnx")
    os.sched_setaffinity(0, {int(CLIENT_CPUS)})
    with served(folder) as server, ExitStack() as open_clients:
        http = f"http://127.0.0.1:{server.http}"
        grpc = f"grpc://127.0.0.1:{server.grpc}"
        clients: dict[str, tuple[Call, Callable[[], None]]] = {
            "raw-run": (lambda: raw.run({"x": X}, ["y"]), lambda: None),
            "sdk-local": ours(f"local://{folder}"),
            "sdk-http": ours(http),
            "sdk-http-awaited": awaited(http),
            "tritonclient-http": stock(tritonclient.http, server.http),
            "sdk-grpc": ours(grpc),
            "tritonclient-grpc": stock(tritonclient.grpc, server.grpc),
        }
        for _, close in clients.values():
            open_clients.callback(close)
        took_s: dict[str, list[float]] = {name: [] for name in clients}
        used_s: dict[str, list[float]] = {name: [] for name in clients}
        for turn in range(turns + 1):
            for name, (call, _) in clients.items():
                used_before_s = time.process_time()
                if name == "sdk-http-awaited":
                    mine: Any = call()
                else:
                    mine = []
                    for _ in range(TURN):
                        started_s = time.perf_counter()
                        call()
                        mine.append(time.perf_counter() - started_s)
                if turn:  # the first warms up
                    took_s[name] += mine
                    used_s[name].append((time.process_time() - used_before_s) / TURN)
    for name, all_s in took_s.items():
        tell(f"{name}-p50", statistics.median(all_s) * 1e6, "us")
        tell(f"{name}-cpu", statistics.median(used_s[name]) * 1e6, "us")


if __name__ == "__main__":
    main()
