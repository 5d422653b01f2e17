"""One suite for every way the SDK reaches a model: HTTP, gRPC, Unix socket, this process, the fake.

Each way serves the same two models: `double` ([n, 4] FP32 times two, version 2) and `slow`,
which answers only after half a second.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from skerry.base.drive import in_task
from skerry.client import AsyncClient, Client
from skerry.client.errors import ClientClosedError
from skerry.client.local_engine import LocalEngine
from skerry.route.errors import DeadlineExceededError, NoCandidateError, PeerAnsweredError
from skerry.schema.model import TensorSpec
from skerry.schema.oip import InferFunction, InferReply, InferRequest
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings
from skerry.testing.endpoint import FakeEndpoint, FakeModel

WAYS = ("http", "grpc", "unix", "local", "fake")
X = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}
SLOW_S = 0.5


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for path in ("double/2", "slow/1"):
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "k"], ["y"])],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
            initializer=[helper.make_tensor("k", TensorProto.FLOAT, [1], [2.0])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (folder / path).mkdir(parents=True)
        onnx.save(model, str(folder / path / "model.onnx"))
    return folder


@dataclass
class Seen:
    """What arrived, whichever way it came."""

    requests: list[InferRequest] = field(default_factory=list)

    def around(self, infer: InferFunction) -> InferFunction:
        async def note(request: InferRequest) -> InferReply:
            self.requests.append(msgspec.structs.replace(request))
            if request.model == "slow":
                await in_task()
                await anyio.sleep(SLOW_S)
            return await infer(request)

        return note


@pytest.fixture(scope="module")
def house(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One live server with every door."""
    seen = Seen()
    socket = tmp_path_factory.mktemp("s") / "door"
    settings = ServeSettings(
        repository=str(repository), http_port=0, grpc_port=0, metrics_port=None, uds=str(socket)
    )
    server = Server(settings, wrap=seen.around)
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        portal.call(server.start)
        yield server, seen
        portal.call(server.stop, 1.0)


@dataclass
class Way:
    """How to make the end that a client is given, and what arrives there."""

    name: str
    end: Callable[[], Any]
    seen: list[InferRequest]


def fake_end() -> FakeEndpoint:
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 4))

    def twice(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"y": inputs["x"] * np.float32(2)}

    models = {
        name: FakeModel(
            answer=twice,
            inputs=[spec],
            outputs=[TensorSpec(name="y", datatype="FP32", shape=(-1, 4))],
            version=version,
            latency_s=latency_s,
        )
        for name, version, latency_s in (("double", "2", 0.0), ("slow", "1", SLOW_S))
    }
    return FakeEndpoint(models, site="local", node="local/1", tier="edge")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, repository: Path) -> Way:
    name: str = request.param
    if name == "fake":
        fake = fake_end()
        return Way(name, lambda: fake, fake.seen)
    if name == "local":
        seen = Seen()

        def engine() -> LocalEngine:
            made = LocalEngine(repository)
            made._infer = seen.around(made._infer)
            return made

        return Way(name, engine, seen.requests)
    server, seen = request.getfixturevalue("house")
    seen.requests.clear()
    urls = {
        "http": f"http://127.0.0.1:{server.ports.http}",
        "grpc": f"grpc://127.0.0.1:{server.ports.grpc}",
        "unix": f"unix://{server.settings.uds}",
    }
    return Way(name, lambda: urls[name], seen.requests)


@pytest.fixture
def client(way: Way) -> Iterator[Client]:
    with Client(way.end()) as made:
        yield made


def test_arrays_go_in_and_come_out(client: Client) -> None:
    answer = client.infer("double", X)
    assert list(answer.outputs) == ["y"]
    assert answer.outputs["y"].dtype == np.float32
    assert np.array_equal(answer.outputs["y"], X["x"] * 2)


def test_an_answer_says_who_gave_it(client: Client) -> None:
    answer = client.infer("double", X, version=2, outputs=["y"], request_id="r7")
    assert (answer.served_by, answer.site, answer.tier) == ("local/1", "local", "edge")
    assert (answer.model, answer.version, answer.request_id) == ("double", "2", "r7")
    assert answer.fallback_reason is None
    assert answer.latency_ms >= 0


def test_facts_arrive_with_the_request(client: Client, way: Way) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.infer("double", X, data_class="internal", deadline_s=1.5, traceparent=trace)
    (seen,) = way.seen
    assert (seen.data_class, seen.traceparent) == ("internal", trace)
    assert seen.deadline_s == pytest.approx(1.5, abs=0.3)
    client.infer("double", X)
    assert way.seen[1].deadline_s == pytest.approx(5.0, abs=0.5)  # nothing waits for ever


def test_an_unknown_model_is_named_with_the_reason(client: Client) -> None:
    with pytest.raises(NoCandidateError) as caught:
        client.infer("nobody", X)
    assert [one.verdict for one in caught.value.considered] == ["no-model"]
    assert caught.value.model == "nobody"
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": {"z": X["x"]}},
        {"inputs": {"x": X["x"].astype(np.int32)}},
        {"inputs": {"x": np.zeros((2, 3), np.float32)}},
        {"inputs": X, "outputs": ["z"]},
    ],
)
def test_a_request_at_fault_is_told_so(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(PeerAnsweredError) as caught:
        client.infer("double", **wrong)
    error = caught.value
    assert (error.status, error.http_status, error.grpc_code) == (400, 400, "INVALID_ARGUMENT")
    assert error.text
    assert client.infer("double", X).fallback_reason is None  # it is still well


def test_a_deadline_ends_the_wait(client: Client) -> None:
    assert client.ready("slow")  # so that no loading is waited for
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceededError) as caught:
        client.infer("slow", X, deadline_s=0.1)
    assert [one.verdict for one in caught.value.considered] == ["deadline"]
    assert time.monotonic() - started_s < SLOW_S - 0.1


def test_many_requests_come_back_in_order(client: Client) -> None:
    many = [{"x": np.full((1, 4), n, np.float32)} for n in range(40)]
    answers = client.infer_many("double", iter(many), concurrency=8)
    assert [float(answer.outputs["y"][0, 0]) for answer in answers] == [2.0 * n for n in range(40)]


def test_the_first_failure_of_many_ends_them(client: Client, way: Way) -> None:
    many = [{"z": X["x"]}, *[X] * 1000]
    with pytest.raises(PeerAnsweredError):
        client.infer_many("double", many, concurrency=2)
    assert len(way.seen) < 500


def test_an_end_describes_itself_and_its_models(client: Client) -> None:
    assert client.ready()
    assert client.ready("double")
    assert client.ready("double", 2)
    assert not client.ready("nobody")
    assert client.server().name
    found = client.metadata("double")
    assert (found.name, found.versions) == ("double", ("2",))
    assert found.inputs == (TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),)
    assert [spec.name for spec in found.outputs] == ["y"]
    rows = [(row.name, row.version, row.state) for row in client.models()]
    assert rows == [("double", "2", "READY"), ("slow", "1", "READY")]
    with pytest.raises(PeerAnsweredError) as caught:
        client.metadata("nobody")
    assert caught.value.status == 404


def test_models_leave_and_come_back(client: Client) -> None:
    client.unload("double")
    assert not client.ready("double")
    with pytest.raises(NoCandidateError):
        client.infer("double", X)
    client.load("double")
    assert client.ready("double")
    assert client.infer("double", X).version == "2"
    with pytest.raises(PeerAnsweredError) as caught:
        client.load("nobody")
    assert caught.value.status == 404


def test_a_dead_first_end_costs_no_error(way: Way) -> None:
    with Client(["http://127.0.0.1:1", way.end()], connect_timeout_s=0.5) as client:
        assert client.infer("double", X).fallback_reason == "down"
        assert client.ready()
        assert client.metadata("double").name == "double"


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
def test_compressed_it_is_the_same(way: Way, coding: str) -> None:
    many = {"x": np.zeros((500, 4), np.float32)}
    with Client(way.end(), compression=coding) as client:
        assert np.array_equal(client.infer("double", many).outputs["y"], many["x"])


def test_large_inputs_are_the_same_through_shared_memory(way: Way) -> None:
    large = {"x": np.random.default_rng(1).random((10_000, 4), dtype=np.float32)}
    with Client(way.end(), shared_memory=True) as client:
        for _ in range(2):
            assert np.array_equal(client.infer("double", large).outputs["y"], large["x"] * 2)


def test_statistics_count_requests(client: Client, way: Way) -> None:
    def count() -> int:
        return sum(row.inference_count for row in client.statistics("double"))

    before = count()
    client.infer_many("double", [X] * 3)
    assert count() - before in (3, 6)  # a fake counts requests, servers count items


def test_a_closed_client_says_so(way: Way) -> None:
    client = Client(way.end())
    client.infer("double", X)
    client.close()
    client.close()
    for call in (client.ready, client.models, lambda: client.infer("double", X)):
        with pytest.raises(ClientClosedError):
            call()


@pytest.mark.anyio
async def test_awaited_it_is_the_same(way: Way) -> None:
    async with AsyncClient(way.end()) as client:
        answer = await client.infer("double", X)
        assert np.array_equal(answer.outputs["y"], X["x"] * 2)
        assert await client.ready("double")
        many = await client.infer_many("double", [X] * 20)
        assert len(many) == 20
        with anyio.move_on_after(0.05) as scope:
            await client.infer("slow", X)
        assert scope.cancelled_caught or way.name == "fake"  # its half second takes no time
        assert (await client.infer("double", X)).fallback_reason is None


def test_both_clients_have_the_same_names_and_signatures() -> None:
    def public(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(member)
            for name, member in vars(kind).items()
            if callable(member) and (not name.startswith("_") or name == "__init__")
        }

    blocking, awaited = public(Client), public(AsyncClient)
    assert str(blocking.pop("close")) == str(awaited.pop("aclose"))
    assert blocking["stream"].parameters == awaited["stream"].parameters  # as for every other
    assert {name: str(found) for name, found in blocking.items()} == {
        name: str(found) for name, found in awaited.items()
    }
    for kind in (Client, AsyncClient):
        assert str(inspect.signature(kind.for_site)) == str(inspect.signature(Client.for_site))
