"""A `skerry serve` process for benchmarks, and the models that it serves there."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measured import plain_environment
from onnx import TensorProto, helper, save

SKERRY = Path(sys.executable).with_name("skerry")
SERVER_CPUS, CLIENT_CPUS = "0", "1"


@dataclass(frozen=True, slots=True)
class Served:
    """A server that listens: its process and its ports."""

    pid: int
    http: int
    grpc: int
    metrics: int


@contextlib.contextmanager
def served(folder: Path, *options: str, cpus: str = SERVER_CPUS) -> Iterator[Served]:
    """Serve a repository on some cores until the block ends; `SystemExit` if it does not start."""
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    command = ["taskset", "-c", cpus, SKERRY, "serve", "--repository", folder, *ports, "--json"]
    process = subprocess.Popen(
        [*command, *options],
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield from _listening(process)
    finally:
        process.terminate()
        process.wait()


def _listening(process: "subprocess.Popen[str]") -> Iterator[Served]:
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n") or text.count("{") != text.count("}"):
        line = process.stdout.readline()
        if not line:
            raise SystemExit("skerry serve did not start")
        text += line
    told = json.loads(text)
    yield Served(process.pid, told["http_port"], told["grpc_port"], told["metrics_port"])


def fresh(folder: Path) -> Path:
    """Return the folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def small_model(path: Path, factor: float = 1.0, width: int = 4) -> None:
    """Write a model of microseconds: two layers, x [n, width] to y [n, 3]."""
    rng = np.random.default_rng(7)
    first = rng.random(width * 16) * factor
    weights = [
        helper.make_tensor("a", TensorProto.FLOAT, [width, 16], first),
        helper.make_tensor("b", TensorProto.FLOAT, [16, 3], rng.random(48)),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    _save(path, nodes, weights, ["n", width], ["n", 3])


def heavy_model(path: Path, products: int = 10, size: int = 256) -> None:
    """Write a model of several milliseconds with a small input: x [1, 4] to y [1, 1].

    The input is spread over a square matrix, which is multiplied again and again.
    """
    rng = np.random.default_rng(7)
    spread = rng.random(4 * size * size, dtype=np.float32) / 4
    turn = np.eye(size, dtype=np.float32).ravel()
    weights = [
        helper.make_tensor("s", TensorProto.FLOAT, [4, size * size], spread),
        helper.make_tensor("square", TensorProto.INT64, [2], [size, size]),
        helper.make_tensor("t", TensorProto.FLOAT, [size, size], turn),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "s"], ["flat"]),
        helper.make_node("Reshape", ["flat", "square"], ["h0"]),
        *(helper.make_node("MatMul", [f"h{i}", "t"], [f"h{i + 1}"]) for i in range(products)),
        helper.make_node("ReduceMean", [f"h{products}"], ["y"], axes=[0, 1], keepdims=1),
    ]
    _save(path, nodes, weights, [1, 4], [1, 1])


def _save(path: Path, nodes: list, weights: list, given: list, found: list) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, given)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, found)
    graph = helper.make_graph(nodes, "graph", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, str(path))


def http_body() -> tuple[bytes, bytes]:
    """Return a request's body in the protocol's binary form, and the header that goes with it."""
    head = (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],'
        b'"parameters":{"binary_data_size":16}}],"parameters":{"binary_data_output":true}}'
    )
    return head + np.ones(4, np.float32).tobytes(), b"Inference-Header-Content-Length: %d" % len(
        head
    )


def http_request(model: str, *lines: str) -> bytes:
    """Return one whole request, with more header lines if they are given."""
    body, length = http_body()
    head = [
        f"POST /v2/models/{model}/infer HTTP/1.1".encode(),
        b"Host: x",
        length,
        b"Content-Length: %d" % len(body),
        *(line.encode() for line in lines),
    ]
    return b"\r\n".join([*head, b"", body])


def wrk(port: int, model: str, *, callers: int, seconds: float, folder: Path) -> tuple[int, int]:
    """Load the HTTP door with wrk; return the requests answered and those that went wrong.

    wrk waits for what is under way and reports in whole numbers; it runs on CLIENT_CPUS.
    """
    body, length = http_body()
    (folder / "body").write_bytes(body)
    name, _, value = length.decode().partition(": ")
    script = folder / "ask.lua"
    script.write_text(
        f"local f = assert(io.open('{folder / 'body'}', 'rb'))\n"
        "wrk.method = 'POST'\n"
        "wrk.body = f:read('*a')\n"
        f"wrk.headers['{name}'] = '{value}'\n"
        "done = function(summary, latency, requests)\n"
        "  local e = summary.errors\n"
        "  io.stderr:write(string.format('%d %d\\n', summary.requests,\n"
        "    e.connect + e.read + e.write + e.status + e.timeout))\n"
        "end\n"
    )
    url = f"http://127.0.0.1:{port}/v2/models/{model}/infer"
    command = ["taskset", "-c", CLIENT_CPUS, "wrk", "-t1", f"-c{callers}", f"-d{seconds:g}s"]
    ended = subprocess.run(
        [*command, "-s", script, url], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"wrk failed: {ended.stderr}")
    answered, wrong = map(int, ended.stderr.split()[-2:])
    return answered, wrong
