"""Which axes of a model count the items of a batch, by its symbols or by trial.

The axis is not always the first (Silero VAD's `state` is [2, n, 128]). Where a model
names its free axes, the names say it; where it does not, two unlike items that run
alone and together tell.

Shapes:  as the model declares them, -1 where an axis is free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skerry.schema.model import TensorSpec
from skerry.serve.errors import ModelRunError

Array = NDArray[Any]
Inputs = dict[str, Array]

_TRIALS_MAX = 16
_SEED = 20_261


class Model(Protocol):
    """A loaded model, as a trial needs it."""

    inputs: tuple[TensorSpec, ...]
    output_names: list[str]

    def run(self, inputs: Inputs, outputs: list[str]) -> list[Array]:
        """Run once."""
        ...


@dataclass(frozen=True, slots=True)
class BatchAxes:
    """Which axis of each input and of each output counts the items of a batch."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def axes_of_symbols(
    inputs: Sequence[Sequence[Any]], outputs: Sequence[Sequence[Any]]
) -> BatchAxes | None:
    """Find the symbol that every input and output has exactly once; it counts the items.

    The axis is not always the first (Silero's `state` is [2, n, 128]), so it is read from
    the symbols. The first input decides among several: its foremost free axis.
    """
    if not inputs or not outputs:
        return None
    for symbol in inputs[0]:
        if isinstance(symbol, str) and all(list(s).count(symbol) == 1 for s in (*inputs, *outputs)):
            return BatchAxes(
                inputs=tuple(list(shape).index(symbol) for shape in inputs),
                outputs=tuple(list(shape).index(symbol) for shape in outputs),
            )
    return None


def find_batch_axes(model: Model, inputs: Mapping[str, Array]) -> BatchAxes | None:
    """Find by trial the axes that count items, where the model's symbols do not say.

    Two unlike items run alone and together; the axes are right if together is what alone
    is, side by side. Silero VAD, for one, names none of its axes.
    """
    candidates = [
        [axis for axis, length in enumerate(spec.shape) if length < 0] for spec in model.inputs
    ]
    trials = list(product(*candidates))
    if not trials or len(trials) > _TRIALS_MAX or any(not axes for axes in candidates):
        return None
    for axes in trials:
        found = _try_axes(model, inputs, axes)
        if found is not None:
            return BatchAxes(inputs=axes, outputs=found)
    return None


def _try_axes(
    model: Model, inputs: Mapping[str, Array], axes: tuple[int, ...]
) -> tuple[int, ...] | None:
    chance = np.random.default_rng(_SEED)
    names = [spec.name for spec in model.inputs]
    first = {n: inputs[n].take([0], axis=axis) for n, axis in zip(names, axes, strict=True)}
    second = {name: _unlike(array, chance) for name, array in first.items()}
    both = {
        n: np.concatenate([first[n], second[n]], axis=axis)
        for n, axis in zip(names, axes, strict=True)
    }
    try:
        alone = [model.run(one, model.output_names) for one in (first, second)]
        together = model.run(both, model.output_names)
    except ModelRunError:
        return None
    found = []
    for one, other, whole in zip(*alone, together, strict=True):
        axis = next((i for i in range(whole.ndim) if _side_by_side(one, other, whole, i)), None)
        if axis is None:
            return None
        found.append(axis)
    return tuple(found)


def _side_by_side(one: Array, other: Array, whole: Array, axis: int) -> bool:
    if one.ndim != whole.ndim or whole.shape[axis] != one.shape[axis] + other.shape[axis]:
        return False
    joined = np.concatenate([one, other], axis=axis)
    if joined.shape != whole.shape:
        return False
    if whole.dtype.kind == "O":
        return bool((joined == whole).all())
    return bool(np.allclose(joined, whole, rtol=1e-3, atol=1e-5, equal_nan=True))


def _unlike(array: Array, chance: np.random.Generator) -> Array:
    """Return another item: the same values in another order, so that none is out of range."""
    mixed = chance.permutation(array.ravel()).reshape(array.shape)
    if array.dtype.kind == "f":
        mixed = (mixed + 0.1 * chance.standard_normal(array.shape)).astype(array.dtype)
    return mixed


def take(inputs: Mapping[str, Array], model: Model, axes: BatchAxes, items: int) -> Inputs:
    """Return a batch of so many items, repeating those that there are."""
    return {
        spec.name: np.ascontiguousarray(
            inputs[spec.name].take(
                np.arange(items) % max(inputs[spec.name].shape[axis], 1), axis=axis
            )
        )
        for spec, axis in zip(model.inputs, axes.inputs, strict=True)
    }
