"""Whatever comes to the HTTP door is answered in its form, fast, and harms nobody.

Three distances from a good request: its document is off, its head is off, its bytes are.
"""

import json
from typing import Any

import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

REFUSALS = {400, 403, 404, 405, 408, 411, 413, 415, 417, 422, 429, 431, 501, 503, 504, 505}
PATH = "/v2/models/mixed/infer"
TENSORS: list[dict[str, Any]] = [
    {"name": "in_FP32", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]},
    {"name": "in_FP16", "datatype": "FP16", "shape": [1, 2], "data": [0.5, 1.0]},
    {"name": "in_INT64", "datatype": "INT64", "shape": [1, 2], "data": [1, -(2**62)]},
    {"name": "in_UINT8", "datatype": "UINT8", "shape": [1, 2], "data": [0, 255]},
    {"name": "in_BOOL", "datatype": "BOOL", "shape": [1, 2], "data": [True, False]},
    {"name": "in_BYTES", "datatype": "BYTES", "shape": [1, 2], "data": ["a", "æ"]},
]
DOCUMENT: dict[str, Any] = {"inputs": TENSORS}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
ODD = (
    *(-1, 0, 2**31, 2**63, 2**64, 1e308, "", "FP32", "in_FP32", "\0", "\ud800", "0" * 300, {}, []),
    *([0], [-1, 2], [1, 2, 3], ["a", 1], [2**40, 2**40], [1] * 40, [[[[[]]]]]),
)
odd = json_values | st.sampled_from(ODD)
PARAMETERS = (
    *("binary_data_size", "binary_data_output", "binary_data", "classification", "priority"),
    *("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "timeout"),
    *("sequence_id", "sequence_start", "sequence_end", "skerry-deadline-ms", "skerry-hops"),
    *("skerry-data-class", "explain"),
)
FIELDS = ("name", "datatype", "shape", "data", "parameters")


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A good request with one to four of its values replaced, added or taken out."""
    document = json.loads(json.dumps(DOCUMENT))
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.sampled_from(("tensor", "parameter", "request", "whole")))
        tensor = document["inputs"][0] if document.get("inputs") else {}
        if isinstance(document.get("inputs"), list) and document["inputs"]:
            tensor = draw(st.sampled_from(document["inputs"]))
        if not isinstance(tensor, dict):
            break
        if where == "tensor":
            name = draw(st.sampled_from(FIELDS))
            if draw(st.booleans()):
                tensor[name] = draw(odd)
            else:
                tensor.pop(name, None)
        elif where == "parameter":
            owner = draw(st.sampled_from((document, tensor)))
            owner["parameters"] = {draw(st.sampled_from(PARAMETERS)): draw(odd)}
        elif where == "request":
            document[draw(st.sampled_from(("id", "outputs", "inputs", "parameters")))] = draw(odd)
        else:
            document["outputs"] = [{"name": draw(st.sampled_from(["out_FP32", "x"])), "a": 1}]
        if not isinstance(document.get("inputs"), list):
            break
    return document


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def request(body: bytes, path: str = PATH, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def statuses(got: bytes) -> list[int]:
    """Return the statuses of well-formed answers; anything else fails here."""
    found = []
    while got:
        head, end, got = got.partition(b"\r\n\r\n")
        assert end, head
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 "), head
        status = int(lines[0][9:12])
        fields = {line.partition(b":")[0].lower(): line.partition(b":")[2] for line in lines[1:]}
        if status == 100:
            continue
        length = int(fields[b"content-length"])
        assert len(got) >= length, head
        body, got = got[:length], got[length:]
        if status != 200 and body:
            assert json.loads(body)["error"], head
        found.append(status)
    return found


def check(target: Any, *pieces: bytes, one: bool = True) -> list[int]:
    """Throw something at the door; then a good request must still be answered well."""
    found = statuses(target.throw(target.http, *pieces))
    assert all(status == 200 or status in REFUSALS for status in found), found
    if one:
        assert len(found) == 1
    assert statuses(target.throw(target.http, request(encoded(DOCUMENT)))) == [200]
    return found


@given(documents())
@example({"inputs": [{**TENSORS[0], "shape": [2**32, 2**32]}, *TENSORS[1:]]})
@example({"inputs": [{**TENSORS[0], "data": [1e400, float("nan")]}, *TENSORS[1:]]})
@example({"inputs": TENSORS * 40})
@example({"inputs": TENSORS, "id": "x" * 70_000})
@example({"inputs": TENSORS, "outputs": [{"name": "out_FP32"}] * 300})
def test_a_document_that_is_off_gets_an_answer(target: Any, document: Any) -> None:
    check(target, request(encoded(document)))


@given(json_values)
def test_any_json_gets_an_answer(target: Any, document: Any) -> None:
    check(target, request(encoded(document)))


@given(st.binary(max_size=400), st.integers(-2, 500) | st.text(max_size=6))
@example(b"[" * 100_000, 100_000)
@example(b'{"inputs":[{"name":"' + b"a" * 50_000, 0)
def test_any_body_and_any_split_gets_an_answer(target: Any, body: bytes, split: Any) -> None:
    clean = "".join(one for one in str(split) if one.isprintable()).strip()
    check(target, request(body, Inference_Header_Content_Length=clean))


@given(st.binary(max_size=64), st.lists(st.integers(0, 80), min_size=6, max_size=6))
def test_any_binary_tensors_get_an_answer(target: Any, raw: bytes, sizes: list[int]) -> None:
    tensors = [
        {**{name: one[name] for name in FIELDS[:3]}, "parameters": {"binary_data_size": size}}
        for one, size in zip(TENSORS, sizes, strict=True)
    ]
    head = encoded({"inputs": tensors, "parameters": {"binary_data_output": True}})
    check(target, request(head + raw, Inference_Header_Content_Length=str(len(head))))


@given(
    st.sampled_from(["gzip", "zstd", "deflate", "br", "identity", "gzip, gzip", "x", ""]),
    st.binary(max_size=60),
    st.booleans(),
)
@example("zstd", zstandard.compress(b"\0" * 50_000_000), True)
def test_any_coding_gets_an_answer(target: Any, coding: str, body: bytes, good: bool) -> None:
    """A small body that would grow beyond every bound among them."""
    magic = {"gzip": b"\x1f\x8b\x08\0", "zstd": b"\x28\xb5\x2f\xfd"}.get(coding, b"")
    whole = body if good else magic + body
    check(target, request(whole, Content_Encoding=coding, Accept_Encoding=coding))


NAMES = (
    *("Content-Type", "Inference-Header-Content-Length", "skerry-deadline-ms", "skerry-hops"),
    *("skerry-origin", "skerry-data-class", "traceparent", "Expect", "Accept", "Accept-Encoding"),
    *("Connection", "Cookie", "Origin", "X-Forwarded-For", "triton-request-id"),
)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
WORDS = (
    *("v2", "models", "mixed", "infer", "versions", "1", "ready", "repository", "index", "load"),
    *("health", "live", "stats", "config", "..", ".", "", "%2e%2e", "%00", "%", "*", "a" * 200),
    *("systemsharedmemory", "region", "status", "register", "trace", "logging", "v1", "chat"),
)
segments = st.sampled_from(WORDS) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), max_size=6
)


@given(
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"]),
    st.lists(segments, max_size=7),
    st.dictionaries(st.sampled_from(NAMES), texts, max_size=4),
    json_values,
)
def test_any_path_and_any_header_gets_an_answer(
    target: Any, method: str, path: list[str], headers: dict[str, str], document: Any
) -> None:
    body = encoded(document)
    lines = [f"{method} /{'/'.join(path)} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    data = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    if method == "HEAD":  # its answer announces a body that does not come
        assert target.throw(target.http, data).startswith(b"HTTP/1.1 ")
        return
    check(target, data)


@given(st.data())
def test_any_damage_to_the_bytes_gets_an_answer_or_the_end(
    target: Any, data: st.DataObject
) -> None:
    whole = bytearray(request(encoded(DOCUMENT)) * 2)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    check(target, bytes(whole[:cut]), bytes(whole[cut:]), one=False)
