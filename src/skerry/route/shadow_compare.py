"""Two answers to one request: are they the same, and how far apart?

    same    what a caller would act on agrees: classes, labels, texts, whole numbers;
            where an answer has none of those, its numbers agree within the tolerance
    within  everything agrees, scores too, within the tolerance

An output of real numbers is scores of classes where it has one row per row of the
input and several numbers in each; what counts is each row's largest. Numbers agree
where they differ by at most the tolerance, absolutely or relative to the primary's.

Shapes:  any; outputs are matched by name, and outputs of the candidate alone are passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.schema.oip import Tensor
from skerry.schema.oip_tensors import floats_of_bf16

Array = NDArray[Any]
TOLERANCE = 1e-3


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What two answers have in common. `unlike` is why they cannot be compared at all."""

    same: bool = True
    within: bool = True
    abs_max: float = 0.0
    rel_max: float = 0.0
    unlike: str = ""


def compare(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], *, rows: int, tolerance: float
) -> Comparison:
    """Compare the primary's outputs with the candidate's; `rows` is the input's first axis."""
    found = Comparison()
    given = {tensor.name: tensor for tensor in theirs}
    decisive: list[bool] = []
    for tensor in ours:
        other = given.get(tensor.name)
        why = _unlike(tensor, other)
        if why or other is None:
            return Comparison(same=False, within=False, unlike=why)
        mine, its = _numbers(tensor), _numbers(other)
        if mine.dtype.kind != "f":
            equal = bool(np.array_equal(mine, its))
            decisive.append(equal)
            found.within &= equal
            continue
        found.within &= _measure(found, mine, its, tolerance)
        if _is_scores(mine, rows):
            decisive.append(bool(np.array_equal(_classes(mine, rows), _classes(its, rows))))
    found.same = all(decisive) if decisive else found.within
    return found


def _numbers(tensor: Tensor) -> Array:
    """Return a tensor's elements as what they mean: BF16 travels as bits."""
    return floats_of_bf16(tensor.data) if tensor.datatype == "BF16" else tensor.data


def _unlike(tensor: Tensor, other: Tensor | None) -> str:
    if other is None:
        return f"no output {tensor.name}"
    if other.datatype != tensor.datatype:
        return f"{tensor.name} is {other.datatype}, not {tensor.datatype}"
    if other.data.shape != tensor.data.shape:
        return f"{tensor.name} is of shape {list(other.data.shape)}, not {list(tensor.data.shape)}"
    return ""


def _measure(found: Comparison, mine: Array, other: Array, tolerance: float) -> bool:
    """Note the largest differences; return whether all are within the tolerance."""
    if not mine.size:
        return True
    ours, theirs = mine.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        gap = np.where(alike, 0.0, np.abs(ours - theirs))
        gap = np.where(np.isnan(gap), np.inf, gap)  # a number against none
        rel = np.where(gap == 0, 0.0, gap / np.abs(ours))
    rel = np.where(np.isnan(rel), np.inf, rel)
    found.abs_max = max(found.abs_max, float(gap.max()))
    found.rel_max = max(found.rel_max, float(rel.max()))
    return bool(((gap <= tolerance) | (rel <= tolerance)).all())


def _is_scores(data: Array, rows: int) -> bool:
    """Tell [rows, classes], or [classes] of a model without a batch axis, from plain numbers."""
    shape: tuple[int, ...] = data.shape
    if len(shape) == 2:
        return shape[0] == rows and shape[1] > 1
    return len(shape) == 1 and rows == 1 and shape[0] > 1


def _classes(data: Array, rows: int) -> Array:
    classes: Array = data.reshape(rows, -1).argmax(axis=1)
    return classes
