"""The wish to know how a request was routed comes through the doors, each time it is made."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from skerry.schema.oip import HEADER_EXPLAIN_ROUTE, InferFunction, InferReply, InferRequest

pytestmark = pytest.mark.anyio


async def test_a_header_asks_for_each_request_and_for_no_other(
    start: Callable[..., Any], repository: Any, exchange: Callable[..., Any]
) -> None:
    """Heads and JSON that repeat are looked up, so what one request asks may not stick."""
    seen: list[object] = []

    def wrap(infer: InferFunction) -> InferFunction:
        async def noted(request: InferRequest) -> InferReply:
            seen.append(request.parameters.get(HEADER_EXPLAIN_ROUTE))
            return await infer(request)

        return noted

    server = await start(repository, wrap=wrap)
    rows = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.0] * 4}
    body = json.dumps({"inputs": [rows]}).encode()

    async def ask(*headers: str) -> None:
        head = ["POST /v2/models/double/infer HTTP/1.1", "host: x", "connection: close", *headers]
        head.append(f"content-length: {len(body)}")
        sent = "\r\n".join(head).encode() + b"\r\n\r\n" + body
        assert b"200 OK" in await exchange(server.ports.http, sent)

    for _ in range(2):
        await ask("skerry-explain-route: true")
        await ask()
    assert seen == [True, None, True, None]
