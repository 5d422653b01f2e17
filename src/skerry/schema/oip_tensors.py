"""Tensor data between bytes, lists and arrays, as the Open Inference Protocol lays it out.

Raw data is little-endian, row-major, without padding; a BYTES element is a 4-byte
little-endian length and then that many bytes. Decoding raw numbers does not copy: the
array aliases the buffer.

Shapes:  a tensor's shape is a tuple of axis lengths, each 0 or more; () is one element.
Errors:  TensorDataError, OipError.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skerry.schema.oip import DATATYPES, Tensor
from skerry.schema.oip_errors import OipError, TensorDataError, shown

Buffer = bytes | bytearray | memoryview
Array = NDArray[Any]

ELEMENTS_MAX = 2**31
"""More elements than any body could carry; products of shapes stop here."""
AXES_MAX = 32  # numpy 2 allows 64; nothing real has more than a few

_COPY_BYTES_MAX = 4096
"""Up to here a copy costs less than the views that would save it."""
_LENGTH = struct.Struct("<I")
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_WIDE = {
    name: np.iinfo(dtype)
    for name, dtype in DATATYPES.items()
    if dtype.kind in "iu" and name != "BF16"
}


def elements(name: str, shape: Sequence[int]) -> int:
    """Return how many elements a shape holds; raises `OipError` for an impossible one."""
    if len(shape) > AXES_MAX:
        raise OipError(f"shape of {shown(name)}", f"of {len(shape)} axes", f"at most {AXES_MAX}")
    room = 1
    for length in shape:
        if length < 0:
            raise OipError(f"shape of {shown(name)}", shown(list(shape)), "no axis below 0")
        room *= length or 1  # beside an axis of 0, numpy still judges the others
        if room > ELEMENTS_MAX:
            raise OipError(f"shape of {shown(name)}", shown(list(shape)), "a smaller tensor")
    return 0 if 0 in shape else room


def dtype_of(name: str, datatype: str) -> np.dtype[Any]:
    """Return the numpy dtype of an OIP datatype."""
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        raise OipError(
            f"datatype of {shown(name)}", shown(datatype), f"one of {', '.join(DATATYPES)}"
        )
    return dtype


def tensor_from_raw(name: str, datatype: str, shape: tuple[int, ...], raw: Buffer) -> Tensor:
    """Return a tensor over raw bytes; its array aliases `raw` (BYTES is copied)."""
    dtype = dtype_of(name, datatype)
    count = elements(name, shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _bytes_elements(name, raw, count).reshape(shape))
    wanted = count * dtype.itemsize
    if len(raw) != wanted:
        raise TensorDataError(
            f"data of {shown(name)}", f"{len(raw)} bytes", f"{wanted} for {datatype} {list(shape)}"
        )
    data = np.frombuffer(raw, dtype=dtype).reshape(shape)
    # A byte that is neither 0 nor 1 would be a bool that equals neither True nor False.
    if datatype == "BOOL" and data.view(np.uint8).max(initial=0) > 1:
        raise TensorDataError(f"data of {shown(name)}", "a byte above 1", "0 or 1 for BOOL")
    return Tensor(name, datatype, shape, data)


def tensor_from_list(name: str, datatype: str, shape: tuple[int, ...], values: Any) -> Tensor:
    """Return a tensor from JSON or protobuf lists, flat or nested, checked element by element.

    Values that the datatype cannot hold are refused, never wrapped or cut.
    """
    dtype = dtype_of(name, datatype)
    count = elements(name, shape)
    flat: list[Any] = []
    _flatten(name, values, flat, count)
    if len(flat) != count:
        raise TensorDataError(f"data of {shown(name)}", f"{len(flat)} elements", f"{count}")
    if datatype == "BF16":
        return Tensor(name, datatype, shape, _bf16_bits(name, flat).reshape(shape))
    if datatype == "BYTES":
        data = np.empty(count, dtype=dtype)
        for i, value in enumerate(flat):
            data[i] = _bytes_element(name, value)
        return Tensor(name, datatype, shape, data.reshape(shape))
    _check_kind(name, datatype, flat)
    try:
        with np.errstate(over="ignore"):  # beyond FP16 or FP32 is infinite, as IEEE 754 has it
            data = np.array(flat, dtype=dtype)
    except (OverflowError, ValueError, TypeError) as error:
        raise TensorDataError(f"data of {shown(name)}", str(error), datatype) from error
    return Tensor(name, datatype, shape, data.reshape(shape))


def tensor_from_array(name: str, data: Array) -> Tensor:
    """Return a tensor of an array, its datatype read from the array's dtype."""
    datatype = _NAMES.get(data.dtype)
    if datatype is None:
        raise OipError(f"dtype of {shown(name)}", str(data.dtype), "one that OIP can carry")
    return Tensor(name, datatype, data.shape, data)


def raw_from_tensor(tensor: Tensor) -> Buffer:
    """Return a tensor's raw bytes; numbers are not copied where they lie row by row."""
    if tensor.datatype == "BYTES":
        parts: list[bytes] = []
        for element in tensor.data.flat:
            parts.append(_LENGTH.pack(len(element)))
            parts.append(element)
        return b"".join(parts)
    if tensor.data.nbytes <= _COPY_BYTES_MAX:
        return tensor.data.tobytes()
    data = np.ascontiguousarray(tensor.data)
    # memoryview.cast refuses a view with a zero in its shape, and float16 needs the uint8 view.
    return data.reshape(-1).view(np.uint8).data if data.size else b""


def list_from_tensor(tensor: Tensor) -> list[Any]:
    """Return a tensor's elements as a flat list for JSON; BYTES must be UTF-8 text."""
    if tensor.datatype != "BYTES":
        values = tensor.data.ravel()
        if tensor.datatype == "BF16":
            values = floats_of_bf16(values)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise TensorDataError(
                f"output {shown(tensor.name)}",
                "not finite",
                "binary data, as JSON has no such number",
            )
        return values.tolist()
    try:
        return [element.decode() for element in tensor.data.flat]
    except UnicodeDecodeError as error:
        raise TensorDataError(
            f"output {shown(tensor.name)}", "not UTF-8 text", "binary data (binary_data: true)"
        ) from error


def floats_of_bf16(bits: Array) -> NDArray[np.float32]:
    """Return the numbers of bfloat16 bit patterns; every one is a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def bf16_of_floats(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return float32 numbers as bfloat16 bit patterns, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet_nan = (bits >> 16) | 0x40  # rounding could carry a NaN over into infinity
    return np.where(np.isnan(values), quiet_nan, rounded).astype(np.uint16)


def _bf16_bits(name: str, flat: list[Any]) -> NDArray[np.uint16]:
    _check_kind(name, "BF16", flat)
    try:
        with np.errstate(over="ignore"):
            return bf16_of_floats(np.array(flat, np.float64).astype(np.float32))
    except OverflowError as error:
        raise TensorDataError(f"data of {shown(name)}", str(error), "BF16") from error


def _bytes_elements(name: str, raw: Buffer, count: int) -> Array:
    """Cut raw BYTES data into `count` elements that fill it exactly."""
    if count * _LENGTH.size > len(raw):  # before anything is allocated for them
        raise TensorDataError(f"data of {shown(name)}", f"{len(raw)} bytes", f"{count} elements")
    data = np.empty(count, dtype=np.object_)
    view, at = memoryview(raw), 0
    for i in range(count):
        if at + _LENGTH.size > len(view):
            raise TensorDataError(f"data of {shown(name)}", f"{i} elements", f"{count}")
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        if length > len(view) - at:
            raise TensorDataError(
                f"element {i} of {shown(name)}", f"{length} bytes long", f"at most {len(view) - at}"
            )
        data[i] = bytes(view[at : at + length])
        at += length
    if at != len(view):
        raise TensorDataError(
            f"data of {shown(name)}", f"{len(view) - at} bytes too long", f"{count} elements"
        )
    return data


def _bytes_element(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:  # a lone surrogate from a JSON escape
            raise TensorDataError(f"an element of {shown(name)}", "not Unicode", "text") from error
    raise TensorDataError(f"an element of {shown(name)}", shown(value), "text for BYTES")


def _flatten(name: str, values: Any, into: list[Any], count: int, depth: int = 0) -> None:
    if not isinstance(values, list):
        raise OipError(f"data of {shown(name)}", shown(values), "a list")
    if depth > AXES_MAX:
        raise OipError(f"data of {shown(name)}", "nested too deep", f"at most {AXES_MAX} lists")
    if not any(isinstance(value, list) for value in values):
        into.extend(values)
    else:
        for value in values:
            _flatten(name, value, into, count, depth + 1)
    if len(into) > count:
        raise TensorDataError(f"data of {shown(name)}", "too many elements", f"{count}")


def _check_kind(name: str, datatype: str, flat: list[Any]) -> None:
    """Refuse a value whose JSON kind is not the datatype's: numpy alone would convert it."""
    if datatype == "BOOL":
        right = all(isinstance(value, bool) for value in flat)
    elif datatype in _WIDE:
        low, high = _WIDE[datatype].min, _WIDE[datatype].max
        right = all(type(value) is int and low <= value <= high for value in flat)
    else:
        right = all(type(value) in (int, float) for value in flat)
    if not right:
        raise TensorDataError(f"data of {shown(name)}", "a value of another kind", datatype)
