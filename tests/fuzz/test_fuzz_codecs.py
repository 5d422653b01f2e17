"""The codecs and tensors alone: what they take survives, what they refuse they refuse cleanly."""

import contextlib
from typing import Any

import msgspec
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.schema import oip_grpc, oip_http
from skerry.schema.oip import DATATYPES, InferReply, InferRequest, Tensor
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_tensors import (
    list_from_tensor,
    raw_from_tensor,
    tensor_from_list,
    tensor_from_raw,
)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
wild_shapes = st.lists(st.integers(-3, 2**40) | st.integers(0, 3), max_size=5).map(tuple)


@st.composite
def tensors(draw: st.DrawFn, name: str = "x") -> Tensor:
    """A tensor of any datatype and a small shape, from any bytes that fill it."""
    datatype, shape = draw(st.sampled_from(sorted(DATATYPES))), draw(shapes)
    count = int(np.prod(shape, dtype=int))
    if datatype == "BYTES":
        texts = draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
        raw = b"".join(len(one).to_bytes(4, "little") + one for one in texts)
    elif datatype == "BOOL":
        raw = bytes(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    else:
        size = count * DATATYPES[datatype].itemsize
        raw = draw(st.binary(min_size=size, max_size=size))
    return tensor_from_raw(name, datatype, shape, raw)


def raw(tensor: Tensor) -> bytes:
    return bytes(raw_from_tensor(tensor))


def joined(pieces: Any) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)


@st.composite
def requests(draw: st.DrawFn) -> InferRequest:
    found = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    return InferRequest(
        model="m",
        version="1",
        id=draw(names),
        inputs=[draw(tensors(name)) for name in found],
        outputs=draw(st.lists(names, max_size=3, unique=True)),
    )


def same(one: list[Tensor], other: list[Tensor]) -> None:
    def told(listed: list[Tensor]) -> list[Any]:
        return [(tensor.name, tensor.datatype, tensor.shape, raw(tensor)) for tensor in listed]

    assert told(one) == told(other)


@given(requests())
def test_every_request_survives_both_codecs(request: InferRequest) -> None:
    length, pieces = oip_http.encode_request(request)
    found = oip_http.decode_request("m", "1", joined(pieces), length).request
    same(found.inputs, request.inputs)
    assert (found.id, list(found.outputs or [])) == (request.id, list(request.outputs or []))
    found = oip_grpc.decode_request(oip_grpc.encode_request(request))
    same(found.inputs, request.inputs)
    assert (found.id, list(found.outputs or [])) == (request.id, list(request.outputs or []))


@given(requests(), st.booleans())
def test_every_reply_survives_both_codecs(request: InferRequest, binary: bool) -> None:
    reply = InferReply(model="m", version="1", id=request.id, outputs=list(request.inputs))
    if not binary:
        reply.outputs = [one for one in reply.outputs if sayable(one)]
    call = oip_http.HttpCall(request, {}, binary)
    length, pieces = oip_http.encode_reply(reply, call)
    same(oip_http.decode_reply(joined(pieces), length).outputs, reply.outputs)
    reply.outputs = list(request.inputs)
    same(oip_grpc.decode_reply(joined(oip_grpc.encode_reply(reply))).outputs, reply.outputs)


def sayable(tensor: Tensor) -> bool:
    """Whether JSON can say it without loss: finite numbers, and text that is UTF-8."""
    if tensor.datatype == "BYTES":
        with contextlib.suppress(UnicodeDecodeError):
            return all(isinstance(one.decode(), str) for one in tensor.data.ravel())
        return False
    if tensor.datatype == "BF16":
        return False
    if tensor.datatype.startswith("FP"):
        return bool(np.isfinite(tensor.data.astype(np.float64)).all())
    return True


@given(st.sampled_from([*sorted(DATATYPES), "FP128", ""]), wild_shapes, st.binary(max_size=40))
@example("FP32", (0, 2**40, 2**40), b"")
@example("BYTES", (2**40, 2**40, 0), b"")
def test_any_raw_tensor_is_whole_or_refused(
    datatype: str, shape: tuple[int, ...], data: bytes
) -> None:
    with contextlib.suppress(OipError):
        found = tensor_from_raw("x", datatype, shape, data)
        assert raw(found) == data


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
listed = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=10)


@given(st.sampled_from([*sorted(DATATYPES), "FP128", ""]), wild_shapes, listed)
@example("INT8", (0, 2**40, 2**40), [])
def test_any_listed_tensor_is_whole_or_refused(
    datatype: str, shape: tuple[int, ...], values: Any
) -> None:
    with contextlib.suppress(OipError):
        found = tensor_from_list("x", datatype, shape, values)
        assert len(list_from_tensor(found)) == int(np.prod(shape, dtype=int))


@given(st.binary(max_size=120))
def test_any_message_is_a_request_or_refused(data: bytes) -> None:
    with contextlib.suppress(OipError):
        oip_grpc.decode_request(data)
    with contextlib.suppress(OipError):
        oip_grpc.decode_reply(data)


@given(st.dictionaries(st.sampled_from(["inputs", "outputs", "id", "parameters"]), listed))
def test_any_document_is_a_request_or_refused(document: dict[str, Any]) -> None:
    with contextlib.suppress(OipError):
        oip_http.decode_request("m", "", msgspec.json.encode(document), None)
    with contextlib.suppress(OipError):
        oip_http.decode_reply(msgspec.json.encode(document), None)
