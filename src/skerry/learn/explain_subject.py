"""What is explained: one row of a model's inputs, one number of its answer.

Errors:  ExplainError, where the request leaves no single row or number to explain.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.learn.attribution import Values
from skerry.learn.errors import ExplainError
from skerry.learn.explain_wish import Wish
from skerry.schema.model import Card
from skerry.schema.oip import InferReply, InferRequest, Tensor
from skerry.schema.oip_documents import ModelMetadata

Array = NDArray[Any]

ROWS_MAX = 256
"""Most rows of one run, where no card says what the model takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be explained: a model, a row of its inputs, one number of its answer."""

    model: str
    version: str
    names: tuple[str, ...]
    rows: tuple[Array, ...]
    datatypes: tuple[str, ...]
    batched: bool
    rows_max: int
    output: str
    target: int
    answered: float
    """The number that is explained, as the caller has it."""

    def picked(self, output: Tensor, rows: int) -> Values:
        """Return the one number of each of an answer's rows."""
        data = output.data
        if not self.batched:
            return np.array([float(data.reshape(-1)[self.target])])
        if data.shape[0] != rows:
            raise ExplainError(
                f"output {output.name}", f"of {data.shape[0]} rows for {rows}", "a row per input"
            )
        picked: Values = data.reshape(rows, -1)[:, self.target].astype(np.float64)
        return picked


def check_request(request: InferRequest) -> None:
    """Refuse what has no elements to give shares to, and what cannot be run again alone."""
    if "sequence_id" in request.parameters:
        raise ExplainError("explain", "asked of a sequence", "a request that stands alone")
    for tensor in request.inputs:
        if tensor.datatype in ("BYTES", "BF16"):
            raise ExplainError(
                f"input {tensor.name}",
                f"of {tensor.datatype}",
                "plain numbers, which a baseline can replace",
            )


def subject_of(
    request: InferRequest,
    reply: InferReply,
    metadata: ModelMetadata,
    card: Card | None,
    wish: Wish,
) -> Subject:
    """Settle which row and which number are explained."""
    specs = (*metadata.inputs, *metadata.outputs)
    free = all(spec.shape and spec.shape[0] == -1 for spec in specs)
    batched = free and (card is None or card.max_batch > 0)
    tensors = request.inputs
    for tensor in tensors if batched else ():
        if tensor.shape[0] != 1:
            raise ExplainError(
                f"input {tensor.name}", f"of {tensor.shape[0]} rows", "one row, to be explained"
            )
    output = _output(reply, wish)
    target = _target(output, card, wish)
    return Subject(
        model=reply.model,
        version=reply.version,
        names=tuple(tensor.name for tensor in tensors),
        rows=tuple(tensor.data[0] if batched else tensor.data for tensor in tensors),
        datatypes=tuple(tensor.datatype for tensor in tensors),
        batched=batched,
        rows_max=min(card.max_batch if card is not None else ROWS_MAX, ROWS_MAX),
        output=output.name,
        target=target,
        answered=float(output.data.reshape(-1)[target]),
    )


def _output(reply: InferReply, wish: Wish) -> Tensor:
    """Return the output that is explained: the one named, else the first of real numbers."""
    numeric = [
        output
        for output in reply.outputs
        if output.data.dtype.kind in "fiub" and output.datatype != "BF16"
    ]
    if wish.output:
        for output in numeric:
            if output.name == wish.output:
                return output
        names = ", ".join(output.name for output in numeric) or "none: it has no numbers"
        raise ExplainError("explain_output", wish.output, f"one of {names}")
    if not numeric:
        raise ExplainError(f"the answer of {reply.model}", "without numbers", "a number to explain")
    return next((output for output in numeric if output.data.dtype.kind == "f"), numeric[0])


def _target(output: Tensor, card: Card | None, wish: Wish) -> int:
    """Return which number of an output is explained: the class asked for, else the largest."""
    flat = output.data.reshape(-1)
    if not flat.size:
        raise ExplainError(f"output {output.name}", "empty", "a number to explain")
    if wish.target is None:
        return int(np.argmax(flat))
    if isinstance(wish.target, str):
        labels = card.labels if card is not None else ()
        if wish.target not in labels or labels.index(wish.target) >= flat.size:
            raise ExplainError(
                "explain_target", repr(wish.target), "a label of the model's card, or a number"
            )
        return labels.index(wish.target)
    if not 0 <= wish.target < flat.size:
        raise ExplainError("explain_target", str(wish.target), f"0 to {flat.size - 1}")
    return wish.target
