"""The gRPC door as a server opens it: which engine, which addresses, what is imported."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio

from skerry.base.clock import SystemClock
from skerry.base.errors import UsageError
from skerry.schema import oip_grpc
from skerry.schema import open_inference_pb2 as pb
from skerry.serve.grpc_door import GrpcDoor
from skerry.serve.grpc_works import GrpcWorks
from skerry.serve.grpcio_door import GrpcioDoor
from skerry.serve.listening import Listener

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("engine", "kind"), [("own", GrpcDoor), ("grpcio", GrpcioDoor)])
async def test_the_engine_of_the_settings_answers_on_port_and_socket(
    start: Any, repository: Path, tmp_path: Path, engine: str, kind: type
) -> None:
    path = tmp_path / "grpc.sock"
    server = await start(repository, grpc_port=0, grpc_engine=engine, grpc_uds=str(path))
    assert isinstance(server._grpc, kind)
    for target in (f"127.0.0.1:{server.ports.grpc}", f"unix:{path}"):
        async with grpc.aio.insecure_channel(target) as channel:
            data = await channel.unary_unary(f"/{oip_grpc.SERVICE}/ServerReady")(b"")
            assert pb.ServerReadyResponse.FromString(data).ready


async def test_loopback_takes_commands_unless_told_otherwise(start: Any, repository: Path) -> None:
    message = pb.RepositoryModelUnloadRequest(model_name="double").SerializeToString()
    for admin, wanted in ((False, grpc.StatusCode.PERMISSION_DENIED), (True, grpc.StatusCode.OK)):
        server = await start(repository, grpc_port=0, admin_over_tcp=admin)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports.grpc}") as channel:
            call = channel.unary_unary(f"/{oip_grpc.SERVICE}/RepositoryModelUnload")(message)
            assert await call.code() is wanted


def test_grpcio_is_not_imported_where_it_is_not_chosen(repository: Path, tmp_path: Path) -> None:
    """It takes 20 MiB and a tenth of a second."""
    script = (
        "import sys; from skerry.cli.main import main\n"
        "import atexit; atexit.register(lambda: print('grpc' in sys.modules))\n"
        "main()"
    )
    seen = {}
    for engine in ("own", "grpcio"):
        options = ["--repository", str(repository), "--grpc-engine", engine, "--json"]
        ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
        process = subprocess.Popen(
            [sys.executable, "-c", script, "serve", *options, *ports],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
        assert json.loads("".join(lines))["grpc_port"] > 0
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        seen[engine] = rest.strip()
    assert seen == {"own": "False", "grpcio": "True"}


async def test_a_socket_of_several_workers_is_refused_by_the_engine_that_cannot_share_it() -> None:
    door = GrpcioDoor(GrpcWorks(None, None), clock=SystemClock())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="several workers share"):
        await door.listen(Listener(uds="/tmp/any", handle=3))


def given(module: Any, value: float) -> Any:
    tensor = module.InferInput("x", [1, 4], "FP32")
    return tensor.set_data_from_numpy(np.full((1, 4), value, np.float32))


def test_tritonclients_stream_gets_every_answer_in_order(live: Any) -> None:
    found: list[tuple[Any, Any]] = []
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{live.ports.grpc}") as client:
        client.start_stream(lambda result, error: found.append((result, error)))
        for number in range(50):
            model = "none" if number == 20 else "double"
            inputs = [given(tritonclient.grpc, number)]
            client.async_stream_infer(model, inputs, request_id=str(number))
        client.stop_stream()
    assert len(found) == 50
    assert "not served here" in str(found.pop(20)[1])
    assert [float(one.as_numpy("y")[0, 0]) for one, _ in found] == [
        2.0 * number for number in range(50) if number != 20
    ]


async def test_tritonclients_aio_stream_gets_every_answer_in_order(
    start: Any, repository: Path
) -> None:
    server = await start(repository, grpc_port=0)

    async def requests() -> Any:
        for number in range(20):
            yield {
                "model_name": "double",
                "inputs": [given(tritonclient.grpc.aio, number)],
                "request_id": str(number),
            }

    found = []
    url = f"127.0.0.1:{server.ports.grpc}"
    async with tritonclient.grpc.aio.InferenceServerClient(url) as client:
        async for result, error in client.stream_infer(requests()):
            assert error is None
            found.append((result.get_response().id, float(result.as_numpy("y")[0, 0])))
    assert found == [(str(number), 2.0 * number) for number in range(20)]
