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
from skerry.base.http_client import HttpClient
from skerry.node.recorder import Recorder
from skerry.route.peer_http import HttpPeers
from skerry.route.router import Router
from skerry.schema.desired import Peer
from skerry.schema.oip import InferFunction
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.records import Outcome, RequestRecord
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings

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


POLICY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={
        "notes": Residency(stays=Stays.SITE),
        "news": Residency(stays=Stays.ANYWHERE),
    },
    model_classes={"chat": ("notes", "news")},
    places={
        "oslo": Place(site="oslo", region="region-eu", jurisdiction="NO"),
        "region-eu": Place(site="region-eu", region="region-eu", jurisdiction="SE"),
    },
)


class Fleet:
    """Servers with a node's router and recorder before them."""

    def __init__(self) -> None:
        self.servers: list[Server] = []
        self.routers: list[Router] = []
        self.calls = HttpClient()

    async def node(
        self, site: str, repository: Path, journal: Journal, *peers: Peer
    ) -> openai.AsyncOpenAI:
        clock, http = SystemClock(), HttpPeers(self.calls)

        def wrap(local: InferFunction) -> InferFunction:
            router = Router(
                place=POLICY.places[site],
                node=f"{site}/1",
                tier="edge",
                policy=POLICY,
                tier_order=("edge",),
                peers=peers,
                call_peer=http.call,
                probe_peer=http.probe,
                clock=clock,
                rng=Random(1),
                local=local,
            )
            self.routers.append(router)
            return Recorder(router.infer, journal, site=site, clock=clock).infer  # type: ignore[arg-type]

        repository.mkdir(exist_ok=True)
        settings = ServeSettings(
            repository=str(repository), http_port=0, grpc_port=None, metrics_port=None
        )
        self.servers.append(Server(settings, clock=clock, wrap=wrap))
        await self.servers[-1].start()
        url = f"http://127.0.0.1:{self.servers[-1].ports.http}/v1"
        return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    async def close(self) -> None:
        for server in self.servers:
            await server.stop(grace_s=1)
        for router in self.routers:
            await router.aclose()
        self.calls.close()


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    yield fleet
    await fleet.close()


@pytest.fixture
async def client(
    tmp_path: Path, journal: Journal, fleet: Fleet
) -> AsyncIterator[openai.AsyncOpenAI]:
    language = await asyncio.start_server(behind, "127.0.0.1", 0)
    port = language.sockets[0].getsockname()[1]
    place = tmp_path / "oslo" / "chat" / "1"
    place.mkdir(parents=True)
    upstream = {"schema": "skerry.upstream/1", "kind": "openai"}
    upstream["url"] = f"http://127.0.0.1:{port}/v1"
    (place / "upstream.json").write_text(json.dumps(upstream))
    async with await fleet.node("oslo", tmp_path / "oslo", journal) as one:
        yield one
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


async def test_what_may_travel_is_asked_of_another_node_stream_or_not(
    client: openai.AsyncOpenAI, fleet: Fleet, tmp_path: Path
) -> None:
    oslo = Peer(
        node="oslo/1",
        site="oslo",
        region="region-eu",
        tier="edge",
        url=str(client.base_url).removesuffix("/v1/"),
        round_trip_ms=1.0,
    )
    away = Journal()
    news = {"skerry-data-class": "news"}
    async with await fleet.node("region-eu", tmp_path / "none", away, oslo) as other:
        whole = await other.chat.completions.create(model="chat", messages=CHAT, extra_headers=news)
        assert whole.choices[0].message.content == "Hi"
        stream = await other.chat.completions.create(
            model="chat", messages=CHAT, stream=True, extra_headers=news
        )
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["Hi"]
        for streams in (False, True):
            with pytest.raises(openai.PermissionDeniedError) as caught:
                await other.chat.completions.create(
                    model="chat", messages=CHAT, stream=streams, extra_headers={}
                )
            assert caught.value.code == "E0501"
    for record in away.records[:2]:
        assert (record.served_node, record.outcome) == ("oslo/1", Outcome.OK)
        assert (record.tokens_in, record.tokens_out) == (11, 4)
        assert record.bytes_upstream == record.bytes_in
    assert [record.bytes_upstream for record in away.records[2:]] == [0, 0]
