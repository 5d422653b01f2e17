"""Real OIP doors on loopback: small servers that speak the schema's own codec."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from skerry.schema.oip import HEADER_SERVED_BY, InferReply, InferRequest, ServedBy, Tensor
from skerry.schema.oip_facts import read_facts
from skerry.schema.oip_http import (
    HEADER_JSON_LENGTH,
    decode_request,
    encode_reply,
    parse_json_length,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Door:
    """One server. `behave` is `answer`, `silent`, or a status to answer with."""

    def __init__(self, node: str, tier: str) -> None:
        self.node, self.tier = node, tier
        self.behave: str | int = "answer"
        self.reason = "local"
        self.seen: list[InferRequest] = []
        self.url = ""
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if self.behave == "silent":
                    await asyncio.sleep(60)
                writer.write(self._answer(head[0].split(" ")[1], headers, body))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if isinstance(self.behave, int):
            text = b'{"error":"told so"}'
            return b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n" % (self.behave, len(text)) + text
        if not path.endswith("/infer"):
            return b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        model = path.split("/")[3]
        call = decode_request(model, "", body, parse_json_length(headers.get(HEADER_JSON_LENGTH)))
        read_facts(call.request, headers.get)
        self.seen.append(call.request)
        outputs = [
            Tensor(f"{t.name}-back", t.datatype, t.shape, t.data) for t in call.request.inputs
        ]
        if call.request.inputs[0].name == "file":
            label = np.array([b"pdf"], dtype=np.object_)
            outputs = [
                Tensor("label", "BYTES", (1,), label),
                Tensor("score", "FP32", (1,), np.array([0.75], np.float32)),
            ]
        reply = InferReply(model=model, version="7", outputs=outputs)
        length, pieces = encode_reply(reply, call)
        served = ServedBy(
            site=self.node.split("/")[0],
            node=self.node,
            tier=self.tier,
            model=model,
            version="7",
            reason=self.reason,
        )
        whole = b"".join(bytes(piece) for piece in pieces)
        lines = [f"content-length: {len(whole)}", f"{HEADER_SERVED_BY}: {served.text}"]
        if length is not None:
            lines.append(f"{HEADER_JSON_LENGTH}: {length}")
        return ("HTTP/1.1 200 OK\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + whole


class Doors:
    """Doors on a loop of their own, so that blocking clients can be tested too."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.doors: list[Door] = []

    def open(self, node: str, tier: str = "closet") -> Door:
        door = Door(node, tier)
        future: Future[None] = asyncio.run_coroutine_threadsafe(door.start(), self.loop)
        future.result(5)
        self.doors.append(door)
        return door

    def shut(self, door: Door) -> None:
        assert door.server is not None
        self.loop.call_soon_threadsafe(door.server.close)

    def close(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        for door in self.doors:
            self.shut(door)
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def doors() -> Iterator[Doors]:
    doors = Doors()
    yield doors
    doors.close()
