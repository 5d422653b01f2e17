"""The front: files in, labels out, for clients that know nothing of tensors.

A request whose only input is a BYTES tensor named `file`, of shape [n], is turned into
the model's own input, sent on through `infer`, and its answer into `label` (BYTES [n])
and `score` (FP32 [n]). Every other request passes untouched. The file itself ends
here: what is sent on, here or to another site, is the model's input.

Errors:  FilesRequestError, FileRefusedError, AnswerError, MissingLibraryError.
"""

from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread
import msgspec
import numpy as np

from skerry.pipeline.errors import AnswerError, FilesRequestError
from skerry.pipeline.run import Array, Pipeline, has_pipeline
from skerry.pipeline.steps import Label
from skerry.schema.model import Card
from skerry.schema.oip import InferFunction, InferReply, InferRequest, Tensor

FILE_INPUT = "file"
OUTPUTS = ("label", "score")
EXPLANATION = "explanation."
"""How outputs that explain the model's input begin; they pass as they are."""
FILES_MAX = 64
FILE_BYTES_MAX = 64 * 1024**2

Cards = Callable[[str, str], Card | None]
"""Model and version (empty: the one that is served) to its card; None where there is none."""


def wrap(infer: InferFunction, cards: Cards) -> InferFunction:
    """Return an `InferFunction` that also takes files, for models whose card says how."""
    front = _Front(infer, cards)
    return front.infer


class _Front:
    def __init__(self, infer: InferFunction, cards: Cards) -> None:
        self._infer, self._cards = infer, cards
        self._pipelines: dict[str, Pipeline] = {}

    def infer(self, request: InferRequest) -> Awaitable[InferReply]:
        if len(request.inputs) != 1 or request.inputs[0].name != FILE_INPUT:
            return self._infer(request)  # no step of its own: tensors pay nothing for files
        return self._of_files(request)

    async def _of_files(self, request: InferRequest) -> InferReply:
        pipeline = self._pipeline(request)
        if pipeline is None:  # a model of its own may well call an input `file`
            return await self._infer(request)
        files = _files(request, pipeline.card)
        if pipeline.heavy:
            rows = await anyio.to_thread.run_sync(_rows, pipeline, files)
        else:
            rows = _rows(pipeline, files)
        reply = await self._infer(_with_rows(request, pipeline.card, rows))
        arrays = [output.data for output in reply.outputs]
        answers = _answers(pipeline.outputs_to_labels(arrays), request, files)
        answers += [output for output in reply.outputs if output.name.startswith(EXPLANATION)]
        return msgspec.structs.replace(reply, outputs=answers)

    def _pipeline(self, request: InferRequest) -> Pipeline | None:
        card = self._cards(request.model, request.version)
        if card is None or not has_pipeline(card):
            return None
        known = self._pipelines.get(card.name)
        if known is None or known.card is not card:  # a swap brought another version
            known = self._pipelines[card.name] = Pipeline(card)
        return known


def _files(request: InferRequest, card: Card) -> list[bytes]:
    tensor = request.inputs[0]
    if tensor.datatype != "BYTES" or len(tensor.shape) != 1:
        raise FilesRequestError(f"{tensor.datatype} {list(tensor.shape)}", "BYTES [n]")
    files = list(tensor.data)
    if not 1 <= len(files) <= min(FILES_MAX, max(card.max_batch, 1)):
        most = min(FILES_MAX, max(card.max_batch, 1))
        raise FilesRequestError(f"{len(files)} files", f"1 to {most}, as {card.name} takes at once")
    for content in files:
        if len(content) > FILE_BYTES_MAX:
            raise FilesRequestError(f"a file of {len(content)} bytes", f"at most {FILE_BYTES_MAX}")
    for name in request.outputs or ():
        if name not in OUTPUTS:
            raise FilesRequestError(f"output {name!r}", "label, score or both")
    return files


def _rows(pipeline: Pipeline, files: Sequence[bytes]) -> Array:
    rows = [pipeline.file_to_inputs(bytes(content))[0] for content in files]
    if len(rows) == 1:
        return rows[0]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise FilesRequestError("files of unlike sizes after the steps", "like ones, or one alone")
    joined: Array = np.concatenate(rows)
    return joined


def _with_rows(request: InferRequest, card: Card, rows: Array) -> InferRequest:
    spec = card.inputs[0]
    tensor = Tensor(spec.name, spec.datatype, rows.shape, rows)
    return msgspec.structs.replace(
        request, inputs=[tensor], outputs=[card.outputs[0].name], body_bytes=int(rows.nbytes)
    )


def _answers(
    labels: Sequence[Label], request: InferRequest, files: Sequence[bytes]
) -> list[Tensor]:
    if len(labels) != len(files):
        raise AnswerError(f"{len(labels)} rows", f"{len(files)}, one per file")
    names = np.array([label.encode() for label, _ in labels], dtype=np.object_)
    scores = np.array([score for _, score in labels], dtype=np.float32)
    shape = (len(labels),)
    outputs = [Tensor("label", "BYTES", shape, names), Tensor("score", "FP32", shape, scores)]
    return [output for output in outputs if output.name in (request.outputs or OUTPUTS)]
