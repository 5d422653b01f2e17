"""A card's steps, ready to run: a file in, the model's inputs; its outputs, a label.

    inputs = pipeline.file_to_inputs(content);  label = pipeline.outputs_to_label(outputs)

Shapes:  inputs carry the model's batch axis of 1 where it has one; outputs are (n, ...).
Errors:  StepError when the pipeline is built from a card that cannot work;
         FileRefusedError, AnswerError and MissingLibraryError when it runs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.pipeline.errors import AnswerError, FileRefusedError, StepError
from skerry.pipeline.steps import POST, PRE, STEPS_MAX, Kind, Label, build
from skerry.schema.model import Card, Step
from skerry.schema.oip import DATATYPES

Array = NDArray[Any]

_MADE_UP_FILE = b"P6 2 2 255 " + bytes(12)  # an image to image steps, bytes to all others


class Pipeline:
    """The declared steps of one model."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self._pre = _built("pre", card.pre, PRE)
        self._post = _built("post", card.post, POST)
        self._check()

    @property
    def heavy(self) -> bool:
        """Whether a step may take milliseconds, so that a loop hands it to a thread."""
        return any(kind.heavy for kind, _ in self._pre)

    def file_to_inputs(self, content: bytes) -> list[Array]:
        """Return the model's inputs for one file."""
        value: Any = content
        for kind, options in self._pre:
            value = kind.function(value, options)
        wanted = self.card.inputs[0]
        free = self.card.max_batch > 0
        shape = wanted.shape[1:] if free else wanted.shape
        array: Array = np.asarray(value)
        if array.dtype != DATATYPES[wanted.datatype]:
            array = array.astype(DATATYPES[wanted.datatype])
        if not fits(array.shape, shape):
            found = f"of shape {array.shape} after the last step"
            raise FileRefusedError(found, f"{tuple(shape)}, as input {wanted.name!r} takes")
        return [array[None] if free else array]

    def rehearse(self) -> None:
        """Run the steps before the model on a made-up file; raises if they miss its input."""
        try:
            self.file_to_inputs(_MADE_UP_FILE)
        except FileRefusedError as error:
            raise StepError("pre", error.found, error.wanted) from error

    def outputs_to_labels(self, outputs: Sequence[Array]) -> list[Label]:
        """Return one label per row of the model's first output."""
        if not outputs:
            raise AnswerError("no output", "one")
        value: Any = outputs[0]
        for kind, options in self._post:
            if kind.gives_labels:
                return kind.function(value, options, self.card.labels)  # type: ignore[no-any-return]
            value = kind.function(value, options)
        raise AnswerError("scores without labels", "argmax_label as the last step")  # see _check

    def outputs_to_label(self, outputs: Sequence[Array]) -> Label:
        """Return the label of a single file."""
        labels = self.outputs_to_labels(outputs)
        if len(labels) != 1:
            raise AnswerError(f"{len(labels)} rows", "one row, for one file")
        return labels[0]

    def _check(self) -> None:
        if not self._pre or not self._post:
            missing = "post" if self._pre else "pre"
            raise StepError(missing, "no step", "steps from file to input and from output to label")
        for index, (kind, _) in enumerate(self._pre):
            if kind.takes_file != (index == 0):
                found = f"{self.card.pre[index].step!r} there"
                wanted = "a step that takes a file first, and only there"
                raise StepError(f"pre[{index}]", found, wanted)
        for index, (kind, _) in enumerate(self._post):
            if kind.gives_labels != (index == len(self._post) - 1):
                found = f"{self.card.post[index].step!r} there"
                raise StepError(f"post[{index}]", found, "argmax_label last, and only there")
        if len(self.card.inputs) != 1:
            raise StepError("pre", f"a model with {len(self.card.inputs)} inputs", "one input")
        if not self.card.labels:
            raise StepError("labels", "none", "one label per class, for argmax_label")


def check_card(card: Card) -> None:
    """Raise `StepError` if a card's steps do not lead from a file to its model and to a label."""
    Pipeline(card).rehearse()


def has_pipeline(card: Card) -> bool:
    """Tell whether a card declares how a file becomes a label."""
    return bool(card.pre and card.post)


def fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Tell whether a shape matches one whose free axes are -1."""
    return len(shape) == len(wanted) and all(
        b in (-1, a) for a, b in zip(shape, wanted, strict=True)
    )


def _built(part: str, steps: Sequence[Step], vocabulary: dict[str, Kind]) -> list[Any]:
    if len(steps) > STEPS_MAX:
        raise StepError(part, f"{len(steps)} steps", f"at most {STEPS_MAX}")
    return [build(f"{part}[{index}]", step, vocabulary) for index, step in enumerate(steps)]
