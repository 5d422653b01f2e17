"""Explanations through a real server: exact, bounded, refused in words, out of others' way."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from skerry.base.clock import SystemClock
from skerry.base.http_client import Address, HttpClient
from skerry.learn.errors import ExplainBusyError, ExplainElsewhereError, ExplainError
from skerry.learn.explain_wish import wish_of
from skerry.learn.explainer import Explainer
from skerry.learn.explanations import UNDER_WAY_MAX
from skerry.pipeline.front import wrap as with_front
from skerry.schema.model import Card, CheckSample, Step, TensorSpec
from skerry.schema.oip import InferFunction, InferReply, InferRequest, ServedBy, Tensor
from skerry.schema.oip_documents import ModelMetadata
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings

pytestmark = pytest.mark.anyio

Post = Callable[..., Awaitable[tuple[int, Any]]]
W = np.array([[2.0, -1.0], [0.0, 0.5], [1.0, 3.0], [-4.0, 0.0]], dtype=np.float32)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def save(path: Path, nodes: Any, inputs: Any, outputs: Any, weights: Any) -> None:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        initializer=[
            helper.make_tensor(name, TensorProto.FLOAT, data.shape, data.ravel())
            for name, data in weights.items()
        ],
    )
    path.parent.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(path),
    )


def linear(path: Path, rows: str | int) -> None:
    """y = x @ W of [rows, 4] to [rows, 2]."""
    save(
        path,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, [rows, 4])],
        [("y", TensorProto.FLOAT, [rows, 2])],
        {"w": W},
    )


def picture(path: Path) -> None:
    """The sum of the left upper quarter of [n, 3, 16, 16], to [n, 1]."""
    mask = np.zeros((3, 16, 16), np.float32)
    mask[:, :8, :8] = 1
    save(
        path,
        [
            helper.make_node("Mul", ["image", "mask"], ["seen"]),
            helper.make_node("Flatten", ["seen"], ["flat"]),
            helper.make_node("MatMul", ["flat", "ones"], ["y"]),
        ],
        [("image", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [("y", TensorProto.FLOAT, ["n", 1])],
        {"mask": mask, "ones": np.ones((768, 1), np.float32)},
    )


def card(name: str, **changes: Any) -> Card:
    samples = tuple(
        CheckSample(
            inputs=(x.tobytes(),),
            input_shapes=((1, 4),),
            outputs=((x @ W).tobytes(),),
            output_shapes=((1, 2),),
        )
        for x in (np.full((1, 4), value, np.float32) for value in (0.0, 2.0))
    )
    fields: dict[str, Any] = {
        "name": name,
        "version": 1,
        "summary": "",
        "licence": "Apache-2.0",
        "source": "test",
        "framework": "onnx",
        "opset": 17,
        "inputs": (TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),),
        "outputs": (TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
        "labels": ("left", "right"),
        "samples": samples,
        "max_batch": 16,
    }
    return Card(**{**fields, **changes})


def scaled(path: Path) -> None:
    """y = x * k of [n, 2] and a scalar: an input without axes."""
    save(
        path,
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 2]), ("k", TensorProto.FLOAT, [])],
        [("y", TensorProto.FLOAT, ["n", 2])],
        {},
    )


def random(path: Path) -> None:
    """x plus noise, another at every run."""
    save(
        path,
        [
            helper.make_node("RandomNormalLike", ["x"], ["noise"], scale=100.0),
            helper.make_node("Add", ["x", "noise"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
        {},
    )


def file_card() -> Card:
    return card(
        "files",
        inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, 3, 16, 16)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
        labels=("light",),
        samples=(),
        pre=(
            Step(step="decode_image"),
            Step(
                step="resize", options={"width": msgspec.Raw(b"16"), "height": msgspec.Raw(b"16")}
            ),
            Step(step="normalise"),
        ),
        post=(Step(step="argmax_label"),),
    )


def texts(path: Path) -> None:
    save(
        path,
        [helper.make_node("Identity", ["t"], ["u"])],
        [("t", TensorProto.STRING, ["n", 1])],
        [("u", TensorProto.STRING, ["n", 1])],
        {},
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`fixed` has no batch axis, `carded` has check samples, `files` takes image files."""
    folder = tmp_path / "models"
    linear(folder / "free" / "1" / "model.onnx", "n")
    linear(folder / "fixed" / "1" / "model.onnx", 1)
    linear(folder / "carded" / "1" / "model.onnx", "n")
    picture(folder / "picture" / "1" / "model.onnx")
    texts(folder / "texts" / "1" / "model.onnx")
    scaled(folder / "scaled" / "1" / "model.onnx")
    random(folder / "random" / "1" / "model.onnx")
    picture(folder / "files" / "1" / "model.onnx")
    (folder / "files" / "1" / "card.json").write_bytes(msgspec.json.encode(file_card()))
    (folder / "carded" / "1" / "card.json").write_bytes(msgspec.json.encode(card("carded")))
    return folder


@pytest.fixture
async def server(repository: Path) -> AsyncIterator[Server]:
    """What `skerry serve` composes: front, explainer, service."""
    settings = ServeSettings(
        repository=str(repository), http_port=0, grpc_port=None, metrics_port=None
    )

    def wrap(infer: InferFunction) -> InferFunction:
        explainer = Explainer(
            infer,
            run=lambda request: server.service.run_apart(request),
            asked=lambda: server.service.count(),
            metadata=lambda *of: server.service.metadata(*of),
            cards=lambda *of: server.service.card(*of),
            node=settings.node,
            clock=SystemClock(),
        )
        return with_front(explainer.infer, lambda *of: server.service.card(*of))

    server = Server(settings, wrap=wrap)
    await server.start()
    yield server
    await server.stop(grace_s=1)


@pytest.fixture
async def post(server: Server) -> AsyncIterator[Post]:
    """Send JSON to a model; returns the status, and outputs by name with the parameters."""
    client = HttpClient()

    async def send(model: str, inputs: list[Any], **parameters: Any) -> tuple[int, Any]:
        body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
        answer = await client.call(
            Address("127.0.0.1", server.ports.http, False, ""),
            "POST",
            f"/v2/models/{model}/infer",
            body=[body],
            deadline_s=10,
        )
        document = json.loads(bytes(answer.body))
        if answer.status == 200:
            outputs = {
                one["name"]: np.array(one["data"]).reshape(one["shape"])
                for one in document["outputs"]
            }
            document = outputs, document.get("parameters", {})
        return answer.status, document

    yield send
    client.close()


def fp32(name: str, array: Any) -> dict[str, Any]:
    data = np.asarray(array, np.float32)
    return {
        "name": name,
        "datatype": "FP32",
        "shape": list(data.shape),
        "data": data.ravel().tolist(),
    }


X = [[1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize(("model", "shape"), [("free", (4,)), ("fixed", (1, 4))])
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("method", ["shapley", "occlusion"])
async def test_a_linear_model_is_explained_exactly(
    post: Post, model: str, shape: tuple[int, ...], target: int, method: str
) -> None:
    status, found = await post(
        model, [fp32("x", X)], explain=True, explain_target=target, explain_method=method
    )
    assert status == 200, found
    outputs, facts = found
    shares = outputs["explanation.x"]
    assert shares.shape == shape
    np.testing.assert_allclose(shares.reshape(-1), np.array(X[0]) * W[:, target], atol=1e-5)
    assert abs(facts["explain_gap"]) < 1e-5
    assert facts["explain_value"] == pytest.approx(float((np.array(X[0]) @ W)[target]))
    assert (facts["explain_baseline"], facts["explain_output"]) == ("zeros", "y")
    assert facts["explain_runs"] <= 16
    assert "skerry-served-by" in facts
    np.testing.assert_allclose(outputs["y"], X @ W, rtol=1e-6)


async def test_the_class_with_the_largest_value_is_explained_if_none_is_named(post: Post) -> None:
    _, (outputs, facts) = await post("free", [fp32("x", X)], explain=True)
    assert facts["explain_target"] == int(np.argmax(outputs["y"]))


async def test_the_mean_of_the_check_samples_is_the_baseline(post: Post) -> None:
    _, (outputs, facts) = await post("carded", [fp32("x", X)], explain=True, explain_target="right")
    assert facts["explain_baseline"] == "card"
    assert outputs["explanation.x"][0] == 0, "it equals the mean, so it plays no part"
    np.testing.assert_allclose(outputs["explanation.x"], (np.array(X[0]) - 1) * W[:, 1], atol=1e-5)
    _, (outputs, facts) = await post(
        "carded", [fp32("x", X)], explain=True, explain_target="left", explain_baseline=2
    )
    np.testing.assert_allclose(outputs["explanation.x"], (np.array(X[0]) - 2) * W[:, 0], atol=1e-5)


async def test_a_baseline_of_the_callers_own_is_taken(post: Post) -> None:
    own = fp32("baseline.x", [[1.0, 0.0, 3.0, 1.0]])
    status, found = await post("free", [fp32("x", X), own], explain=True, explain_target=0)
    assert status == 200, found
    outputs, facts = found
    assert facts["explain_baseline"] == "given"
    np.testing.assert_allclose(outputs["explanation.x"], [0.0, 0.0, 0.0, -12.0], atol=1e-5)
    for wrong, said in (
        (fp32("baseline.x", [1.0]), "input baseline.x is FP32 [1], wanted FP32 [1, 4], as x is"),
        (fp32("baseline.z", X), "input baseline.z is for no input"),
    ):
        status, document = await post("free", [fp32("x", X), wrong], explain=True)
        assert (status, document["code"]) == (400, "E0707")
        assert said in document["error"]


async def test_an_image_gets_a_map_of_the_patches_that_count(post: Post) -> None:
    image = np.ones((1, 3, 16, 16))
    _, (outputs, facts) = await post("picture", [fp32("image", image)], explain=True)
    assert facts["explain_method"] == "occlusion"
    heat = outputs["explanation.image"]
    assert heat.shape == (3, 16, 16)
    np.testing.assert_allclose(heat[:, :8, :8], 1, atol=1e-4)
    np.testing.assert_allclose(heat[:, 8:, :], 0, atol=1e-4)


async def test_a_plain_request_gets_a_plain_answer(post: Post) -> None:
    for asked in ({}, {"explain": False}):
        status, (outputs, facts) = await post("free", [fp32("x", X)], **asked)
        assert status == 200
        assert list(outputs) == ["y"]
        assert not any(name.startswith("explain") for name in facts)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"explain": 1}, "explain is 1, wanted true or false"),
        ({"explain_method": "lime"}, "explain_method is 'lime', wanted shapley or occlusion"),
        ({"explain_budget": 0}, "explain_budget is 0, wanted a whole number, 2 to 20000"),
        ({"explain_budget": 5, "explain_method": "shapley"}, "wanted at least 8 for shapley of 4"),
        ({"explain_target": 2}, "explain_target is 2, wanted 0 to 1"),
        ({"explain_target": "up"}, "explain_target is 'up', wanted a label"),
        ({"explain_output": "z"}, "explain_output is z, wanted one of y"),
        ({"explain_baseline": "mean"}, "explain_baseline is 'mean', wanted zeros, card or a"),
        ({"explain_baseline": "card"}, "wanted a card with check samples"),
        ({"explain_metod": "shapley"}, "parameter 'explain_metod' is unknown"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(
    post: Post, parameters: dict[str, Any], said: str
) -> None:
    status, document = await post("free", [fp32("x", X)], **{"explain": True, **parameters})
    assert status == 400, document
    assert said in document["error"]


async def test_texts_and_several_rows_are_refused(post: Post) -> None:
    text = {"name": "t", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}
    status, document = await post("texts", [text], explain=True)
    assert (status, document["code"]) == (400, "E0707")
    assert "input t is of BYTES" in document["error"]
    status, document = await post("free", [fp32("x", X * 2)], explain=True)
    assert (status, document["code"]) == (400, "E0707")
    assert "input x is of 2 rows" in document["error"]


async def test_an_input_without_axes_has_its_share_too(post: Post) -> None:
    """2 * 3 from (0, 0): neither does anything alone, so each gets half."""
    k = {"name": "k", "datatype": "FP32", "shape": [], "data": [3.0]}
    status, found = await post("scaled", [fp32("x", [[1.0, 2.0]]), k], explain=True)
    assert status == 200, found
    outputs, facts = found
    assert facts["explain_target"] == 1
    np.testing.assert_allclose(outputs["explanation.x"], [[0.0, 3.0]], atol=1e-6)
    np.testing.assert_allclose(outputs["explanation.k"], 3.0, atol=1e-6)


async def test_an_image_file_gets_its_map_beside_its_label(post: Post) -> None:
    grey = b"P6 16 16 255 " + bytes([127]) * 768  # text, as JSON wants it
    file = {"name": "file", "datatype": "BYTES", "shape": [1], "data": [grey.decode()]}
    status, found = await post("files", [file], explain=True, explain_baseline="zeros")
    assert status == 200, found
    outputs, _ = found
    assert outputs["label"].tolist() == ["light"]
    heat = outputs["explanation.image"]
    assert heat.shape == (3, 16, 16)
    assert abs(heat[:, 8:, :]).max() < 1e-4 < abs(heat[:, :8, :8]).max()


async def test_an_answer_that_another_run_does_not_give_is_not_explained(post: Post) -> None:
    status, document = await post("random", [fp32("x", X)], explain=True)
    assert (status, document["code"]) == (501, "E0711")


async def test_a_sequence_is_not_explained(post: Post) -> None:
    status, document = await post("free", [fp32("x", X)], explain=True, sequence_id=7)
    assert (status, document["code"]) == (400, "E0707")


async def test_the_command_line_prints_what_weighs_most(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from skerry.cli.main import run

    np.save(tmp_path / "x.npy", np.array(X, np.float32))
    url = f"http://127.0.0.1:{server.ports.http}"
    arguments = ["infer", "free", "--url", url, "--input", str(tmp_path / "x.npy")]
    assert await anyio.to_thread.run_sync(run, [*arguments, "--explain-answer"]) == 0
    data, words = capsys.readouterr()
    assert data.splitlines() == ["y [1, 2]: -11.0 9.0", "+9  x[2]", "-1  x[0]", "+1  x[1]"]
    assert (
        "explained by shapley-exact in 16 runs: y[1] is 9, and 0 for the baseline (zeros)" in words
    )
    assert await anyio.to_thread.run_sync(run, [*arguments, "--explain-answer", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parameters"]["explain_method"] == "shapley-exact"
    assert document["outputs"]["explanation.x"] == pytest.approx([-1, 1, 9, 0])


async def test_a_short_deadline_ends_it_early_and_says_so(post: Post) -> None:
    image = np.random.default_rng(0).normal(size=(1, 3, 16, 16))
    wish = {"explain": True, "explain_method": "shapley", "explain_budget": 20_000}
    parameters = {**wish, "skerry-deadline-ms": 60}
    status, (outputs, facts) = await post("picture", [fp32("image", image)], **parameters)
    assert status == 200
    assert facts["explain_stopped"] == "deadline"
    assert facts["explain_runs"] < 20_000
    assert "y" in outputs


async def test_runs_of_an_explanation_are_no_requests(server: Server, post: Post) -> None:
    await post("free", [fp32("x", X)], explain=True)
    assert server.service.stats()["free"]["requests"] == 1


async def test_plain_requests_are_answered_while_one_is_explained(post: Post) -> None:
    image = np.random.default_rng(0).normal(size=(1, 3, 16, 16))
    answered: list[str] = []

    async def explained() -> None:
        wish = {"explain": True, "explain_method": "shapley", "explain_budget": 20_000}
        await post("picture", [fp32("image", image)], **wish)
        answered.append("explained")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(explained)
        for _ in range(5):
            await post("picture", [fp32("image", image)])
            answered.append("plain")
    assert answered == [*["plain"] * 5, "explained"]


def explainer(infer: InferFunction) -> Explainer:
    async def run(request: InferRequest) -> list[Tensor]:
        raise AssertionError("nothing runs here")

    def metadata(model: str, version: str) -> ModelMetadata:
        raise AssertionError("nothing is served here")

    return Explainer(
        infer,
        run=run,
        asked=lambda: 0,
        metadata=metadata,
        cards=lambda *_: None,
        node="here/1",
        clock=SystemClock(),
    )


def request(**parameters: Any) -> InferRequest:
    x = Tensor("x", "FP32", (1, 4), np.ones((1, 4), np.float32))
    return InferRequest(model="m", inputs=[x], parameters={"explain": True, **parameters})


def reply_of(node: str, *names: str) -> InferReply:
    outputs = [Tensor(name, "FP32", (1,), np.ones(1, np.float32)) for name in names]
    served = ServedBy(
        site="there", node=node, tier="edge", model="m", version="1", reason="local-down"
    )
    return InferReply(model="m", version="1", outputs=outputs, served_by=served)


async def test_who_answered_elsewhere_has_explained_or_is_named() -> None:
    async def with_one(request: InferRequest) -> InferReply:
        return reply_of("there/1", "y", "explanation.x")

    async def without(request: InferRequest) -> InferReply:
        return reply_of("there/1", "y")

    reply = await explainer(with_one).infer(request())
    assert [one.name for one in reply.outputs] == ["y", "explanation.x"]
    with pytest.raises(ExplainElsewhereError, match="there/1 answered for m"):
        await explainer(without).infer(request())


async def test_no_more_than_a_few_are_under_way() -> None:
    release = anyio.Event()

    async def held(request: InferRequest) -> InferReply:
        await release.wait()
        return reply_of("there/1", "explanation.x")

    one = explainer(held)
    async with anyio.create_task_group() as tasks:
        for _ in range(UNDER_WAY_MAX):
            tasks.start_soon(one.infer, request())
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ExplainBusyError):
            await one.infer(request())
        release.set()
    await one.infer(request())


def test_a_wish_that_says_false_is_none() -> None:
    assert wish_of({"explain": False}) is None
    with pytest.raises(ExplainError):
        wish_of({"explain": "yes"})


class Steady(SystemClock):
    """A clock that moves by what runs cost."""

    def __init__(self) -> None:
        self.now_s, self.slept_s = 1.0, 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        self.slept_s += duration_s


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize(("row_s", "rows"), [(1e-5, 32), (1e-4, 4), (1.0, 1)])
async def test_pieces_grow_where_rows_are_quick_and_stay_short(
    row_s: float, rows: int, busy: bool
) -> None:
    """A piece may take half a millisecond; one that took longer is followed by a shorter one."""
    clock, sizes = Steady(), list[int]()

    async def run(request: InferRequest) -> list[Tensor]:
        x = request.inputs[0].data
        sizes.append(len(x))
        clock.now_s += row_s * len(x)
        y = x.sum(axis=1, keepdims=True)
        return [Tensor("y", "FP32", y.shape, y)]

    async def answer(request: InferRequest) -> InferReply:
        y = Tensor("y", "FP32", (1, 1), np.full((1, 1), 30, np.float32))
        return InferReply(model="m", version="1", outputs=[y])

    spec = {"datatype": "FP32", "shape": (-1, 30)}
    one = Explainer(
        answer,
        run=run,
        asked=lambda: len(sizes) if busy else 0,
        metadata=lambda *_: ModelMetadata(
            name="m",
            versions=("1",),
            inputs=(TensorSpec(name="x", **spec),),
            outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
        ),
        cards=lambda *_: None,
        node="here/1",
        clock=clock,
    )
    x = Tensor("x", "FP32", (1, 30), np.ones((1, 30), np.float32))
    asked = InferRequest(
        model="m", inputs=[x], parameters={"explain": True}, deadline_s=1e6, received_s=1.0
    )
    reply = await one.infer(asked)
    np.testing.assert_allclose(reply.outputs[1].data, 1, atol=1e-5)
    assert max(sizes[6:]) == rows
    ran_s = clock.now_s - 1.0 - clock.slept_s
    if busy:  # one more request at every piece: four fifths of the time are left to others
        assert clock.slept_s > 3.9 * ran_s * (len(sizes) - 1) / len(sizes)
    else:
        assert clock.slept_s == 0
