"""A tiny OIP server for benchmarks: answers every inference after `--service-ms`.

    python benchmarks/oip_echo.py --port 0 --node oslo/1 --site oslo --tier closet

Prints its port on stdout. No model runs here: what is measured is who is asked, when.
"""

import argparse
import asyncio

import httptools
import numpy as np

from skerry.schema.oip import HEADER_SERVED_BY, InferReply, ServedBy, Tensor
from skerry.schema.oip_facts import format_served_by
from skerry.schema.oip_http import (
    HEADER_JSON_LENGTH,
    decode_request,
    encode_reply,
    parse_json_length,
)

# ruff: noqa: D102 - what follows are the callbacks of asyncio and of httptools


class Door(asyncio.Protocol):
    """One connection of the echo server; one request at a time, as our client sends them."""

    def __init__(self, served: ServedBy, service_s: float) -> None:
        self.served, self.service_s = served, service_s
        self.parser = httptools.HttpRequestParser(self)
        self.headers: dict[str, str] = {}
        self.body, self.url = bytearray(), b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url, self.headers, self.body = url, {}, bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if b"/infer" in self.url:
            asyncio.get_running_loop().call_later(self.service_s, self.answer, bytes(self.body))
        else:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    def answer(self, body: bytes) -> None:
        length = parse_json_length(self.headers.get(HEADER_JSON_LENGTH))
        call = decode_request("echo", "1", body, length)
        outputs = [Tensor("sum", "FP32", (1,), np.array([1.0], np.float32))]
        reply = InferReply(model="echo", version="1", id=call.request.id, outputs=outputs)
        json_length, pieces = encode_reply(reply, call)
        whole = b"".join(bytes(piece) for piece in pieces)
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(whole)}\r\n"
        head += f"{HEADER_SERVED_BY}: {format_served_by(self.served)}\r\n"
        if json_length is not None:
            head += f"{HEADER_JSON_LENGTH}: {json_length}\r\n"
        if not self.transport.is_closing():
            self.transport.write(head.encode() + b"\r\n" + whole)


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--node", default="oslo/1")
    parser.add_argument("--site", default="oslo")
    parser.add_argument("--tier", default="closet")
    parser.add_argument("--service-ms", type=float, default=3.0)
    chosen = parser.parse_args()
    served = ServedBy(
        site=chosen.site,
        node=chosen.node,
        tier=chosen.tier,
        model="echo",
        version="1",
        reason="local",
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Door(served, chosen.service_ms / 1000), "127.0.0.1", chosen.port
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
