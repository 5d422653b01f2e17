"""Several answers as one: mean, median or vote, output by output.

    mean, median   element by element; numbers only
    vote           scores [n, classes] become the share of votes per class, numbers and
                   text the value that most gave; of equals, the first member's

Errors:  CombineError, for answers that do not fit together.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.route.errors import CombineError
from skerry.schema.oip import Tensor
from skerry.schema.route import Combine


def combine(answers: Sequence[Sequence[Tensor]], how: Combine) -> list[Tensor]:
    """Return the outputs of all answers as one; the first one's names and order count."""
    combined = []
    for first in answers[0]:
        like = [first]
        for outputs in answers[1:]:
            other = next((tensor for tensor in outputs if tensor.name == first.name), None)
            if other is None or (other.datatype, other.shape) != (first.datatype, first.shape):
                told = "is missing" if other is None else f"{other.datatype} {list(other.shape)}"
                raise CombineError(first.name, told, f"{first.datatype} {list(first.shape)}")
            like.append(other)
        data = _one([tensor.data for tensor in like], first, how)
        combined.append(Tensor(first.name, first.datatype, first.shape, data))
    return combined


def _one(arrays: list[NDArray[Any]], first: Tensor, how: Combine) -> NDArray[Any]:
    numeric = first.data.dtype.kind == "f"
    if how is Combine.VOTE:
        if numeric and len(first.shape) >= 2 and first.shape[-1] > 1:
            return _votes_per_class(arrays, first)
        return _most_given(arrays, first)
    if not numeric:
        raise CombineError(first.name, first.datatype, f"floats for {how}, or combine by vote")
    stacked = np.stack([array.astype(np.float64) for array in arrays])
    merged = stacked.mean(axis=0) if how is Combine.MEAN else np.median(stacked, axis=0)
    return np.asarray(merged.astype(first.data.dtype))


def _votes_per_class(arrays: list[NDArray[Any]], first: Tensor) -> NDArray[Any]:
    votes = np.zeros(first.shape, np.float64)
    for array in arrays:
        np.put_along_axis(
            votes,
            array.argmax(axis=-1)[..., None],
            np.take_along_axis(votes, array.argmax(axis=-1)[..., None], axis=-1) + 1.0,
            axis=-1,
        )
    return np.asarray((votes / len(arrays)).astype(first.data.dtype))


def _most_given(arrays: list[NDArray[Any]], first: Tensor) -> NDArray[Any]:
    merged = np.empty(first.data.size, first.data.dtype)
    columns = zip(*(array.reshape(-1).tolist() for array in arrays), strict=True)
    for index, given in enumerate(columns):
        merged[index] = Counter(given).most_common(1)[0][0]  # of equals, the first met
    return merged.reshape(first.shape)
