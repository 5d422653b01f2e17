"""Large inputs through shared memory: used, used again, given up where refused, never left."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from skerry.client import AsyncClient, Client
from skerry.client.shared_memory import LOST_MAX, SHARED_FROM_BYTES
from skerry.route.errors import DeadlineExceededError, PeerAnsweredError
from skerry.route.peer_http import HttpEndpoint
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings

LARGE = {"x": np.random.default_rng(3).random((1, SHARED_FROM_BYTES), dtype=np.float32)}
SMALL = {"x": np.ones((1, 4), np.float32)}
SHM = Path("/dev/shm")


def objects() -> set[str]:
    return {path.name for path in SHM.glob("skerry-*")}


class House:
    """A server on a loop of its own, and what its requests came with."""

    def __init__(self, folder: Path, *, admin: bool = True) -> None:
        self.settings = ServeSettings(
            repository=str(folder),
            http_port=0,
            grpc_port=0,
            metrics_port=None,
            admin_over_tcp=admin,
        )
        self.hold_s = 0.0
        self.writable: list[bool] = []
        self.server = Server(self.settings, wrap=self.around)

    def around(self, infer: Any) -> Any:
        async def note(request: Any) -> Any:
            if self.hold_s:
                from skerry.base.drive import in_task

                await in_task()
                await asyncio.sleep(self.hold_s)
            return await infer(request)

        return note

    @property
    def regions(self) -> set[str]:
        return {status.name for status in self.server.service.regions.status("")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "m"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "m"])],
        initializer=[helper.make_tensor("k", TensorProto.FLOAT, [1], [2.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "double" / "1").mkdir(parents=True)
    onnx.save(model, str(folder / "double" / "1" / "model.onnx"))
    return folder


@pytest.fixture
def house(folder: Path) -> Iterator[House]:
    yield from running(House(folder))


def running(house: House) -> Iterator[House]:
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        portal.call(house.server.start)
        yield house
        portal.call(house.server.stop, 1.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def http(house: House) -> str:
    return f"http://127.0.0.1:{house.server.ports.http}"


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_large_input_goes_through_a_region_that_serves_again(house: House, scheme: str) -> None:
    end = f"{scheme}://127.0.0.1:{getattr(house.server.ports, scheme)}"
    before = objects()
    with Client(end, shared_memory=True) as client:
        for _ in range(3):
            answer = client.infer("double", LARGE)
            assert np.array_equal(answer.outputs["y"], LARGE["x"] * 2)
            assert len(house.regions) == 1
        assert len(objects() - before) == 1
    assert objects() == before
    assert house.regions == set()


def test_a_small_input_goes_with_the_request(house: House) -> None:
    with Client(http(house), shared_memory=True) as client:
        assert client.infer("double", SMALL).outputs["y"].tolist() == [[2.0] * 4]
        assert house.regions == set()


def test_several_large_inputs_of_one_request_share_a_region(house: House) -> None:
    with Client(http(house), shared_memory=True) as client:
        with pytest.raises(PeerAnsweredError):  # the model has one input: the bytes arrived though
            client.infer("double", {"x": LARGE["x"], "z": LARGE["x"]})
        assert len(house.regions) == 1
        client.infer("double", LARGE)
        assert len(house.regions) == 1


def test_requests_at_once_use_regions_of_their_own(house: House) -> None:
    many = [{"x": np.full((1, SHARED_FROM_BYTES), n, np.float32)} for n in range(24)]
    with Client(http(house), shared_memory=True) as client:
        answers = client.infer_many("double", many, concurrency=6)
    assert [float(answer.outputs["y"][0, -1]) for answer in answers] == [2.0 * n for n in range(24)]


def test_a_server_that_takes_no_regions_is_sent_the_bytes(folder: Path) -> None:
    before = objects()
    for house in running(House(folder, admin=False)):
        with Client(http(house), shared_memory=True) as client:
            for _ in range(2):
                answer = client.infer("double", LARGE)
                assert np.array_equal(answer.outputs["y"], LARGE["x"] * 2)
            assert objects() == before


def test_a_server_that_lost_its_regions_is_sent_the_bytes_and_told_again(house: House) -> None:
    with Client(http(house), shared_memory=True) as client:
        client.infer("double", LARGE)
        house.server.service.regions.unregister()  # as a restart does
        for regions in (0, 1):
            assert np.array_equal(client.infer("double", LARGE).outputs["y"], LARGE["x"] * 2)
            assert len(house.regions) == regions


def test_a_server_that_never_knows_its_regions_is_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where several processes share a port, and registrations meet another one."""

    async def nowhere(*_: object) -> None:
        """Answered by a process that no request comes to."""

    monkeypatch.setattr(HttpEndpoint, "register", nowhere)
    before = objects()
    with Client(http(house), shared_memory=True) as client:
        (shared,) = client._client._shared.values()
        for number in range(LOST_MAX):
            assert not shared.refused
            assert client.infer("double", LARGE).fallback_reason is None, number
        assert shared.refused
        client.infer("double", LARGE)
    assert objects() == before


def test_a_region_whose_request_had_no_answer_is_not_used_again(house: House) -> None:
    before = objects()
    with Client(http(house), shared_memory=True) as client:
        client.infer("double", LARGE)
        (first,) = objects() - before
        house.hold_s = 0.5
        with pytest.raises(DeadlineExceededError):
            client.infer("double", LARGE, deadline_s=0.1)
        house.hold_s = 0.0
        client.infer("double", LARGE)
        assert first not in objects()
    assert objects() == before


@pytest.mark.anyio
async def test_a_cancelled_request_leaves_nothing(house: House) -> None:
    before = objects()
    house.hold_s = 0.3
    async with AsyncClient(http(house), shared_memory=True) as client:
        with anyio.move_on_after(0.1) as scope:
            await client.infer("double", LARGE)
        assert scope.cancelled_caught
    assert objects() == before
    assert house.regions == set()
