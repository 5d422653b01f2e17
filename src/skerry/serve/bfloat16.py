"""BF16 through ONNX Runtime, which numpy has no type for: values that carry the type beside.

A BF16 array is its 16 bits as uint16 (`schema.oip.DATATYPES`); ONNX Runtime takes it as
a value of element type 16 over the same memory, and gives one whose memory is copied.

Shapes:  as the model declares them.
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from skerry.schema.model import TensorSpec

Array = NDArray[Any]

_ONNX_BFLOAT16 = 16  # TensorProto.DataType


def run_as_values(
    session: Any, inputs: Mapping[str, Array], outputs: Sequence[str], specs: Sequence[TensorSpec]
) -> list[Array]:
    """Run a session some of whose tensors are BF16."""
    datatypes = {spec.name: spec.datatype for spec in specs}
    fed = {
        name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            np.ascontiguousarray(array), _ONNX_BFLOAT16
        )
        if datatypes[name] == "BF16"
        else ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
        for name, array in inputs.items()
    }
    found = session.run_with_ort_values(list(outputs), fed)
    return [
        _bits(value) if value.data_type() == "tensor(bfloat16)" else value.numpy()
        for value in found
    ]


def _bits(value: Any) -> Array:
    shape = tuple(value.shape())
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.empty(shape, np.uint16)
    # Copied, as the value goes and its memory with it.
    return np.frombuffer(ctypes.string_at(value.data_ptr(), count * 2), np.uint16).reshape(shape)
