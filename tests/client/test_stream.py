"""Text as it is made: pieces in order, failover until one begins, typed ends, nothing left open."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio.from_thread
import pytest

from skerry.base.errors import UsageError
from skerry.base.http_errors import PeerBrokenError
from skerry.client import AsyncClient, Client
from skerry.route.errors import DeadlineExceededError, PeerAnsweredError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(content: str) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': content}}]})}\n\n"


def error(status: int, text: str) -> bytes:
    body = json.dumps({"error": text}).encode()
    return b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body


@dataclass
class Model:
    """A language model's server: sends its pieces, then hangs or ends."""

    pieces: tuple[str, ...] = (event("Hel"), event("lo"), "data: [DONE]\n\n")
    refuses: bytes = b""
    hangs: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    server: asyncio.Server | None = None
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.close()
        await asyncio.sleep(0.01)  # for the transports' own goodbyes

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            self.heads.append(head)
            self.asked.append(json.loads(await reader.readexactly(length)))
            if self.refuses:
                writer.write(self.refuses)
                return
            writer.write(HEAD)
            for piece in self.pieces:
                data = piece.encode()
                for part in (data[:7], data[7:]):  # pieces of a wire are not pieces of a text
                    writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                    await writer.drain()
                    await asyncio.sleep(0.001)
            if self.hangs:
                await reader.read(1)  # until the client leaves
                self.gone.set()
                return
            writer.write(b"0\r\n\r\n")
        except ConnectionError:
            self.gone.set()
        finally:
            writer.close()


@pytest.fixture
def serve() -> Iterator[Any]:
    made: list[Model] = []
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:

        def begin(**how: Any) -> Model:
            made.append(Model(**how))
            portal.call(made[-1].start)
            return made[-1]

        yield begin
        for model in made:
            portal.call(model.stop)


def test_pieces_come_in_order_as_they_were_made(serve: Any) -> None:
    model = serve()
    with Client(model.url, data_class="internal", headers={"authorization": "Bearer x"}) as client:
        assert list(client.stream("qwen", "Hi", options={"max_tokens": 5})) == ["Hel", "lo"]
    (ask,) = model.asked
    assert ask == {
        "max_tokens": 5,
        "model": "qwen",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }
    assert "skerry-data-class: internal" in model.heads[0]
    assert "authorization: bearer x" in model.heads[0]


def test_another_end_is_asked_until_one_begins(serve: Any) -> None:
    busy, well = serve(refuses=error(503, "busy")), serve()
    with Client(["http://127.0.0.1:1", busy.url, well.url]) as client:
        assert "".join(client.stream("qwen", "Hi")) == "Hello"
    assert len(busy.asked) == len(well.asked) == 1


def test_a_request_at_fault_is_told_once(serve: Any) -> None:
    first, second = serve(refuses=error(400, "no such field")), serve()
    with Client([first.url, second.url]) as client:
        with pytest.raises(PeerAnsweredError, match="no such field") as caught:
            list(client.stream("qwen", "Hi"))
        assert caught.value.status == 400
    assert not second.asked


def test_an_answer_that_has_begun_is_not_begun_anew(serve: Any) -> None:
    broken, well = serve(pieces=(event("Hel"), "data: {rubbish\n\n")), serve()
    with Client([broken.url, well.url]) as client:
        pieces = client.stream("qwen", "Hi")
        assert next(pieces) == "Hel"
        with pytest.raises(PeerBrokenError):
            next(pieces)
    assert not well.asked


def test_silence_ends_at_the_deadline(serve: Any) -> None:
    model = serve(pieces=(event("Hel"),), hangs=True)
    with Client(model.url) as client:
        pieces = client.stream("qwen", "Hi", deadline_s=0.3)
        assert next(pieces) == "Hel"
        with pytest.raises(DeadlineExceededError):
            next(pieces)


def test_a_reader_that_leaves_closes_the_connection(serve: Any) -> None:
    model = serve(pieces=(event("Hel"),), hangs=True)
    with Client(model.url) as client:
        pieces = client.stream("qwen", "Hi")
        assert next(pieces) == "Hel"
        pieces.close()
    assert model.gone.wait(5)


def test_an_end_that_cannot_stream_is_said_so() -> None:
    with Client("grpc://127.0.0.1:1") as client, pytest.raises(UsageError, match="streams"):
        list(client.stream("qwen", "Hi"))


@pytest.mark.anyio
async def test_awaited_it_is_the_same(serve: Any) -> None:
    model = serve()
    async with AsyncClient(model.url) as client:
        assert [piece async for piece in client.stream("qwen", "Hi")] == ["Hel", "lo"]
