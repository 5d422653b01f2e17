"""The front: a stock client sends a file and gets a label; everything else passes untouched."""

from typing import Any

import msgspec
import numpy as np
import pytest

from skerry.pipeline.errors import AnswerError, FileRefusedError, FilesRequestError, StepError
from skerry.pipeline.front import FILE_BYTES_MAX, wrap
from skerry.pipeline.run import Pipeline
from skerry.schema.model import Card, Step, TensorSpec
from skerry.schema.oip import InferReply, InferRequest, Tensor

pytestmark = pytest.mark.anyio


def step(name: str, **options: object) -> Step:
    raw = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in options.items()}
    return Step(step=name, options=raw)


CARD = Card(
    name="first-byte",
    version=1,
    summary="tells a from b",
    licence="Apache-2.0",
    source="this test",
    framework="numpy",
    opset=17,
    inputs=(TensorSpec(name="bytes", datatype="INT32", shape=(-1, 4)),),
    outputs=(TensorSpec(name="scores", datatype="FP32", shape=(-1, 2)),),
    pre=(step("bytes_head_tail", head=2, tail=2),),
    post=(step("argmax_label"),),
    labels=("a", "b"),
    max_batch=4,
)


class Model:
    """Scores b by whether the first byte is `b`; remembers what it was sent."""

    def __init__(self) -> None:
        self.seen: list[InferRequest] = []

    async def infer(self, request: InferRequest) -> InferReply:
        self.seen.append(request)
        first = request.inputs[0].data[:, 0]
        is_b = (first == ord("b")).astype(np.float32)
        scores = np.stack([1 - is_b, is_b], axis=1)
        output = Tensor("scores", "FP32", scores.shape, scores)
        return InferReply(model=request.model, version="1", outputs=[output], id=request.id)


def request(*files: bytes, **changes: Any) -> InferRequest:
    data = np.array(files, dtype=np.object_)
    tensor = Tensor("file", "BYTES", (len(files),), data)
    fields: dict[str, Any] = {
        "model": "first-byte",
        "inputs": [tensor],
        "id": "7",
        "data_class": "health",
        "deadline_s": 0.5,
        "body_bytes": 10_000,
    }
    return InferRequest(**fields | changes)


def cards(model: str, version: str) -> Card | None:
    return CARD if model == "first-byte" else None


async def test_files_go_in_and_labels_come_out() -> None:
    model = Model()
    reply = await wrap(model.infer, cards)(request(b"apple", b"banana", b"  bread"))
    label, score = reply.outputs
    assert (label.name, label.datatype, label.shape) == ("label", "BYTES", (3,))
    assert label.data.tolist() == [b"a", b"b", b"b"]
    assert (score.name, score.datatype, score.data.dtype) == ("score", "FP32", np.float32)
    assert reply.id == "7"


async def test_what_is_sent_on_is_the_models_input_and_keeps_the_requests_facts() -> None:
    model = Model()
    await wrap(model.infer, cards)(request(b"apple pie, a secret recipe"))
    sent = model.seen[0]
    assert (sent.inputs[0].name, sent.inputs[0].shape) == ("bytes", (1, 4))
    assert sent.body_bytes == 4 * 4  # not the file's size
    assert (sent.data_class, sent.deadline_s, sent.id) == ("health", 0.5, "7")


async def test_one_output_alone_may_be_asked_for() -> None:
    reply = await wrap(Model().infer, cards)(request(b"apple", outputs=["label"]))
    assert [output.name for output in reply.outputs] == ["label"]


async def test_other_requests_pass_untouched() -> None:
    model = Model()
    plain = request(b"x")
    plain.inputs[0] = Tensor("bytes", "INT32", (1, 4), np.array([[98, 0, 0, 0]], dtype=np.int32))
    reply = await wrap(model.infer, cards)(plain)
    assert model.seen[0] is plain
    assert reply.outputs[0].name == "scores"
    unknown = request(b"x", model="none")
    unknown.inputs[0].data = np.zeros((1, 4))
    await wrap(model.infer, cards)(unknown)
    assert model.seen[1] is unknown


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (request(), "0 files, wanted 1 to 4"),
        (request(*[b"a"] * 5), "5 files, wanted 1 to 4"),
        (request(b"a", outputs=["scores"]), "output 'scores', wanted label, score or both"),
        (
            request(inputs=[Tensor("file", "UINT8", (3,), np.zeros(3, np.uint8))]),
            r"UINT8 \[3\], wanted BYTES \[n\]",
        ),
        (
            request(inputs=[Tensor("file", "BYTES", (1, 1), np.array([[b"a"]], dtype=object))]),
            r"BYTES \[1, 1\]",
        ),
    ],
)
async def test_a_malformed_file_request_is_refused_before_the_model(
    bad: InferRequest, said: str
) -> None:
    model = Model()
    with pytest.raises(FilesRequestError, match=said):
        await wrap(model.infer, cards)(bad)
    assert not model.seen


async def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(FilesRequestError, match="at most"):
        await wrap(Model().infer, cards)(request(bytes(FILE_BYTES_MAX + 1)))


async def test_images_are_prepared_off_the_loop_and_reach_the_model() -> None:
    card = msgspec.structs.replace(
        CARD,
        inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, 3, 2, 2)),),
        pre=(step("decode_image"), step("resize", height=2, width=2), step("normalise")),
    )
    seen: list[Any] = []

    async def infer(sent: InferRequest) -> InferReply:
        seen.append(sent.inputs[0].data)
        scores = np.array([[0.1, 0.9]], dtype=np.float32)
        return InferReply(model="m", version="1", outputs=[Tensor("s", "FP32", (1, 2), scores)])

    reply = await wrap(infer, lambda m, v: card)(request(b"P6 1 1 255 " + bytes([255, 0, 255])))
    assert reply.outputs[0].data.tolist() == [b"b"]
    assert seen[0].shape == (1, 3, 2, 2)
    assert seen[0][0, :, 0, 0].tolist() == [1.0, 0.0, 1.0]


async def test_an_answer_with_too_few_rows_is_not_passed_off_as_an_answer() -> None:
    async def infer(sent: InferRequest) -> InferReply:
        scores = np.ones((1, 2), dtype=np.float32)
        return InferReply(model="m", version="1", outputs=[Tensor("s", "FP32", (1, 2), scores)])

    with pytest.raises(AnswerError, match="1 rows, wanted 2"):
        await wrap(infer, cards)(request(b"a", b"b"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pre": ()}, "pre: no step"),
        ({"post": (step("softmax"),)}, "wanted argmax_label last"),
        ({"post": (step("argmax_label"), step("softmax"))}, "wanted argmax_label last"),
        ({"pre": (step("resize", height=1, width=1),)}, "takes a file first"),
        ({"labels": ()}, "one label per class"),
        ({"inputs": CARD.inputs * 2}, "2 inputs"),
        ({"pre": (step("bytes_head_tail"),) * 17}, "17 steps"),
    ],
)
async def test_a_card_whose_steps_cannot_work_is_refused_when_built(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(StepError, match=said):
        Pipeline(msgspec.structs.replace(CARD, **changes))


async def test_steps_that_miss_the_models_shape_are_refused_by_name() -> None:
    pipeline = Pipeline(msgspec.structs.replace(CARD, pre=(step("bytes_head_tail"),)))
    with pytest.raises(FileRefusedError, match=r"of shape \(2048,\).*wanted \(4,\)"):
        pipeline.file_to_inputs(b"apple")
