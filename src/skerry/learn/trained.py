"""A model as its trainer left it: the ONNX graph, and a way to ask the trainer itself.

Read from a file by its kind: ONNX; scikit-learn as pickle or joblib; PyTorch as a whole
module or an exported program. Everything but ONNX runs code while it is loaded, so it
is refused unless the caller vouches for the file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skerry.learn.errors import PickleError, UnusableModelError
from skerry.learn.onnx_file import parse, read_bounded

Array = NDArray[Any]
Predict = Callable[[Sequence[Array]], list[Array]]
"""The trainer's own answer: the model's inputs in order to its outputs in order."""

ONNX_SUFFIXES = {".onnx"}
SKLEARN_SUFFIXES = {".pkl", ".pickle", ".joblib"}
TORCH_SUFFIXES = {".pt", ".pth", ".pt2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a trainer handed over. `model` is an `onnx.ModelProto`."""

    model: Any
    framework: str
    labels: tuple[str, ...] = ()
    predict: Predict | None = None
    example: tuple[Array, ...] = ()


def read_trained(path: Path, *, trust_pickle: bool, example: Sequence[Array] = ()) -> Trained:
    """Read a model file; `example` inputs are what PyTorch needs to trace a module."""
    suffix = path.suffix.lower()
    if suffix in ONNX_SUFFIXES:
        model = parse(read_bounded(path), file=str(path))
        producer = model.producer_name or "unknown"
        return Trained(model=model, framework=f"onnx ({producer[:40]})")
    if suffix not in SKLEARN_SUFFIXES | TORCH_SUFFIXES:
        known = ", ".join(sorted(ONNX_SUFFIXES | SKLEARN_SUFFIXES | TORCH_SUFFIXES))
        raise UnusableModelError(str(path), f"suffix {suffix or 'none'}", f"one of {known}")
    read_bounded(path)  # missing, empty and too large are told apart before trust is asked for
    if not trust_pickle:
        raise PickleError(str(path))
    if suffix in SKLEARN_SUFFIXES:
        from skerry.learn.from_sklearn import read_estimator

        return read_estimator(path)
    from skerry.learn.from_torch import read_module

    return read_module(path, example)
