"""The classification extension: of an output's scores, the k highest as text.

    "0.912345:7:shoe"   score, index, label; without labels "0.912345:7"

Shapes:  [n, ...] gives BYTES [n, k], the rest of an item's axes taken as one; [c] gives [k].
         k is cut to the number of scores.
Errors:  OipError, for an output that holds no numbers.
Source:  Triton's protocol extension "Classification".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from skerry.schema.oip import Tensor
from skerry.schema.oip_errors import OipError, shown
from skerry.schema.oip_tensors import floats_of_bf16


def classified(tensor: Tensor, classes: int, labels: Sequence[str] = ()) -> Tensor:
    """Return the highest `classes` of an output as text, highest first."""
    if tensor.datatype in ("BYTES", "BOOL") or not tensor.shape:
        raise OipError(
            f"classification of output {shown(tensor.name)}",
            f"of {tensor.datatype} {list(tensor.shape)}",
            "numbers with at least one axis",
        )
    values = floats_of_bf16(tensor.data) if tensor.datatype == "BF16" else tensor.data
    items = values.reshape(1 if values.ndim == 1 else len(values), -1)
    width = items.shape[1]
    # From the back and turned round: descending, and of equal scores the first index first.
    # A score that is no number sorts as the lowest.
    keys = np.where(np.isnan(items), -np.inf, items) if items.dtype.kind == "f" else items
    order = width - 1 - np.argsort(keys[:, ::-1], axis=1, kind="stable")[:, ::-1]
    order = order[:, :classes]
    scores = np.take_along_axis(items, order, axis=1)
    texts = np.empty(order.shape, np.object_)
    for place, index in np.ndenumerate(order):
        texts[place] = _text(scores[place], int(index), labels).encode()
    shape = order.shape[1:] if values.ndim == 1 else order.shape
    return Tensor(tensor.name, "BYTES", shape, texts.reshape(shape))


def _text(score: Any, index: int, labels: Sequence[str]) -> str:
    number = f"{score:f}" if isinstance(score, np.floating) else str(score)
    text = f"{number}:{index}"
    return f"{text}:{labels[index]}" if index < len(labels) else text
