"""Reading requests by hand, held against the library that reads any message."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.schema import oip_grpc, oip_grpc_forms
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import DATATYPES, InferReply, InferRequest, ServedBy, Tensor
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_tensors import tensor_from_array

names = st.sampled_from(["x", "y", "größe", ""])
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def tensors(draw: Any) -> Tensor:
    datatype = draw(st.sampled_from(list(DATATYPES)))
    shape = draw(shapes)
    count = int(np.prod(shape, dtype=int))
    if datatype == "BYTES":
        data = np.empty(count, object)
        data[:] = draw(st.lists(st.binary(max_size=4), min_size=count, max_size=count))
    else:
        top = 1 if datatype == "BOOL" else 255
        size = count * DATATYPES[datatype].itemsize
        raw = draw(st.lists(st.integers(0, top), min_size=size, max_size=size))
        data = np.frombuffer(bytes(raw), DATATYPES[datatype])
    return Tensor(draw(names), datatype, shape, data.reshape(shape))


parameters = st.dictionaries(
    st.text(max_size=5),
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5) | st.floats(),
    max_size=3,
)
requests = st.builds(
    InferRequest,
    model=names,
    version=st.sampled_from(["", "1"]),
    id=st.text(max_size=6),
    inputs=st.lists(tensors(), max_size=3),
    outputs=st.none() | st.lists(names, min_size=1, max_size=2),
    parameters=parameters,
)
containers = st.sampled_from([bytes, bytearray, lambda data: memoryview(bytearray(data))])


def same(found: InferRequest, wanted: InferRequest) -> bool:
    """Compare with NaN equal to itself: by the bytes that would be sent."""
    plain = ("model", "version", "id", "outputs", "body_bytes", "wishes")
    return (
        all(getattr(found, name) == getattr(wanted, name) for name in plain)
        and repr(found.parameters) == repr(wanted.parameters)
        and [(t.name, t.datatype, t.shape, t.data.dtype) for t in found.inputs]
        == [(t.name, t.datatype, t.shape, t.data.dtype) for t in wanted.inputs]
        and [t.data.tobytes() if t.datatype != "BYTES" else t.data.tolist() for t in found.inputs]
        == [t.data.tobytes() if t.datatype != "BYTES" else t.data.tolist() for t in wanted.inputs]
    )


def outcome(decode: Any, data: Any) -> Any:
    try:
        return decode(data)
    except OipError as error:
        return error


@given(requests, containers)
@settings(max_examples=300, deadline=None)
def test_what_a_client_writes_is_read_as_the_library_reads_it(
    request: InferRequest, container: Any
) -> None:
    """Three times: unknown, walked and kept, and guessed."""
    data = oip_grpc.encode_request(request)
    wanted = outcome(oip_grpc.decode_request, data)
    for _ in range(3):
        found = outcome(oip_grpc_forms.decode, container(data))
        if isinstance(wanted, OipError):
            assert isinstance(found, OipError)
        else:
            assert same(found, wanted)


pieces = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 2, 2, 2, 5]), st.binary(max_size=12)),
    max_size=8,
)


@given(requests, pieces, st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_messages_are_read_alike_or_refused_by_both(
    request: InferRequest, extra: Any, data: Any
) -> None:
    """Bytes changed, cut and put in: nothing but an answer or an `OipError` comes out."""
    body = bytearray(oip_grpc.encode_request(request))
    for field, wire, payload in extra:
        at = data.draw(st.integers(0, len(body)))
        head = bytes((field << 3 | wire,))
        body[at:at] = head + (bytes((len(payload),)) if wire == 2 else b"") + payload
    if body and data.draw(st.booleans()):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))])
    wanted = outcome(oip_grpc.decode_request, cut)
    for _ in range(2):
        found = outcome(oip_grpc_forms.decode, cut)
        if isinstance(wanted, OipError):
            assert isinstance(found, OipError)
        else:
            assert not isinstance(found, OipError)
            assert same(found, wanted)


replies = st.builds(
    InferReply,
    model=names,
    version=st.sampled_from(["", "1"]),
    id=st.text(max_size=6),
    outputs=st.lists(tensors(), max_size=3),
    parameters=st.sampled_from([{}, {"skerry-served-by": "a"}, {"skerry-served-by": "b", "p": 1}]),
)


@given(replies)
@settings(max_examples=200, deadline=None)
def test_an_answer_means_what_the_library_would_have_written(reply: InferReply) -> None:
    wanted = pb.ModelInferResponse.FromString(b"".join(oip_grpc.encode_reply(reply)))
    for _ in range(2):
        found = b"".join(oip_grpc_forms.encode(reply))
        assert pb.ModelInferResponse.FromString(found) == wanted
    streamed = b"".join(oip_grpc_forms.encode_streamed(reply))
    assert pb.ModelStreamInferResponse.FromString(streamed).infer_response == wanted


def test_large_numbers_are_neither_copied_in_nor_out() -> None:
    array = np.arange(100_000, dtype=np.float32)
    data = oip_grpc.encode_request(InferRequest(model="m", inputs=[tensor_from_array("x", array)]))
    oip_grpc_forms.decode(data)
    found = oip_grpc_forms.decode(data).inputs[0].data
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))
    pieces = oip_grpc_forms.encode(
        InferReply(model="m", version="1", outputs=[tensor_from_array("y", array)])
    )
    assert np.shares_memory(np.frombuffer(pieces[-1], np.uint8), array)


def test_ids_and_parameters_that_change_fill_no_memory() -> None:
    x = tensor_from_array("x", np.zeros(4, np.float32))
    before = len(oip_grpc_forms._forms)
    for number in range(100):
        request = InferRequest(
            model="one-of-its-kind", id=str(number), inputs=[x], parameters={"n": number}
        )
        found = oip_grpc_forms.decode(oip_grpc.encode_request(request))
        assert (found.id, found.parameters) == (str(number), {"n": number})
    assert len(oip_grpc_forms._forms) <= before + 1


def test_millions_of_empty_fields_are_refused_before_they_are_read() -> None:
    with pytest.raises(OipError, match="over 4096 fields"):
        oip_grpc_forms.decode(b"\x3a\x00" * 1_000_000)


def test_an_answer_with_who_served_it_repeats_its_head() -> None:
    served = ServedBy(site="a", node="a/1", tier="edge", model="m", version="1", reason="local")
    text = served.text
    x = tensor_from_array("y", np.ones(2, np.float32))
    reply = InferReply(model="m", version="1", outputs=[x], parameters={"skerry-served-by": text})
    first, second = oip_grpc_forms.encode(reply)[0], oip_grpc_forms.encode(reply)[0]
    assert first is second
