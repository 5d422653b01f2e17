"""One live server for all fuzzing, and the laws that hold after every single exchange.

How many examples each test tries is the Hypothesis profile: a small fixed number in CI,
thousands in `python tests/fuzz/long.py`. What a long run finds is kept as an `@example`.
"""

import contextlib
import gc
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio.from_thread
import onnx
import pytest
from hypothesis import HealthCheck, settings
from onnx import TensorProto, helper

from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings

EXAMPLES = int(os.environ.get("SKERRY_FUZZ_EXAMPLES", "60"))
CPU_S_MAX = 0.1
"""Of this whole process, client included: unlike the time on the wall it is not shared."""

settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("fuzz")

TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP16": TensorProto.FLOAT16,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
}


class Complaints(logging.Handler):
    """Everything that was logged as an error: nobody may cause one from outside."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@dataclass
class Target:
    """A server's ports, and how to throw bytes at them."""

    http: int
    grpc: int
    complaints: Complaints = field(default_factory=Complaints)

    def throw(
        self, port: int, *pieces: bytes, until: Callable[[bytes], bool] = lambda _: True
    ) -> bytes:
        """Send pieces, close our side once `until` says so, return all that comes back.

        What must hold of every exchange is checked here.
        """
        self.complaints.found.clear()
        gc.disable()  # a collection of Hypothesis's own heap takes longer than any request
        started_s, got = time.process_time(), b""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    line.sendall(piece)
                while not until(got) and (piece := line.recv(65_536)):
                    got += piece
                line.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while piece := line.recv(65_536):
                    got += piece
        took_s = time.process_time() - started_s
        gc.enable()
        assert self.complaints.found == []
        assert took_s < CPU_S_MAX, f"{took_s * 1000:.0f} ms of CPU for one exchange"
        return got


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    write_model(folder / "mixed" / "1" / "model.onnx")
    server = Server(
        ServeSettings(repository=str(folder), http_port=0, grpc_port=0, metrics_port=None)
    )
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        portal.call(server.start)
        found = Target(server.ports.http, server.ports.grpc)
        logging.getLogger().addHandler(found.complaints)
        yield found
        logging.getLogger().removeHandler(found.complaints)
        portal.call(server.stop, 1.0)


def write_model(path: Path) -> None:
    """Every kind of datatype, out as it came in, each of shape [n, 2]."""
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in TYPES]
    given, found = (
        [helper.make_tensor_value_info(f"{side}_{name}", kind, ["n", 2]) for name, kind in pairs]
        for side, pairs in (("in", TYPES.items()), ("out", TYPES.items()))
    )
    graph = helper.make_graph(nodes, "graph", given, found)
    path.parent.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
