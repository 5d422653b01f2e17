"""`skerry serve` with three models: cold start, memory, latency alone, throughput at 16.

    python benchmarks/serving.py [--requests 4000]

The client is plain Python on the other core, so requests per second are a floor: at 16
connections the client is as busy as the server. `raw-run` is the model alone, in process.
"""

import argparse
import asyncio
import socket
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
from measured import BUILD, median_ms, mib_of, tell
from served import Served, fresh, http_request, served, small_model

from skerry.schema import oip_grpc
from skerry.schema.oip import InferRequest
from skerry.schema.oip_tensors import tensor_from_array
from skerry.serve.onnx_engine import OnnxModel

MODELS = ("first", "second", "third")
INFER = "/inference.GRPCInferenceService/ModelInfer"
CONNECTIONS = 16
STARTS = 5


def repository(folder: Path) -> Path:
    """Make three small models."""
    fresh(folder)
    for name in MODELS:
        small_model(folder / name / "1" / "model.onnx")
    return folder


def percentiles_ms(ask: Callable[[], object], requests: int) -> tuple[float, float]:
    """Return p50 and p99 of one caller that asks again as soon as it is answered."""
    for _ in range(200):
        ask()
    took_s = []
    for _ in range(requests):
        started_s = time.perf_counter()
        ask()
        took_s.append(time.perf_counter() - started_s)
    p50, p99 = np.percentile(took_s, [50, 99]) * 1000
    return float(p50), float(p99)


async def http_per_s(port: int, requests: int) -> float:
    """Return the requests per second of CONNECTIONS callers, each asking one at a time."""
    request, left = http_request("first"), iter(range(requests))

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(request)
            answer = await reader.read(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
        writer.close()

    started_s = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    return requests / (time.perf_counter() - started_s)


def grpc_per_s(port: int, request: bytes, requests: int) -> float:
    """Return the requests per second of CONNECTIONS threads with a channel each."""

    def caller() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            infer = channel.unary_unary(INFER)
            for _ in range(requests // CONNECTIONS):
                infer(request)

    threads = [threading.Thread(target=caller) for _ in range(CONNECTIONS)]
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return requests / (time.perf_counter() - started_s)


def main() -> None:
    """Start several times, then load the last one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    requests = parser.parse_args().requests
    folder = repository(BUILD / "serving")
    starts_s = []
    for _ in range(1 + STARTS):
        started_s = time.perf_counter()
        with served(folder):
            starts_s.append(time.perf_counter() - started_s)
    tell("serve-cold-start", statistics.median(starts_s[1:]), "s")
    model = OnnxModel("first", folder / "first" / "1" / "model.onnx")
    row = {"x": np.ones((1, 4), np.float32)}
    tell("raw-run-p50", median_ms(lambda: model.run(row, ["y"]), times=2000), "ms")
    with served(folder) as server:
        tell("serve-rss", mib_of(server.pid), "MiB")
        load(server, requests)
        tell("serve-rss-after", mib_of(server.pid), "MiB")


def load(server: Served, requests: int) -> None:
    """Ask alone on the line, then from many connections."""
    request = http_request("first")
    with socket.create_connection(("127.0.0.1", server.http)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask() -> None:
            line.sendall(request)
            assert line.recv(65536).startswith(b"HTTP/1.1 200")

        p50, p99 = percentiles_ms(ask, requests)
    tell("http-p50", p50, "ms")
    tell("http-p99", p99, "ms")
    tensor = tensor_from_array("x", np.ones((1, 4), np.float32))
    message = oip_grpc.encode_request(InferRequest(model="first", inputs=[tensor]))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        infer = channel.unary_unary(INFER)
        p50, p99 = percentiles_ms(lambda: infer(message), requests)
    tell("grpc-p50", p50, "ms")
    tell("grpc-p99", p99, "ms")
    tell("http-per-s", asyncio.run(http_per_s(server.http, 5 * requests)), "1/s")
    tell("grpc-per-s", grpc_per_s(server.grpc, message, 2 * requests), "1/s")


if __name__ == "__main__":
    main()
