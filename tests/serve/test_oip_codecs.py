"""The two codecs: requests and answers survive, facts travel, garbage gets a clean error."""

import contextlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema import oip_grpc, oip_http
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import InferReply, InferRequest, ServedBy, Tensor
from skerry.schema.oip_errors import OipError, TensorDataError, UnsupportedError
from skerry.schema.oip_facts import parse_served_by, read_facts, write_facts
from skerry.schema.oip_tensors import raw_from_tensor, tensor_from_array

FLOATS = tensor_from_array("a", np.arange(6, dtype=np.float32).reshape(2, 3))
TEXTS = tensor_from_array("b", np.array([b"x", b"", b"\xff\0"], dtype=object))
REQUEST = InferRequest(
    model="m", version="3", id="i", inputs=[FLOATS, TEXTS], outputs=["y"], parameters={"k": 1.5}
)


def same(one: Tensor, other: Tensor) -> bool:
    return (one.name, one.datatype, one.shape) == (other.name, other.datatype, other.shape) and (
        bytes(raw_from_tensor(one)) == bytes(raw_from_tensor(other))
    )


def joined(pieces: list[Any]) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)


def test_a_request_survives_http() -> None:
    length, pieces = oip_http.encode_request(REQUEST)
    call = oip_http.decode_request("m", "3", joined(pieces), length)
    found = call.request
    assert (found.id, found.outputs, found.parameters) == ("i", ["y"], {"k": 1.5})
    assert all(same(*pair) for pair in zip(found.inputs, REQUEST.inputs, strict=True))
    assert call.binary_by_output == {"y": True}


def test_a_request_survives_grpc() -> None:
    found = oip_grpc.decode_request(oip_grpc.encode_request(REQUEST))
    assert (found.model, found.version, found.id) == ("m", "3", "i")
    assert (found.outputs, found.parameters) == (["y"], {"k": 1.5})
    assert all(same(*pair) for pair in zip(found.inputs, REQUEST.inputs, strict=True))


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_survives_http(binary: bool) -> None:
    reply = InferReply(model="m", version="3", id="i", outputs=[FLOATS], parameters={"k": "v"})
    call = oip_http.HttpCall(REQUEST, {}, binary)
    length, pieces = oip_http.encode_reply(reply, call)
    assert (length is not None) is binary
    found = oip_http.decode_reply(joined(pieces), length)
    assert (found.model, found.version, found.id, found.parameters) == ("m", "3", "i", {"k": "v"})
    assert same(found.outputs[0], FLOATS)


def test_an_answer_survives_grpc() -> None:
    reply = InferReply(model="m", version="3", outputs=[FLOATS, TEXTS], parameters={"k": True})
    found = oip_grpc.decode_reply(b"".join(oip_grpc.encode_reply(reply)))
    assert found.parameters == {"k": True}
    assert same(found.outputs[0], FLOATS)
    assert same(found.outputs[1], TEXTS)


@given(st.binary(max_size=200), st.none() | st.integers(0, 250))
def test_any_http_body_is_a_request_or_a_clean_error(body: bytes, length: int | None) -> None:
    for decode in (
        lambda: oip_http.decode_request("m", "", body, length),
        lambda: oip_http.decode_reply(body, length),
    ):
        with contextlib.suppress(OipError):  # any other error fails the test
            decode()


@given(st.data())
def test_a_damaged_http_body_is_a_request_or_a_clean_error(data: st.DataObject) -> None:
    length, pieces = oip_http.encode_request(REQUEST)
    body = bytearray(joined(pieces))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    with contextlib.suppress(OipError):
        oip_http.decode_request("m", "", bytes(body[:cut]), length)


@given(st.data())
def test_a_damaged_message_is_a_request_or_a_clean_error(data: st.DataObject) -> None:
    body = bytearray(oip_grpc.encode_request(REQUEST))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(OipError):
        oip_grpc.decode_request(bytes(body[: data.draw(st.integers(0, len(body)))]))


def test_json_nested_beyond_reason_is_refused() -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":' + b"[" * 100_000
    with pytest.raises(OipError):
        oip_http.decode_request("m", "", body, None)


def http_body(**changes: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}
    return msgspec.json.encode({"inputs": [{**tensor, **changes}]})


@pytest.mark.parametrize(
    ("body", "length", "error"),
    [
        (http_body(datatype="FP128"), None, "datatype of 'x' is 'FP128'"),
        (http_body(shape=[2]), None, "1 elements, wanted 2"),
        (http_body(shape=[-1]), None, "no axis below 0"),
        (http_body(data=None), None, "data of 'x' is None, wanted a list"),
        (http_body(parameters={"binary_data_size": 4}), None, "binary_data_size"),
        (http_body(parameters={"shared_memory_region": "r"}), None, "shared_memory_region"),
        (http_body() + b"tail", len(http_body()), "4 bytes too long"),
        (http_body(), 9999, "inference-header-content-length is 9999"),
        (b'{"inputs": 3}', None, "Expected `array`"),
        (b"{}", None, "missing required field `inputs`"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(body: bytes, length: int | None, error: str) -> None:
    with pytest.raises(OipError) as caught:
        oip_http.decode_request("m", "", body, length)
    assert error in str(caught.value)


def test_lists_and_raw_contents_do_not_mix() -> None:
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"\0\0\0\0"])
    tensor = message.inputs.add(name="x", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(1.0)
    with pytest.raises(OipError, match="both lists and raw"):
        oip_grpc.decode_request(message.SerializeToString())


def test_typed_lists_are_read_and_checked() -> None:
    message = pb.ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="x", datatype="INT8", shape=[2])
    tensor.contents.int_contents.extend([1, -2])
    assert oip_grpc.decode_request(message.SerializeToString()).inputs[0].data.tolist() == [1, -2]
    tensor.contents.int_contents[0] = 300
    with pytest.raises(TensorDataError):
        oip_grpc.decode_request(message.SerializeToString())
    tensor.datatype = "FP16"
    with pytest.raises(UnsupportedError):
        oip_grpc.decode_request(message.SerializeToString())


def facts(**found: Any) -> InferRequest:
    request = InferRequest(model="m", inputs=[])
    read_facts(request, {key.replace("_", "-"): value for key, value in found.items()}.get)
    return request


def test_facts_survive_the_way_to_a_peer() -> None:
    sent = InferRequest(
        model="m",
        inputs=[],
        data_class="health",
        hops=2,
        origin_site="oslo",
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    )
    got = InferRequest(model="m", inputs=[])
    read_facts(got, write_facts(sent, 0.25).get, peer_site="oslo")
    assert (got.data_class, got.hops, got.origin_site) == ("health", 2, "oslo")
    assert (got.traceparent, got.deadline_s) == (sent.traceparent, 0.25)


def test_a_header_wins_over_a_parameter() -> None:
    request = InferRequest(model="m", inputs=[], parameters={"skerry-data-class": "public"})
    read_facts(request, {}.get)
    assert request.data_class == "public"
    read_facts(request, {"skerry-data-class": "health"}.get)
    assert request.data_class == "health"


def test_triton_timeout_is_a_deadline_in_microseconds() -> None:
    request = InferRequest(model="m", inputs=[], parameters={"timeout": 250_000})
    read_facts(request, {}.get)
    assert request.deadline_s == 0.25


@pytest.mark.parametrize(
    "bad",
    [
        {"skerry_deadline_ms": "soon"},
        {"skerry_deadline_ms": "0"},
        {"skerry_deadline_ms": "-5"},
        {"skerry_deadline_ms": "nan"},
        {"skerry_deadline_ms": "inf"},
        {"skerry_hops": "17"},
        {"skerry_hops": "-1"},
        {"skerry_hops": "x"},
        {"skerry_data_class": "He alth"},
        {"skerry_origin": "../x"},
    ],
)
def test_a_fact_that_cannot_be_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(OipError):
        facts(**bad)


def test_a_broken_traceparent_is_dropped_and_fails_nothing() -> None:
    assert facts(traceparent="00-xyz").traceparent is None


def test_served_by_survives_its_header() -> None:
    served = ServedBy(
        site="oslo", node="oslo/1", tier="edge", model="m", version="3", reason="local"
    )
    text = "site=oslo;node=oslo/1;tier=edge;model=m;version=3;reason=local"
    assert served.text == text
    assert parse_served_by(text + ";new=field") == served
    with pytest.raises(OipError, match="without node"):
        parse_served_by("site=oslo")


def test_our_stubs_are_read_by_triton_and_live_beside_its_own() -> None:
    from tritonclient.grpc import service_pb2

    theirs = service_pb2.ModelInferRequest.FromString(oip_grpc.encode_request(REQUEST))
    assert theirs.model_name == "m"
    assert theirs.parameters["k"].double_param == 1.5
    assert [list(tensor.shape) for tensor in theirs.inputs] == [[2, 3], [3]]
    found = oip_grpc.decode_request(theirs.SerializeToString())
    assert same(found.inputs[0], FLOATS)
