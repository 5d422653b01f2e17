"""A language model on a node: residency and records hold for the OpenAI API's paths too."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import openai
import pytest

from skerry.base.clock import SystemClock
from skerry.node.recorder import Recorder
from skerry.route.router import Router
from skerry.schema.oip import InferFunction, InferReply
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.records import Outcome, RequestRecord
from skerry.serve.server import Server, ServeSettings

pytestmark = pytest.mark.anyio
CHAT: Any = [{"role": "user", "content": "Hello"}]
USAGE = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
MESSAGE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
WHOLE = {**CHUNK, "object": "chat.completion", "choices": [MESSAGE], "usage": USAGE}
EVENTS = [
    {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]},
    {**CHUNK, "choices": [], "usage": USAGE},
]


async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a server with the OpenAI API does."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            sizes = [int(line[15:]) for line in head.splitlines() if "content-length" in line]
            body = json.loads(await reader.readexactly(sizes[0]) if sizes else b"{}")
            content, kind = b"", "application/json"
            if body.get("stream"):
                kind = "text/event-stream"
                content = b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in EVENTS)
                content += b"data: [DONE]\n\n"
            elif body:
                content = json.dumps(WHOLE).encode()
            answer = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}"
            writer.write(answer.encode() + b"\r\n\r\n" + content)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


class Journal:
    """What the recorder writes to."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def append(self, payload: bytes) -> None:
        self.records.append(msgspec.msgpack.decode(payload, type=RequestRecord))

    def flush(self) -> None: ...


@pytest.fixture
async def journal() -> Journal:
    return Journal()


@pytest.fixture
async def client(tmp_path: Path, journal: Journal) -> AsyncIterator[openai.AsyncOpenAI]:
    language = await asyncio.start_server(behind, "127.0.0.1", 0)
    port = language.sockets[0].getsockname()[1]
    place = tmp_path / "chat" / "1"
    place.mkdir(parents=True)
    upstream = {"schema": "skerry.upstream/1", "kind": "openai"}
    upstream["url"] = f"http://127.0.0.1:{port}/v1"
    (place / "upstream.json").write_text(json.dumps(upstream))
    clock, here = SystemClock(), Place(site="oslo", region="region-eu", jurisdiction="NO")
    routers: list[Router] = []

    async def nobody(*_: Any) -> InferReply:
        raise AssertionError("there is no other node")

    def wrap(local: InferFunction) -> InferFunction:
        router = Router(
            place=here,
            node="oslo/1",
            tier="edge",
            policy=Policy(
                fleet="clinic",
                generation=1,
                data_classes={"notes": Residency(stays=Stays.SITE)},
                model_classes={"chat": ("notes",)},
                places={"oslo": here},
            ),
            tier_order=("edge",),
            peers=(),
            call_peer=nobody,
            probe_peer=nobody,
            clock=clock,
            rng=Random(1),
            local=local,
        )
        routers.append(router)
        return Recorder(router.infer, journal, site="oslo", clock=clock).infer  # type: ignore[arg-type]

    settings = ServeSettings(
        repository=str(tmp_path), http_port=0, grpc_port=None, metrics_port=None
    )
    server = Server(settings, clock=clock, wrap=wrap)
    await server.start()
    url = f"http://127.0.0.1:{server.ports.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as one:
        yield one
    await server.stop(grace_s=1)
    await routers[0].aclose()
    language.close()


async def test_an_answer_and_a_stream_leave_records_with_their_tokens(
    client: openai.AsyncOpenAI, journal: Journal
) -> None:
    await client.chat.completions.create(model="chat", messages=CHAT)
    stream = await client.chat.completions.create(model="chat", messages=CHAT, stream=True)
    async for _ in stream:
        pass
    assert len(journal.records) == 2
    for record in journal.records:
        assert (record.tokens_in, record.tokens_out) == (11, 4)
        assert (record.data_class, record.outcome) == ("notes", Outcome.OK)
        assert (record.served_node, record.reason) == ("oslo/1", "local")
        assert record.bytes_in > 50


async def test_a_class_that_the_model_may_not_see_is_refused_in_the_apis_words(
    client: openai.AsyncOpenAI, journal: Journal
) -> None:
    for streams in (False, True):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await client.chat.completions.create(
                model="chat",
                messages=CHAT,
                stream=streams,
                extra_headers={"skerry-data-class": "health"},
            )
        assert caught.value.code == "E0502"
        assert caught.value.type == "permission_error"
    assert [record.outcome for record in journal.records] == [Outcome.REFUSED] * 2
