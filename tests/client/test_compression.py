"""Compressed bodies: smaller on the wire both ways, refused politely, and never trusted."""

import gzip
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from skerry.base.errors import UsageError
from skerry.base.http_client import Address, Answer, HttpClient
from skerry.base.http_errors import PeerBrokenError
from skerry.client import Client
from skerry.route.peer_http import HttpEndpoint
from skerry.schema.oip import InferReply, InferRequest, Tensor
from skerry.schema.oip_http import HEADER_JSON_LENGTH, decode_request, encode_reply
from skerry.serve.compression import decompress

pytestmark = pytest.mark.anyio
ZEROS = np.zeros((1, 4096), np.float32)


class Wire(HttpClient):
    """Answers without a socket, as a server would; keeps what was sent."""

    def __init__(self, answer: Callable[[dict[str, str], bytes], Answer]) -> None:
        super().__init__()
        self.answer = answer
        self.sent: list[tuple[dict[str, str], bytes]] = []

    async def call(self, address: Address, method: str, path: str, **how: Any) -> Answer:
        headers, body = dict(how["headers"]), b"".join(how["body"])
        self.sent.append((headers, body))
        return self.answer(headers, body)


def echo(headers: dict[str, str], body: bytes) -> Answer:
    """As a server that knows every coding."""
    coding = headers.get("content-encoding")
    plain = body if coding is None else decompress(body, coding, bytes_max=1 << 20)
    call = decode_request("m", "", plain, int(headers[HEADER_JSON_LENGTH]))
    length, pieces = encode_reply(
        InferReply(model="m", version="1", outputs=call.request.inputs), call
    )
    whole = b"".join(pieces)
    told = {HEADER_JSON_LENGTH: str(length)}
    if "gzip" in headers.get("accept-encoding", ""):
        whole, told["content-encoding"] = gzip.compress(whole), "gzip"
    return Answer(200, told, bytearray(whole))


def endpoint(wire: Wire, compression: str) -> HttpEndpoint:
    return HttpEndpoint(wire, "http://here", Address("here", 80), compression=compression)


def request(data: np.ndarray) -> InferRequest:
    return InferRequest(model="m", inputs=[Tensor("x", "FP32", data.shape, data)])


@pytest.mark.parametrize("coding", ["zstd", "gzip", "deflate"])
async def test_a_large_request_is_compressed_and_its_answer_too(coding: str) -> None:
    wire = Wire(echo)
    reply = await endpoint(wire, coding).infer(request(ZEROS), 5.0)
    assert np.array_equal(reply.outputs[0].data, ZEROS)
    ((headers, body),) = wire.sent
    assert (headers["content-encoding"], headers["accept-encoding"]) == (coding, coding)
    assert len(body) < ZEROS.nbytes / 20


async def test_a_small_request_goes_as_it_is() -> None:
    wire = Wire(echo)
    await endpoint(wire, "gzip").infer(request(ZEROS[:, :4]), 5.0)
    assert "content-encoding" not in wire.sent[0][0]
    assert wire.sent[0][0]["accept-encoding"] == "gzip"


async def test_nothing_is_compressed_unasked() -> None:
    wire = Wire(echo)
    await endpoint(wire, "").infer(request(ZEROS), 5.0)
    assert not {"content-encoding", "accept-encoding"} & wire.sent[0][0].keys()


async def test_a_server_that_knows_no_coding_is_told_once_more_plainly_and_then_always() -> None:
    def old(headers: dict[str, str], body: bytes) -> Answer:
        if "content-encoding" in headers:
            return Answer(415, {}, bytearray(b'{"error":"no such coding"}'))
        return echo({k: v for k, v in headers.items() if k != "accept-encoding"}, body)

    wire = Wire(old)
    end = endpoint(wire, "zstd")
    for calls in (2, 3):
        assert np.array_equal((await end.infer(request(ZEROS), 5.0)).outputs[0].data, ZEROS)
        assert len(wire.sent) == calls


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"rubbish"),
        ("gzip", gzip.compress(b"x" * 100)[:-4]),
        ("br", b"x"),
        ("gzip", gzip.compress(bytes(80 * 1024 * 1024))),
    ],
    ids=["rubbish", "cut-off", "unasked", "bomb"],
)
async def test_an_answer_that_is_not_what_it_says_is_broken(coding: str, body: bytes) -> None:
    wire = Wire(lambda *_: Answer(200, {"content-encoding": coding}, bytearray(body)))
    with pytest.raises(PeerBrokenError):
        await endpoint(wire, "gzip").infer(request(ZEROS), 5.0)


def test_an_unknown_coding_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="brotli"):
        Client("http://127.0.0.1:1", compression="brotli")
