"""Language models behind the OpenAI API's paths: the stock client, streams, usage, limits.

The server behind answers in the documented shapes of vLLM and llama.cpp.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.http_client import HttpClient
from skerry.route.peer_http import HttpEndpoint, address_of
from skerry.schema.oip import InferReply, InferRequest, ServedBy
from skerry.schema.openai import (
    Events,
    OpenAiRequestError,
    read_ask,
    text_tensor,
    tokens_of,
    usage_in,
)

pytestmark = pytest.mark.anyio
Start = Callable[..., Awaitable[Any]]
EXCHANGES = Path(__file__).parent / "openai_exchanges"
CHAT: Any = [{"role": "user", "content": "Say hello."}]


def documented(name: str) -> bytes:
    return (EXCHANGES / name).read_bytes()


class Language:
    """A server with the OpenAI API: answers each path in a documented shape."""

    def __init__(self) -> None:
        self.port = 0
        self.status = 200
        self.answers = {
            "/v1/chat/completions": documented("vllm-chat.json"),
            "/v1/completions": documented("vllm-completion.json"),
            "/v1/embeddings": documented("vllm-embeddings.json"),
        }
        self.stream = documented("vllm-chat.sse")
        self.pause: asyncio.Event | None = None
        """Waited for after the second event of a stream."""
        self.cuts_off = False
        self.asked: list[Any] = []
        self.heads: list[str] = []
        self.left = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (int(line[15:]) for line in head.splitlines() if "content-length" in line), 0
                )
                body = await reader.readexactly(length)
                await self._answer(head, body, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, head: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        path = head.split(" ")[1]
        if path == "/health":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        self.heads.append(head)
        self.asked.append(json.loads(body))
        if self.status != 200:
            content = self.answers[path]
            writer.write(
                f"HTTP/1.1 {self.status} No\r\ncontent-length: {len(content)}\r\n\r\n".encode()
            )
            writer.write(content)
        elif self.asked[-1].get("stream"):
            await self._events(reader, writer)
        else:
            if self.pause is not None and await self._left(reader):
                return
            content = self.answers[path]
            kind = "content-type: application/json\r\n"
            writer.write(
                f"HTTP/1.1 200 OK\r\n{kind}content-length: {len(content)}\r\n\r\n".encode()
            )
            writer.write(content)

    async def _left(self, reader: asyncio.StreamReader) -> bool:
        """Wait for the test's word; say whether the client left before it came."""
        assert self.pause is not None
        gone = asyncio.ensure_future(reader.read(1))
        held = asyncio.ensure_future(self.pause.wait())
        await asyncio.wait((gone, held), return_when=asyncio.FIRST_COMPLETED)
        held.cancel()
        if gone.done():
            gone.exception()
            self.left += 1
            return True
        gone.cancel()
        await asyncio.wait((gone,))
        return False

    async def _events(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for number, event in enumerate(Events().feed(self.stream)):
            if number == 2:
                if self.cuts_off:
                    writer.close()
                    return
                if self.pause is not None and await self._left(reader):
                    return
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")


@pytest.fixture
async def language() -> AsyncIterator[Language]:
    one = Language()
    await one.open()
    yield one
    await one.close()


def front(folder: Path, port: int, **changes: Any) -> Path:
    settings = {
        "schema": "skerry.upstream/1",
        "kind": "openai",
        "url": f"http://127.0.0.1:{port}/v1",
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "ready_every_s": 0.05,
        **changes,
    }
    (folder / "chat" / "1").mkdir(parents=True)
    (folder / "chat" / "1" / "upstream.json").write_bytes(msgspec.json.encode(settings))
    return folder


@pytest.fixture
async def client(
    start: Start, language: Language, tmp_path: Path
) -> AsyncIterator[openai.AsyncOpenAI]:
    server = await start(front(tmp_path, language.port))
    url = f"http://127.0.0.1:{server.ports.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as one:
        one.server = server  # type: ignore[attr-defined]
        yield one


def metrics_of(client: Any) -> str:
    return client.server.service.metrics_text().decode()


async def test_the_stock_client_gets_every_kind_of_answer(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    chat = await client.chat.completions.create(
        model="chat", messages=CHAT, temperature=0.5, extra_body={"top_k": 3}
    )
    assert chat.choices[0].message.content == "Hello there."
    assert chat.usage is not None
    assert chat.usage.completion_tokens == 4
    asked = language.asked[0]
    assert asked["model"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert (asked["temperature"], asked["top_k"]) == (0.5, 3)  # what is not ours goes through
    text = await client.completions.create(model="chat", prompt="Once", max_tokens=3)
    assert text.choices[0].text == " upon a time"
    vectors = await client.embeddings.create(
        model="chat", input=["a", "b"], encoding_format="float"
    )
    assert vectors.data[1].embedding == [0.5, 0.5, -0.25]
    assert 'skerry_tokens_total{model="chat",direction="in"} 19' in metrics_of(client)
    assert 'skerry_tokens_total{model="chat",direction="out"} 7' in metrics_of(client)


async def test_models_are_listed_while_they_can_be_asked(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    assert [model.id async for model in client.models.list()] == ["chat"]
    assert (await client.models.retrieve("chat")).object == "model"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other")


async def test_who_served_and_the_deadline_travel_as_on_every_path(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="chat", messages=CHAT)
    assert "model=chat" in raw.headers["skerry-served-by"]
    language.pause = asyncio.Event()
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(
            model="chat", messages=CHAT, extra_headers={"skerry-deadline-ms": "50"}
        )
    assert caught.value.status_code == 504
    assert caught.value.code == "E0404"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, "role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"model": ""}, "model"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_here_in_the_apis_words(
    client: openai.AsyncOpenAI, language: Language, changes: dict[str, Any], why: str
) -> None:
    fields = {"model": "chat", "messages": CHAT, **changes}
    with pytest.raises(openai.BadRequestError, match=why) as caught:
        await client.post("/chat/completions", body=fields, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.code == "E0161"
    assert not language.asked


async def test_a_model_that_is_not_here_and_a_path_that_is_not_are_404(
    client: openai.AsyncOpenAI,
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="other", messages=CHAT)
    assert caught.value.type == "not_found_error"
    with pytest.raises(openai.NotFoundError):
        await client.get("/files", cast_to=object)


@pytest.mark.parametrize("name", ["vllm-error.json", "llamacpp-error.json"])
async def test_what_the_server_behind_refuses_keeps_its_status_and_words(
    client: openai.AsyncOpenAI, language: Language, name: str
) -> None:
    language.status = 400
    language.answers["/v1/chat/completions"] = documented(name)
    with pytest.raises(openai.BadRequestError, match="context") as caught:
        await client.chat.completions.create(model="chat", messages=CHAT)
    assert caught.value.code == "E0461"


async def test_its_refusal_of_our_key_is_no_clients_fault(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    language.status = 401
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="chat", messages=CHAT)
    assert caught.value.status_code == 502


async def test_a_client_that_leaves_takes_its_question_along(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    language.pause = asyncio.Event()
    task = asyncio.create_task(client.chat.completions.create(model="chat", messages=CHAT))
    await until(lambda: bool(language.asked))
    task.cancel()
    await until(lambda: language.left == 1)


# Streams.


@pytest.mark.parametrize("name", ["vllm-chat.sse", "llamacpp-chat.sse"])
async def test_the_stock_client_reads_a_stream_as_it_comes(
    client: openai.AsyncOpenAI, language: Language, name: str
) -> None:
    language.stream = documented(name)
    language.pause = asyncio.Event()
    stream = await client.chat.completions.create(model="chat", messages=CHAT, stream=True)
    texts = []
    async for chunk in stream:
        assert chunk.choices  # the event with the usage, which nobody asked for, is kept back
        texts.append(chunk.choices[0].delta.content)
        if texts[-1] == "Hello":
            assert not language.pause.is_set()  # it came while the rest was not there yet
            language.pause.set()
    assert "".join(text for text in texts if text) == "Hello there."
    assert language.asked[0]["stream_options"] == {"include_usage": True}
    assert 'skerry_tokens_total{model="chat",direction="out"} 4' in metrics_of(client)


async def test_usage_in_a_stream_is_for_who_asks(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    stream = await client.chat.completions.create(
        model="chat", messages=CHAT, stream=True, stream_options={"include_usage": True}
    )
    last = [chunk async for chunk in stream][-1]
    assert last.usage is not None
    assert last.usage.prompt_tokens == 11


async def test_a_stream_that_its_client_leaves_ends_behind_too(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    language.pause = asyncio.Event()
    stream = await client.chat.completions.create(model="chat", messages=CHAT, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await until(lambda: language.left == 1)


async def test_a_stream_that_breaks_off_says_so_as_its_last_event(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    language.cuts_off = True
    stream = await client.chat.completions.create(model="chat", messages=CHAT, stream=True)
    with pytest.raises(openai.APIError, match="broke"):
        async for _ in stream:
            pass


async def test_a_stream_that_outlasts_its_deadline_ends_with_that(
    client: openai.AsyncOpenAI, language: Language
) -> None:
    language.pause = asyncio.Event()
    stream = await client.chat.completions.create(
        model="chat", messages=CHAT, stream=True, extra_headers={"skerry-deadline-ms": "100"}
    )
    with pytest.raises(openai.APIError, match="deadline"):
        async for _ in stream:
            pass
    await until(lambda: language.left == 1)


async def test_a_stream_comes_through_another_node_as_it_is_made(
    start: Start, language: Language, tmp_path: Path
) -> None:
    first = await start(front(tmp_path / "first", language.port))
    url = f"http://127.0.0.1:{first.ports.http}"
    calls = HttpClient()
    peer = HttpEndpoint(calls, url, address_of(url))
    streams = []

    def wrap(infer: Any) -> Any:
        async def away(request: InferRequest) -> InferReply:
            reply = await peer.infer(request, 5.0)
            streams.append(reply.stream)
            return reply

        return away

    (tmp_path / "none").mkdir()
    second = await start(tmp_path / "none", wrap=wrap)
    url = f"http://127.0.0.1:{second.ports.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        for leaves in (False, True):
            language.pause = asyncio.Event()
            stream = await client.chat.completions.create(model="chat", messages=CHAT, stream=True)
            async for chunk in stream:
                assert chunk.choices
                if chunk.choices[0].delta.content != "Hello":
                    continue
                if leaves:
                    await stream.close()
                    break
                language.pause.set()
        await until(lambda: language.left == 1)
        assert (streams[0].tokens_in, streams[0].tokens_out) == (11, 4)
        with pytest.raises(openai.NotFoundError, match="not served"):
            await client.chat.completions.create(model="other", messages=CHAT, stream=True)
    calls.close()


async def test_over_the_inference_protocol_a_stream_comes_whole(
    start: Start, language: Language, tmp_path: Path
) -> None:
    """An answer that comes so is sent on in one go."""
    server = await start(front(tmp_path, language.port))
    body = json.dumps({"model": "chat", "messages": CHAT, "stream": True}).encode()
    asked = InferRequest(
        model="chat",
        inputs=[text_tensor("path", b"chat/completions"), text_tensor("request", body)],
    )
    reply = await server.service.infer(asked)
    assert reply.stream is None
    assert tokens_of(reply) == (11, 4)

    def wrap(infer: Any) -> Any:
        async def away(request: InferRequest) -> InferReply:
            served = ServedBy(
                site="s", node="s/1", tier="edge", model="chat", version="1", reason="local-down"
            )
            return InferReply(model="chat", version="1", outputs=reply.outputs, served_by=served)

        return away

    (tmp_path / "none").mkdir()
    other = await start(tmp_path / "none", wrap=wrap)
    url = f"http://127.0.0.1:{other.ports.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(model="chat", messages=CHAT, stream=True)
        texts = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
    assert "".join(text for text in texts if text) == "Hello there."


async def test_a_model_of_another_kind_is_no_language_model(start: Start, repository: Path) -> None:
    server = await start(repository)
    url = f"http://127.0.0.1:{server.ports.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="inputs") as caught:
                await client.chat.completions.create(model="double", messages=CHAT, stream=stream)
            body: Any = caught.value.body
            assert body["hint"]


@given(st.lists(st.text("ab\n", max_size=9), max_size=9), st.integers(1, 5))
def test_events_are_the_same_however_a_stream_is_cut(texts: list[str], size: int) -> None:
    stream = "".join(f"data: {text.strip() or '-'}\n\n" for text in texts).encode()
    whole = list(Events().feed(stream))
    cut = Events()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [event for piece in pieces for event in cut.feed(piece)] == whole
    assert b"".join(whole) + cut.rest == stream


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_an_error(body: bytes) -> None:
    try:
        read_ask("chat/completions", body)
    except OpenAiRequestError:
        pass
    usage_in(body)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)
