"""The baseline: what an input is compared with, where a feature is said to be absent.

The mean of a card's check samples is the default: the trainer published them, so no
row of another site is shown, and features that are the same in all of them (a sample
rate, a version flag) play no part. Without samples it is zeros. A caller may give its
own, as a tensor `baseline.<input>` beside the input.

Shapes:  rows and baselines carry no batch axis.
Errors:  ExplainError, for a baseline that cannot be made.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.learn.errors import ExplainError
from skerry.schema.model import Card
from skerry.schema.oip import InferRequest, Tensor
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_tensors import tensor_from_raw

Array = NDArray[Any]
GIVEN = "baseline."


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


def taken_apart(request: InferRequest) -> tuple[InferRequest, dict[str, Tensor]]:
    """Return the request without the baselines that came with it, and those by input.

    Where there are some the request asks for no explanation: a node elsewhere, which
    does not see them, would compare with another baseline.
    """
    given = {
        tensor.name.removeprefix(GIVEN): tensor
        for tensor in request.inputs
        if tensor.name.startswith(GIVEN)
    }
    if not given:
        return request, given
    plain = {
        name: value for name, value in request.parameters.items() if not name.startswith("explain")
    }
    inputs = [tensor for tensor in request.inputs if not tensor.name.startswith(GIVEN)]
    return msgspec.structs.replace(request, inputs=inputs, parameters=plain), given


def replaced(
    baselines: Sequence[Array],
    given: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    *,
    batched: bool,
) -> list[Array]:
    """Return baselines, one per input, with those in place that the caller gave."""
    unknown = given.keys() - {tensor.name for tensor in inputs}
    if unknown:
        raise ExplainError(f"input {GIVEN}{min(unknown)}", "for no input", "one of the request")
    found: list[Array] = []
    for baseline, tensor in zip(baselines, inputs, strict=True):
        own = given.get(tensor.name)
        if own is None:
            found.append(baseline)
            continue
        if (own.datatype, own.shape) != (tensor.datatype, tensor.shape):
            raise ExplainError(
                f"input {own.name}",
                f"{own.datatype} {list(own.shape)}",
                f"{tensor.datatype} {list(tensor.shape)}, as {tensor.name} is",
            )
        found.append(own.data[0] if batched else own.data)
    return found


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
