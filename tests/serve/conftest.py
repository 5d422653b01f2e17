"""Small real models, a repository of them, and a live server per test that wants one."""

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from skerry.base.clock import SystemClock
from skerry.schema.model import Card, CheckSample, TensorSpec
from skerry.serve.http_message import HttpLimits
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings

TYPES: dict[str, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def save(nodes: Sequence[Any], inputs: Any, outputs: Any, path: Path, weights: Any = ()) -> None:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def scale_model(path: Path, factor: float, axis_name: str = "n") -> None:
    """y = x * factor, [n, 4]: what serves is read off the answer."""
    weights = [helper.make_tensor("k", TensorProto.FLOAT, [1], [factor])]
    save(
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        [("x", TensorProto.FLOAT, [axis_name, 4])],
        [("y", TensorProto.FLOAT, [axis_name, 4])],
        path,
        weights,
    )


def types_model(path: Path) -> None:
    """Every datatype, in as it is out, each of shape [n, 2]."""
    save(
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in TYPES],
        [(f"in_{name}", kind, ["n", 2]) for name, kind in TYPES.items()],
        [(f"out_{name}", kind, ["n", 2]) for name, kind in TYPES.items()],
        path,
    )


def slow_model(path: Path, size: int = 500, steps: int = 8) -> None:
    """A chain of matrix products on [n, size]: tens of milliseconds at n = size."""
    weights = [
        helper.make_tensor(
            f"w{i}", TensorProto.FLOAT, [size, size], np.eye(size, dtype=np.float32).ravel()
        )
        for i in range(steps)
    ]
    nodes = [
        helper.make_node("MatMul", ["x" if i == 0 else f"h{i}", f"w{i}"], [f"h{i + 1}"])
        for i in range(steps)
    ]
    nodes.append(helper.make_node("ReduceSum", [f"h{steps}"], ["y"], keepdims=0))
    save(
        nodes,
        [("x", TensorProto.FLOAT, [size, size])],
        [("y", TensorProto.FLOAT, [])],
        path,
        weights,
    )


def write_card(folder: Path, **changes: Any) -> Card:
    """A card for a `scale_model` that doubles, with one check sample, and any changes."""
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    spec = {"datatype": "FP32", "shape": (-1, 4)}
    fields: dict[str, Any] = {
        "name": folder.parent.name,
        "version": int(folder.name),
        "summary": "doubles",
        "licence": "Apache-2.0",
        "source": "test",
        "framework": "onnx",
        "opset": 17,
        "inputs": (TensorSpec(name="x", **spec),),
        "outputs": (TensorSpec(name="y", **spec),),
        "samples": (
            CheckSample(
                inputs=(x.tobytes(),),
                input_shapes=((1, 4),),
                outputs=((x * 2).tobytes(),),
                output_shapes=((1, 4),),
            ),
        ),
    }
    card = Card(**{**fields, **changes})
    (folder / "card.json").write_bytes(msgspec.json.encode(card))
    return card


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Models:
    """The makers above, as a fixture: test files import nothing from each other."""

    scale = staticmethod(scale_model)
    types = staticmethod(types_model)
    slow = staticmethod(slow_model)
    card = staticmethod(write_card)
    save = staticmethod(save)
    datatypes = tuple(TYPES)


@pytest.fixture
def models() -> type[Models]:
    return Models


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`double` (versions 1 and 2; 2 doubles, 1 triples), `types`."""
    folder = tmp_path / "repository"
    scale_model(folder / "double" / "1" / "model.onnx", 3.0)
    scale_model(folder / "double" / "2" / "model.onnx", 2.0)
    types_model(folder / "types" / "1" / "model.onnx")
    return folder


def settings_for(repository: Path, **changes: Any) -> ServeSettings:
    fields: dict[str, Any] = {"http_port": 0, "grpc_port": 0, "metrics_port": 0, "drain_s": 5.0}
    return ServeSettings(repository=str(repository), **{**fields, **changes})


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start servers in this test's own loop; all are stopped after it."""
    servers: list[Server] = []

    async def begin(repository: Path, limits: HttpLimits | None = None, **changes: Any) -> Server:
        keep = {key: changes.pop(key) for key in ("wrap", "listeners") if key in changes}
        server = Server(
            settings_for(repository, **{"grpc_port": None, **changes}),
            clock=SystemClock(),
            limits=limits,
            **keep,
        )
        servers.append(server)
        await server.start()
        return server

    yield begin
    for server in servers:
        await server.stop(grace_s=1)


@pytest.fixture
def live(repository: Path) -> Iterator[Server]:
    """A server with every door on a loop of its own, for clients that block."""
    server = Server(settings_for(repository))
    started = threading.Event()
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        portal.call(server.start)
        started.set()
        yield server
        portal.call(server.stop, 1.0)


@pytest.fixture
def exchange() -> Callable[..., Any]:
    """Send raw bytes to a port, read to the end (or to `enough`), return what came."""

    async def send(port: int, data: bytes, *, end: bool = False, enough: bytes = b"") -> bytes:
        with anyio.fail_after(10):
            stream = await anyio.connect_tcp("127.0.0.1", port)
            async with stream:
                got = b""
                try:
                    await stream.send(data)
                    if end:
                        await stream.send_eof()
                    while not enough or enough not in got:
                        got += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    pass
                return got

    return send


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]
