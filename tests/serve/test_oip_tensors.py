"""Tensor data: every datatype survives the trip, and no bytes at all make it crash."""

import contextlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skerry.schema.oip import DATATYPES, Tensor
from skerry.schema.oip_errors import OipError, TensorDataError
from skerry.schema.oip_tensors import (
    bf16_of_floats,
    elements,
    floats_of_bf16,
    list_from_tensor,
    raw_from_tensor,
    tensor_from_array,
    tensor_from_list,
    tensor_from_raw,
)

NUMBERS = [name for name in DATATYPES if name != "BYTES"]
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@st.composite
def tensors(draw: Any, names: tuple[str, ...] = tuple(DATATYPES)) -> Tensor:
    datatype = draw(st.sampled_from(names))
    shape = draw(shapes)
    if datatype == "BYTES":
        count = int(np.prod(shape, dtype=int))
        data = np.empty(count, dtype=object)
        data[:] = draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count))
        return Tensor("t", datatype, shape, data.reshape(shape))
    return Tensor("t", datatype, shape, draw(hnp.arrays(DATATYPES[datatype], shape)))


@given(tensors())
def test_raw_data_comes_back_bit_for_bit(tensor: Tensor) -> None:
    raw = bytes(raw_from_tensor(tensor))
    again = tensor_from_raw("t", tensor.datatype, tensor.shape, raw)
    assert again.shape == again.data.shape == tensor.shape
    assert again.data.dtype == tensor.data.dtype
    assert bytes(raw_from_tensor(again)) == raw


@given(tensors(names=tuple(NUMBERS)))
def test_finite_numbers_come_back_from_a_json_list(tensor: Tensor) -> None:
    if tensor.datatype == "BF16":
        tensor.data = np.where(np.isfinite(floats_of_bf16(tensor.data)), tensor.data, 0)
        tensor.data = tensor.data.astype(np.uint16)
    if tensor.datatype.startswith("FP"):
        tensor.data = np.nan_to_num(tensor.data, nan=0.0, posinf=0.0, neginf=0.0)
    again = tensor_from_list("t", tensor.datatype, tensor.shape, list_from_tensor(tensor))
    assert np.array_equal(again.data, tensor.data)
    assert again.data.dtype == tensor.data.dtype


@given(hnp.arrays(np.float32, 16, elements=st.floats(width=32)))
def test_bf16_is_rounded_as_others_round_it(values: np.ndarray[Any, Any]) -> None:
    with np.errstate(all="ignore"):
        wanted = values.astype(ml_dtypes.bfloat16)
    found = bf16_of_floats(values).view(ml_dtypes.bfloat16)
    assert np.array_equal(found.astype(np.float32), wanted.astype(np.float32), equal_nan=True)
    assert not np.isinf(floats_of_bf16(bf16_of_floats(values))[np.isnan(values)]).any()


@given(st.sampled_from(list(DATATYPES)), shapes, st.binary(max_size=64))
def test_any_bytes_make_a_tensor_or_a_clean_error(
    datatype: str, shape: tuple[int, ...], raw: bytes
) -> None:
    with contextlib.suppress(OipError):  # any other error fails the test
        tensor = tensor_from_raw("t", datatype, shape, raw)
        assert bytes(raw_from_tensor(tensor)) == raw


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(list(DATATYPES)), st.lists(st.integers(-2, 4), max_size=3), json_values)
def test_any_json_makes_a_tensor_or_a_clean_error(
    datatype: str, shape: list[int], values: Any
) -> None:
    with contextlib.suppress(OipError):  # any other error fails the test
        tensor = tensor_from_list("t", datatype, tuple(shape), values)
        assert tensor.data.shape == tuple(shape)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_a_tensor_aliases_the_bytes_it_came_from(datatype: str) -> None:
    raw = bytearray(DATATYPES[datatype].itemsize)
    tensor = tensor_from_raw("t", datatype, (1,), memoryview(raw))
    raw[0] = 1
    assert tensor.data.view(np.uint8)[0] == 1


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("UINT8", [256]),
        ("UINT8", [-1]),
        ("INT64", [2**63]),
        ("INT32", [1.0]),
        ("INT32", [True]),
        ("FP32", ["1"]),
        ("FP32", [None]),
        ("BOOL", [1]),
        ("BYTES", [1]),
        ("BYTES", ["\ud800"]),
    ],
)
def test_values_that_do_not_fit_are_refused_not_converted(datatype: str, values: Any) -> None:
    with pytest.raises(TensorDataError):
        tensor_from_list("t", datatype, (1,), values)


def test_a_shape_too_large_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(OipError, match="smaller tensor"):
        elements("t", [2**20, 2**20])
    with pytest.raises(TensorDataError, match="elements"):
        tensor_from_raw("t", "BYTES", (2**30,), b"\0\0\0\0")


def test_a_bytes_element_may_not_reach_beyond_the_data() -> None:
    with pytest.raises(TensorDataError, match="element 0 of 't' is 9 bytes long, wanted at most 2"):
        tensor_from_raw("t", "BYTES", (1,), b"\x09\0\0\0ab")


def test_what_json_cannot_carry_is_said_instead_of_sent() -> None:
    with pytest.raises(TensorDataError, match="binary"):
        list_from_tensor(tensor_from_array("t", np.array([np.nan])))
    with pytest.raises(TensorDataError, match="binary"):
        list_from_tensor(tensor_from_array("t", np.array([b"\xff"], dtype=object)))


def test_a_bool_byte_is_0_or_1() -> None:
    with pytest.raises(TensorDataError, match="0 or 1"):
        tensor_from_raw("t", "BOOL", (1,), b"\x02")
