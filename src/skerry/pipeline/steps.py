"""The steps that a card may declare: from a file's bytes to a model's input, and back to a label.

A pre step takes what the step before it gave (the first takes the file's bytes); a post
step takes the model's first output, one row per file. Each is a plain function with an
options document; `PRE` and `POST` are the whole vocabulary.

Shapes:  pre steps work on one file and know no batch axis; post steps on (n, classes).
Errors:  StepError, FileRefusedError, MissingLibraryError, AnswerError.
Source:  bytes_head_tail is magika 1.0.3's feature extraction v2; a test holds it equal.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.pipeline.errors import AnswerError, StepError
from skerry.pipeline.image import decode_image, normalise, resize
from skerry.pipeline.options import (
    ArgmaxLabelOptions,
    BytesHeadTailOptions,
    DecodeImageOptions,
    NormaliseOptions,
    Options,
    ResizeOptions,
)
from skerry.schema.model import Step

Array = NDArray[Any]


class Label(NamedTuple):
    """What a file is, and the score of that answer."""

    label: str
    score: float


class Kind(NamedTuple):
    """One entry of the vocabulary. `heavy` steps are kept off the event loop."""

    function: Callable[..., Any]
    options: type[Options]
    takes_file: bool = False
    gives_labels: bool = False
    heavy: bool = False


def bytes_head_tail(content: bytes, options: BytesHeadTailOptions) -> Array:
    """Return the first and last bytes of a file as int32, white space stripped, padded."""
    block = options.block_bytes
    head = content[:block].lstrip()[: options.head]
    tail = content[-block:].rstrip()
    tail = tail[max(0, len(tail) - options.tail) :]
    features = np.full(options.head + options.tail, options.padding, dtype=np.int32)
    features[: len(head)] = np.frombuffer(head, dtype=np.uint8)
    features[len(features) - len(tail) :] = np.frombuffer(tail, dtype=np.uint8)
    return features


def flatten(value: Array, options: Options) -> Array:
    """Return all elements in one row, in the order they have."""
    return value.reshape(-1)


def softmax(scores: Array, options: Options) -> Array:
    """Turn each row of scores into shares that add up to 1."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))  # the largest is 1: no overflow
    shares: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return shares


def argmax_label(scores: Array, options: ArgmaxLabelOptions, labels: Sequence[str]) -> list[Label]:
    """Return each row's best label and its score."""
    if scores.ndim != 2 or scores.shape[1] != len(labels):
        raise AnswerError(f"an output of shape {scores.shape}", f"(n, {len(labels)}), as labelled")
    best = scores.argmax(axis=1)
    answers = []
    for row, index in enumerate(best):
        score = float(scores[row, index])
        if not np.isfinite(score):
            raise AnswerError(f"a score of {score}", "finite scores")
        label = labels[index] if score >= options.threshold else options.below
        answers.append(Label(label, score))
    return answers


PRE: dict[str, Kind] = {
    "bytes_head_tail": Kind(bytes_head_tail, BytesHeadTailOptions, takes_file=True),
    "decode_image": Kind(decode_image, DecodeImageOptions, takes_file=True, heavy=True),
    "resize": Kind(resize, ResizeOptions, heavy=True),
    "normalise": Kind(normalise, NormaliseOptions, heavy=True),
    "flatten": Kind(flatten, Options),
}
POST: dict[str, Kind] = {
    "softmax": Kind(softmax, Options),
    "argmax_label": Kind(argmax_label, ArgmaxLabelOptions, gives_labels=True),
}
STEPS_MAX = 16


def build(where: str, step: Step, vocabulary: dict[str, Kind]) -> tuple[Kind, Options]:
    """Look a step up and decode its options; raises `StepError` naming the step."""
    kind = vocabulary.get(step.step)
    if kind is None:
        raise StepError(where, f"no step {step.step!r}", "one of " + ", ".join(vocabulary))
    try:
        plain = {name: msgspec.json.decode(value) for name, value in step.options.items()}
        return kind, msgspec.convert(plain, kind.options, strict=False)
    except msgspec.MsgspecError as error:
        reason = str(error).replace("Object ", "").replace("object ", "")
        wanted = ", ".join(kind.options.__struct_fields__) or "none"
        raise StepError(f"{where} {step.step}", reason, f"options {wanted}") from error
