"""The baseline: what an input is compared with, where a feature is said to be absent.

The mean of a card's check samples is the default: the trainer published them, so no
row of another site is shown, and features that are the same in all of them (a sample
rate, a version flag) play no part. Without samples it is zeros.

Shapes:  rows and baselines carry no batch axis.
Errors:  ExplainError, for a baseline that cannot be made.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.learn.errors import ExplainError
from skerry.schema.model import Card
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_tensors import tensor_from_raw

Array = NDArray[Any]


def baselines_of(
    wanted: str | float,
    names: Sequence[str],
    rows: Sequence[Array],
    card: Card | None,
    *,
    batched: bool,
) -> tuple[list[Array], str]:
    """Return one baseline per row, of its shape and dtype, and what to call them."""
    if isinstance(wanted, float):
        return [_filled(row, wanted) for row in rows], f"{wanted:g}"
    if wanted != "zeros":
        means = None if card is None else _means(card, names, rows, batched=batched)
        if means is not None:
            return means, "card"
        if wanted == "card":
            raise ExplainError(
                "explain_baseline", "card", "a card with check samples of this shape, or zeros"
            )
    return [np.zeros_like(row) for row in rows], "zeros"


def _filled(row: Array, value: float) -> Array:
    with np.errstate(invalid="ignore"):
        filled = np.full(row.shape, value).astype(row.dtype)
    if row.dtype.kind in "iub" and not (filled == value).all():
        raise ExplainError("explain_baseline", f"{value:g}", f"a value that {row.dtype} can hold")
    return filled


def _means(
    card: Card, names: Sequence[str], rows: Sequence[Array], *, batched: bool
) -> list[Array] | None:
    """Return the mean check sample; None where there is none that fits the rows."""
    specs = {spec.name: (index, spec) for index, spec in enumerate(card.inputs)}
    means: list[Array] = []
    for name, row in zip(names, rows, strict=True):
        if name not in specs:
            return None
        index, spec = specs[name]
        found: list[Array] = []
        for sample in card.samples:
            shape = sample.input_shapes[index]
            try:
                data = tensor_from_raw(name, spec.datatype, shape, sample.inputs[index]).data
            except OipError:
                return None
            parts = list(data) if batched else [data]
            found += [part for part in parts if part.shape == row.shape]
        if not found:
            return None
        means.append(_as(np.mean(np.stack(found).astype(np.float64), axis=0), row.dtype))
    return means


def _as(mean: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "b":
        return np.asarray(mean >= 0.5)
    if dtype.kind in "iu":
        return np.rint(mean).astype(dtype)
    return mean.astype(dtype)
