"""The bus: what holds for a real NATS server and for the one in memory alike."""

import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from skerry.spine.bus import Bus, Message
from skerry.spine.errors import BusTimeoutError, BusUnreachableError, NobodyListensError
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_jwt import Credentials
from skerry.spine.nats_server import free_port, server_binary
from skerry.testing.bus import MemoryHub

pytestmark = pytest.mark.anyio
MIB = 1 << 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bare server on loopback: the contract is about messages, not about rights."""
    folder = tmp_path_factory.mktemp("nats")
    port = free_port()
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/js" }}\n'
        f'log_file: "{folder}/nats.log"\n'
    )
    child = subprocess.Popen([str(server_binary()), "-c", str(config)])
    yield f"nats://127.0.0.1:{port}"
    child.terminate()
    child.wait(5)


@pytest.fixture(params=["memory", "nats"])
async def buses(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Give a function that returns one more connected bus."""
    async with AsyncExitStack() as stack:
        hub = MemoryHub()
        url = request.getfixturevalue("server") if request.param == "nats" else ""

        async def one() -> Bus:
            if url:
                return await nats_bus(url, stack)
            bus = hub.bus()
            stack.push_async_callback(bus.close)
            return bus

        yield one


async def nats_bus(url: str, stack: AsyncExitStack) -> NatsBus:
    """Connect to the bare server, until the stack unwinds."""
    bus = await NatsBus.connect(
        [url],
        name="contract",
        inbox_prefix="_INBOX.contract",
        tls=ssl.create_default_context,
        tls_hostname="unused",
        credentials=lambda: Credentials(jwt="", seed=""),
    )
    stack.push_async_callback(bus.close)
    return bus


async def echo(message: Message) -> bytes:
    return message.subject.encode() + b":" + message.payload


async def stream(bus: Bus, name: str, *, max_bytes: int = MIB) -> str:
    """Make a stream of its own for one test; the real server outlives them."""
    name = f"{name}{time.monotonic_ns()}"
    assert await bus.ensure_stream(name, [f"{name}.>"], max_bytes=max_bytes, max_age_s=60)
    return name


async def test_a_core_message_reaches_every_listener_and_one_of_a_queue(buses: Any) -> None:
    sender, listener = await buses(), await buses()
    heard: list[str] = []

    def note(who: str) -> Any:
        async def handler(message: Message) -> None:
            heard.append(f"{who} {message.subject}")

        return handler

    await listener.subscribe("a.*", note("star"))
    await listener.subscribe("a.>", note("rest"))
    await listener.subscribe("a.b", note("queue"), queue="q")
    await listener.subscribe("a.b", note("queue"), queue="q")
    await sender.publish("a.b", b"x")
    await sender.publish("a.b.c", b"x")
    with anyio.fail_after(5):
        while len(heard) < 4:
            await anyio.sleep(0.01)
    assert sorted(heard) == ["queue a.b", "rest a.b", "rest a.b.c", "star a.b"]


async def test_a_request_gets_its_answer_or_says_why_not(buses: Any) -> None:
    asker, answerer = await buses(), await buses()

    async def silent(message: Message) -> None:
        return None

    async def broken(message: Message) -> bytes:
        raise ValueError("a slip")

    standing = await answerer.subscribe("ask.me", echo)
    await answerer.subscribe("ask.silent", silent)
    await answerer.subscribe("ask.broken", broken)
    assert await asker.request("ask.me", b"1", timeout_s=2) == b"ask.me:1"
    with pytest.raises(NobodyListensError):
        await asker.request("ask.nobody", b"", timeout_s=2)
    for subject in ("ask.silent", "ask.broken"):
        with pytest.raises(BusTimeoutError):
            await asker.request(subject, b"", timeout_s=0.2)
    assert await asker.request("ask.me", b"2", timeout_s=2) == b"ask.me:2"  # it survived
    await standing.cancel()
    with pytest.raises(NobodyListensError):
        await asker.request("ask.me", b"", timeout_s=2)


async def test_the_server_is_asked_after_the_last_thing_said_to_it(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS alone: its client lets a question overtake what waits to be sent."""
    async with AsyncExitStack() as stack:
        bus = await nats_bus(server, stack)
        standing = await bus.subscribe("ask.once", echo)
        assert bus._link is not None
        transport, said = bus._link.client._transport, b""
        write, writelines = transport.write, transport.writelines

        def saw(parts: list[bytes]) -> None:
            nonlocal said
            said += b"".join(parts)

        monkeypatch.setattr(transport, "write", lambda one: (saw([one]), write(one))[1])
        monkeypatch.setattr(transport, "writelines", lambda all_: (saw(all_), writelines(all_))[1])
        await standing.cancel()
        assert 0 <= said.find(b"UNSUB") < said.rfind(b"PING")


async def test_a_client_that_closed_without_a_word_is_replaced(server: str) -> None:
    """NATS alone: its client can end without calling back."""
    async with AsyncExitStack() as stack:
        bus = await nats_bus(server, stack)
        assert bus._link is not None
        await bus._link.client._close(2, do_cbs=False)
        assert not bus.connected
        with pytest.raises(BusUnreachableError, match="not connected"):
            await bus.publish("a", b"")
        with anyio.fail_after(5):
            while not bus.connected:
                await anyio.sleep(0.02)
        assert bus.lives == 2


async def test_a_kept_message_counts_once_and_comes_until_it_is_acknowledged(buses: Any) -> None:
    bus, other = await buses(), await buses()
    name = await stream(bus, "KEEP")
    first = await bus.publish_kept(f"{name}.a", b"1", msg_id="id-1")
    again = await other.publish_kept(f"{name}.a", b"1", msg_id="id-1")
    assert (first.duplicate, again.duplicate) == (False, True)
    assert (first.stream, first.sequence) == (name, again.sequence)
    await bus.publish_kept(f"{name}.b", b"2", msg_id="id-2")
    pulled = await other.pull(name, "reader", limit=10, timeout_s=2)
    assert [(one.msg_id, one.payload, one.tries) for one in pulled] == [
        ("id-1", b"1", 1),
        ("id-2", b"2", 1),
    ]
    await other.ack(pulled)
    assert await bus.pull(name, "reader", limit=10, timeout_s=0.1) == []
    fresh = await bus.pull(name, "second", limit=1, timeout_s=2)  # another reader has its own place
    assert [one.msg_id for one in fresh] == ["id-1"]


async def test_a_pull_waits_for_the_first_message(buses: Any) -> None:
    bus, other = await buses(), await buses()
    name = await stream(bus, "WAIT")
    found: list[str] = []

    async def pull() -> None:
        found.extend(one.msg_id for one in await bus.pull(name, "r", limit=5, timeout_s=5))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pull)
        await anyio.sleep(0.05)
        await other.publish_kept(f"{name}.x", b"1", msg_id="late")
    assert found == ["late"]


async def test_a_stream_exists_once_and_its_limit_drops_the_oldest(buses: Any) -> None:
    bus = await buses()
    name = await stream(bus, "LIMIT", max_bytes=4096)
    for number in range(20):
        await bus.publish_kept(f"{name}.x", bytes(500), msg_id=f"n{number}")
    assert not await bus.ensure_stream(name, [f"{name}.>"], max_bytes=4096, max_age_s=60)
    left = [one.msg_id for one in await bus.pull(name, "r", limit=50, timeout_s=2)]
    assert left[-1] == "n19"
    assert "n0" not in left


async def test_nothing_keeps_a_message_that_no_stream_wants(buses: Any) -> None:
    bus = await buses()
    with pytest.raises(NobodyListensError):
        await bus.publish_kept("no.stream", b"", msg_id="x")


async def test_after_closing_everything_says_unreachable(buses: Any) -> None:
    bus = await buses()
    await bus.close()
    assert not bus.connected
    with pytest.raises(BusUnreachableError):
        await bus.publish("a", b"")
    with pytest.raises(BusUnreachableError):
        await bus.request("a", b"", timeout_s=1)
    with pytest.raises(BusUnreachableError):
        await bus.publish_kept("a", b"", msg_id="x")
