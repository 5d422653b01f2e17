"""Workers of one server: they share its ports, follow each other, and come and go as one."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest

from skerry.base.http_client import Address, Answer, HttpClient
from skerry.base.processes import is_alive
from skerry.schema import open_inference_pb2 as pb
from skerry.serve.errors import PortBusyError
from skerry.serve.server import Server
from skerry.serve.settings import Ports, ServeSettings
from skerry.serve.workers_plan import WorkerPlan, cores_of, count_of, plans_of
from skerry.serve.workers_sockets import reserved

BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
).encode()


# Two workers in this process, each on a port of its own, so that a test says whom it asks.


class Pair:
    """Two workers of one server, and a client of theirs."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.controls = tuple(str(folder / f"{index}.sock") for index in range(2))
        self.client = HttpClient()
        self.workers = [self._make(0), self._make(1)]

    def _make(self, index: int) -> Server:
        settings = ServeSettings(
            repository=str(self.repository), http_port=0, grpc_port=0, metrics_port=None
        )
        plan = WorkerPlan(
            index=index,
            parent_pid=os.getppid(),
            settings=settings,
            controls=self.controls,
        )
        return Server(settings, worker=plan)

    async def again(self, index: int) -> Server:
        """Replace a worker, as its parent does when it ended."""
        await self.workers[index].stop(0)
        self.workers[index] = worker = self._make(index)
        await worker.start()
        return worker

    async def ask(
        self, index: int, method: str, path: str, document: object = None
    ) -> tuple[int, Any]:
        address = Address("127.0.0.1", self.workers[index].ports.http)
        body = () if document is None else (msgspec.json.encode(document),)
        answer: Answer = await self.client.call(address, method, path, body=body, deadline_s=10)
        return answer.status, json.loads(bytes(answer.body)) if answer.body else None

    async def rpc(self, index: int, method: str, request: Any, reply: Any) -> Any:
        target = f"127.0.0.1:{self.workers[index].ports.grpc}"
        async with grpc.aio.insecure_channel(target) as channel:
            call = channel.unary_unary(
                f"/inference.GRPCInferenceService/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=reply.FromString,
            )
            return await call(request, timeout=10)


@pytest.fixture
async def pair(repository: Path, tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(repository, tmp_path)
    await asyncio.gather(*(worker.start() for worker in made.workers))
    yield made
    made.client.close()
    await asyncio.gather(*(worker.stop(0) for worker in made.workers))


@pytest.mark.anyio
async def test_a_load_and_an_unload_over_http_reach_every_worker(pair: Pair) -> None:
    assert await pair.ask(0, "POST", "/v2/repository/models/double/unload") == (200, None)
    for index in (0, 1):
        assert (await pair.ask(index, "GET", "/v2/models/double"))[0] == 404
    assert await pair.ask(1, "POST", "/v2/repository/models/double/load") == (200, None)
    for index in (0, 1):
        assert (await pair.ask(index, "GET", "/v2/models/double"))[0] == 200


@pytest.mark.anyio
async def test_a_load_and_an_unload_over_grpc_reach_every_worker(pair: Pair) -> None:
    name = "double"
    wanted: Any = pb.RepositoryModelUnloadRequest(model_name=name)
    await pair.rpc(1, "RepositoryModelUnload", wanted, pb.RepositoryModelUnloadResponse)
    for index in (0, 1):
        assert (await pair.ask(index, "GET", "/v2/models/double"))[0] == 404
    wanted = pb.RepositoryModelLoadRequest(model_name=name)
    await pair.rpc(0, "RepositoryModelLoad", wanted, pb.RepositoryModelLoadResponse)
    for index in (0, 1):
        assert (await pair.ask(index, "GET", "/v2/models/double"))[0] == 200


@pytest.fixture
def shared_object() -> Iterator[str]:
    path = Path(f"/dev/shm/skerry-test-{os.getpid()}")
    path.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    yield path.name
    path.unlink()


@pytest.mark.anyio
async def test_a_region_registered_with_one_worker_can_be_used_with_another(
    pair: Pair, shared_object: str
) -> None:
    region = {"key": shared_object, "offset": 0, "byte_size": 16}
    path = "/v2/systemsharedmemory/region/r/register"
    assert await pair.ask(0, "POST", path, region) == (200, None)
    where = {"shared_memory_region": "r", "shared_memory_byte_size": 16}
    x = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": where}
    status, answer = await pair.ask(1, "POST", "/v2/models/double/infer", {"inputs": [x]})
    assert (status, answer["outputs"][0]["data"]) == (200, [0.0, 2.0, 4.0, 6.0])
    wanted = pb.SystemSharedMemoryUnregisterRequest(name="r")
    await pair.rpc(
        1, "SystemSharedMemoryUnregister", wanted, pb.SystemSharedMemoryUnregisterResponse
    )
    for index in (0, 1):
        assert await pair.ask(index, "GET", "/v2/systemsharedmemory/status") == (200, [])


@pytest.mark.anyio
async def test_settings_changed_at_one_worker_are_those_of_all(pair: Pair) -> None:
    assert (await pair.ask(0, "POST", "/v2/logging", {"log_verbose_level": 1}))[0] == 200
    assert (await pair.ask(1, "POST", "/v2/trace/setting", {"trace_rate": "7"}))[0] == 200
    wanted = pb.LogSettingsRequest()
    wanted.settings["log_format"].string_param = "ISO8601"
    await pair.rpc(1, "LogSettings", wanted, pb.LogSettingsResponse)
    for index in (0, 1):
        logs = (await pair.ask(index, "GET", "/v2/logging"))[1]
        assert (logs["log_verbose_level"], logs["log_format"]) == (1, "ISO8601")
        assert (await pair.ask(index, "GET", "/v2/trace/setting"))[1]["trace_rate"] == "7"


@pytest.mark.anyio
async def test_a_refused_change_is_made_nowhere(pair: Pair) -> None:
    status, answer = await pair.ask(0, "POST", "/v2/trace/setting", {"trace_rate": "0"})
    assert (status, answer["code"]) == (400, "E0150")
    assert (await pair.ask(1, "GET", "/v2/trace/setting"))[1]["trace_rate"] == "1000"


@pytest.mark.anyio
async def test_a_worker_that_does_not_follow_is_named_with_its_reason(pair: Pair) -> None:
    await pair.workers[1].service.unload("double")  # behind the back of worker 0
    status, answer = await pair.ask(0, "POST", "/v2/repository/models/double/unload")
    assert (status, answer["code"]) == (500, "E0450")
    assert answer["error"] == (
        "not every worker followed this change: worker 1: model 'double' is not served here"
    )


@pytest.mark.anyio
async def test_over_grpc_it_is_named_too_and_reading_asks_nobody_else(pair: Pair) -> None:
    await pair.workers[1].service.unload("double")
    wanted = pb.RepositoryModelUnloadRequest(model_name="double")
    with pytest.raises(grpc.aio.AioRpcError, match="worker 1: model 'double' is not served here"):
        await pair.rpc(0, "RepositoryModelUnload", wanted, pb.RepositoryModelUnloadResponse)
    await pair.workers[1].stop(0)
    read = await pair.rpc(0, "LogSettings", pb.LogSettingsRequest(), pb.LogSettingsResponse)
    assert "log_info" in read.settings


@pytest.mark.anyio
async def test_a_worker_that_breaks_off_in_the_middle_of_a_change_is_named(
    pair: Pair, tmp_path: Path
) -> None:
    await pair.workers[1].stop(0)

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(break_off, pair.controls[1]):
        status, answer = await pair.ask(0, "POST", "/v2/repository/models/double/unload")
    assert (status, answer["code"]) == (500, "E0450")
    assert "worker 1: " in answer["error"]
    assert "broke before the answer" in answer["error"]


@pytest.mark.anyio
@pytest.mark.parametrize("starting", [False, True])
async def test_a_change_waits_for_no_worker_that_is_away_or_starting(
    pair: Pair, starting: bool
) -> None:
    if starting:
        pair.workers[1].service.close()
    else:
        await pair.workers[1].stop(0)
    assert await pair.ask(0, "POST", "/v2/repository/models/double/unload") == (200, None)
    await pair.again(1)
    assert (await pair.ask(1, "GET", "/v2/models/double"))[0] == 404


@pytest.mark.anyio
async def test_changes_that_come_to_both_at_once_end_the_same_everywhere(pair: Pair) -> None:
    paths = [f"/v2/repository/models/double/{verb}" for verb in ("load", "unload") * 3]
    await asyncio.gather(*(pair.ask(i % 2, "POST", path) for i, path in enumerate(paths)))
    status = [(await pair.ask(index, "GET", "/v2/models/double"))[0] for index in (0, 1)]
    assert status[0] == status[1]


@pytest.mark.anyio
async def test_a_worker_that_starts_again_learns_what_it_missed(
    pair: Pair, shared_object: str, tmp_path: Path, models: Any
) -> None:
    models.scale(tmp_path / "elsewhere" / "7" / "model.onnx", 7.0)
    folder = {"parameters": {"skerry-folder": str(tmp_path / "elsewhere" / "7")}}
    region = {"key": shared_object, "offset": 0, "byte_size": 16}
    for path, document in (
        ("/v2/repository/models/types/unload", None),
        ("/v2/repository/models/double/load", folder),
        ("/v2/systemsharedmemory/region/r/register", region),
        ("/v2/trace/setting", {"trace_rate": "9"}),
    ):
        assert (await pair.ask(0, "POST", path, document))[0] == 200
    worker = await pair.again(1)
    assert (await pair.ask(1, "GET", "/v2/models/double"))[1]["versions"] == ["7"]
    assert (await pair.ask(1, "GET", "/v2/models/types"))[0] == 404
    assert [one.name for one in worker.service.regions.status()] == ["r"]
    assert worker.service.trace_settings()["trace_rate"] == "9"


@pytest.mark.anyio
async def test_the_control_door_is_for_this_user_alone(pair: Pair) -> None:
    for path in pair.controls:
        assert os.stat(path).st_mode & 0o777 == 0o600
    for path in ("/state", "/metrics", "/rpc/LogSettings"):  # not on the doors for clients
        assert (await pair.ask(0, "GET", path))[0] == 404


# Ports and cores.


def test_a_reserved_port_is_refused_to_a_second_server_with_workers(busy_port: int) -> None:
    with ExitStack() as held, pytest.raises(PortBusyError, match="in use"):
        reserved(held, "127.0.0.1", busy_port, option="http-port")
    with ExitStack() as held, socket.socket() as worker:
        port = reserved(held, "127.0.0.1", 0, option="http-port")
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", port))
        worker.listen()
        with ExitStack() as second, pytest.raises(PortBusyError, match="in use"):
            reserved(second, "127.0.0.1", port, option="http-port")


def test_each_worker_has_a_core_of_its_own_where_there_are_enough() -> None:
    mine = sorted(os.sched_getaffinity(0))
    assert cores_of(len(mine)) == mine
    assert cores_of(len(mine) + 1) == [None] * (len(mine) + 1)
    assert (count_of(0), count_of(3)) == (len(mine), 3)


def test_workers_share_the_ports_divide_the_memory_and_trace_apart(tmp_path: Path) -> None:
    settings = ServeSettings(repository="r", memory_bytes_max=100, trace_file="t", http_port=0)
    first, second = plans_of(settings, 2, ports=Ports(http=7, grpc=8, metrics=9), folder=tmp_path)
    assert (first.settings.http_port, first.settings.grpc_port) == (7, 8)
    assert first.settings.metrics_port is None
    assert (first.settings.memory_bytes_max, first.settings.trace_file) == (50, "t.0")
    assert msgspec.structs.replace(second.settings, trace_file="t.0") == first.settings
    assert first.controls == second.controls
    assert len(set(first.controls)) == 2


# Real processes.

Serve = Callable[..., subprocess.Popen[str]]
FREE = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")


@pytest.fixture
def serve(repository: Path) -> Iterator[Serve]:
    processes: list[subprocess.Popen[str]] = []

    def run(
        *options: str, repository: Path = repository, **environment: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "skerry", "serve", f"--repository={repository}", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def read_document(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or lines[-1] != "}\n":
        line = process.stdout.readline()
        assert line, process.communicate()
        lines.append(line)
    return json.loads("".join(lines))


def children_of(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(what: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def fetch(port: int, path: str, body: bytes | None = None) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=10) as reply:
        return str(reply.read().decode())


def value(page: str, row: str) -> float:
    return float(next(line for line in page.splitlines() if line.startswith(row)).split()[-1])


def test_two_workers_serve_as_one_and_what_is_killed_comes_back(
    serve: Serve, tmp_path: Path
) -> None:
    uds = tmp_path / "door.sock"
    process = serve("--workers", "2", "--json", *FREE, "--uds", str(uds))
    document = read_document(process)
    assert document["workers"] == 2
    assert {row["name"] for row in document["models"]} == {"double", "types"}
    port, metrics = document["http_port"], document["metrics_port"]
    first, second = children_of(process.pid)

    def answers_by(worker: str) -> float:
        page = fetch(metrics, "/metrics")
        assert value(page, f'skerry_worker_up{{worker="{worker}"}}') == 1
        return value(page, 'skerry_requests_total{model="double",outcome="ok"}')

    for _ in range(30):  # each on a connection of its own: both workers have had some
        fetch(port, "/v2/models/double/infer", BODY)
    assert answers_by("0") == answers_by("1") == 30
    fetch(port, "/v2/repository/models/types/unload", b"")

    os.kill(first, signal.SIGKILL)
    until(lambda: not is_alive(first) and len(children_of(process.pid)) == 2)
    until(lambda: 'skerry_worker_up{worker="0"} 1' in fetch(metrics, "/metrics"))
    assert second in children_of(process.pid)
    until(lambda: 'skerry_ready{worker="0"} 1' in fetch(metrics, "/metrics"))
    for _ in range(10):
        fetch(port, "/v2/models/double/infer", BODY)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(port, "/v2/models/types")
    page = fetch(metrics, "/metrics")
    assert value(page, 'skerry_requests_total{model="double",outcome="ok"}') == 40
    assert value(page, 'skerry_worker_starts_total{worker="0"}') == 2
    with socket.socket(socket.AF_UNIX) as client:  # the Unix socket outlives a worker
        client.connect(str(uds))
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")

    workers = children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    data, words = process.communicate(timeout=20)
    assert process.returncode == 0, words
    assert data == ""
    assert "worker 0 was killed by signal 9; it starts again at once" in words
    assert not any(is_alive(pid) for pid in workers)
    assert not uds.exists()


def test_workers_end_with_a_parent_that_is_killed_and_leave_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    process = serve("--workers", "2", "--json", *FREE, TMPDIR=str(tmp_path))
    read_document(process)
    workers = children_of(process.pid)
    assert list(tmp_path.glob("skerry-*/*.sock"))
    process.kill()
    process.wait()
    until(lambda: not any(is_alive(pid) for pid in workers))
    assert not list(tmp_path.glob("skerry-*"))


def test_a_port_in_use_ends_with_2_before_any_worker_starts(serve: Serve, busy_port: int) -> None:
    for option in ("--http-port", "--grpc-port", "--metrics-port"):
        process = serve("--workers", "2", *FREE, option, str(busy_port))
        data, words = process.communicate(timeout=20)
        assert (process.returncode, data) == (2, "")
        assert f"error[E0410]: cannot listen on 127.0.0.1:{busy_port}: in use" in words
        assert f"{option} (0 takes any free port)" in words


def test_what_keeps_every_worker_from_starting_is_said_once(serve: Serve, tmp_path: Path) -> None:
    process = serve("--workers", "2", *FREE, repository=tmp_path / "gone")
    data, words = process.communicate(timeout=20)
    assert (process.returncode, data) == (2, "")
    assert words.count("there is no such folder") == 1
    assert words.startswith("error[E0411]")


def test_the_grpcio_engine_is_refused_with_workers(serve: Serve) -> None:
    process = serve("--workers", "2", "--grpc-engine", "grpcio", *FREE)
    _, words = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "several workers speak gRPC by skerry's own engine alone" in words
