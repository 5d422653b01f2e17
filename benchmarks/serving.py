"""`skerry serve` with three models: cold start, memory, latency alone, throughput at 16.

    python benchmarks/serving.py [--requests 4000]

The client is plain Python on the other core, so requests per second are a floor: at 16
connections the client is as busy as the server. `raw-run` is the model alone, in process.
"""

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
from measured import BUILD, median_ms, mib_of, plain_environment, tell
from onnx import TensorProto, helper, save

from skerry.schema import oip_grpc
from skerry.schema.oip import InferRequest
from skerry.schema.oip_tensors import tensor_from_array
from skerry.serve.onnx_engine import OnnxModel

SKERRY = Path(sys.executable).with_name("skerry")
MODELS = ("first", "second", "third")
INFER = "/inference.GRPCInferenceService/ModelInfer"
CONNECTIONS = 16
STARTS = 5


def repository(folder: Path) -> Path:
    """Make three small models: two layers, 4 to 16 to 3."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(7)
    weights = [
        helper.make_tensor("a", TensorProto.FLOAT, [4, 16], rng.random(64)),
        helper.make_tensor("b", TensorProto.FLOAT, [16, 3], rng.random(48)),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "graph", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for name in MODELS:
        path = folder / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        save(model, str(path))
    return folder


def start(folder: Path) -> tuple["subprocess.Popen[str]", dict[str, int], float]:
    """Start a server; return it, its ports, and the seconds until its doors were open."""
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    started_s = time.perf_counter()
    server = subprocess.Popen(
        [SKERRY, "serve", "--repository", folder, *ports, "--json"],
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    text = ""
    while not text.endswith("}\n") or text.count("{") != text.count("}"):
        line = server.stdout.readline()
        if not line:
            raise SystemExit("skerry serve did not start")
        text += line
    took_s = time.perf_counter() - started_s
    return server, json.loads(text), took_s


def http_request() -> bytes:
    """Return one request in the protocol's binary form."""
    head = (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],'
        b'"parameters":{"binary_data_size":16}}],"parameters":{"binary_data_output":true}}'
    )
    body = head + np.ones(4, np.float32).tobytes()
    start = b"POST /v2/models/first/infer HTTP/1.1\r\nHost: x\r\n"
    sizes = b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (
        len(head),
        len(body),
    )
    return start + sizes + body


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
    request, left = http_request(), iter(range(requests))

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
    """Start five times, then load the last one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    requests = parser.parse_args().requests
    folder = repository(BUILD / "serving")
    starts_s = []
    for number in range(STARTS + 1):
        server, ports, took_s = start(folder)
        starts_s.append(took_s)
        if number < STARTS:
            server.terminate()
            server.wait()
    try:
        tell("serve-cold-start", statistics.median(starts_s[1:]), "s")
        tell("serve-rss", mib_of(server.pid), "MiB")

        model = OnnxModel("first", folder / "first" / "1" / "model.onnx")
        row = {"x": np.ones((1, 4), np.float32)}
        tell("raw-run-p50", median_ms(lambda: model.run(row, ["y"]), times=2000), "ms")

        request = http_request()
        with socket.create_connection(("127.0.0.1", ports["http_port"])) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def ask() -> None:
                line.sendall(request)
                assert line.recv(65536).startswith(b"HTTP/1.1 200")

            p50, p99 = percentiles_ms(ask, requests)
        tell("http-p50", p50, "ms")
        tell("http-p99", p99, "ms")
        tensor = tensor_from_array("x", np.ones((1, 4), np.float32))
        message = oip_grpc.encode_request(InferRequest(model="first", inputs=[tensor]))
        with grpc.insecure_channel(f"127.0.0.1:{ports['grpc_port']}") as channel:
            infer = channel.unary_unary(INFER)
            p50, p99 = percentiles_ms(lambda: infer(message), requests)
        tell("grpc-p50", p50, "ms")
        tell("grpc-p99", p99, "ms")
        tell("http-per-s", asyncio.run(http_per_s(ports["http_port"], 5 * requests)), "1/s")
        tell("grpc-per-s", grpc_per_s(ports["grpc_port"], message, 2 * requests), "1/s")
        tell("serve-rss-after", mib_of(server.pid), "MiB")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
