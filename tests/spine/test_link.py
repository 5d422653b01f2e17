"""The link emulator: stated delay, real cuts, silent holes, order kept, bytes counted."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from skerry.spine.errors import LinkError
from skerry.spine.link import LinkControl, LinksConfig, LinkSpec, run_links
from skerry.spine.nats_server import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
async def links(tmp_path: Path) -> AsyncIterator[Any]:
    """Start an echo server behind a link; gives a starter that returns port and control."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    target = await asyncio.start_server(echo, "127.0.0.1", 0)
    running: list[asyncio.Task[None]] = []

    async def start(**how: Any) -> tuple[int, LinkControl]:
        port, ready = free_port(), asyncio.Event()
        spec = LinkSpec(
            name="oslo:eu",
            listen_port=port,
            target_host="127.0.0.1",
            target_port=target.sockets[0].getsockname()[1],
            **how,
        )
        control = tmp_path / "c"
        config = LinksConfig(links=(spec,), control=str(control), seed=1)
        running.append(asyncio.create_task(run_links(config, ready=ready)))
        await asyncio.wait_for(ready.wait(), 5)
        return port, LinkControl(control)

    yield start
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    target.close()


async def dial(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def round_trip(ends: Any, payload: bytes = b"ping") -> float:
    reader, writer = ends
    began_s = time.monotonic()
    writer.write(payload)
    await asyncio.wait_for(reader.readexactly(len(payload)), 10)
    return (time.monotonic() - began_s) * 1000


async def test_a_round_trip_takes_the_stated_time(links: Any) -> None:
    port, control = await links(delay_ms=20)
    ends = await dial(port)
    await round_trip(ends)
    assert 39 <= min([await round_trip(ends) for _ in range(5)]) < 70
    await asyncio.to_thread(control.set_delay, "oslo:eu", 0.0)
    assert min([await round_trip(ends) for _ in range(5)]) < 20
    ends[1].close()


async def test_jitter_delays_but_never_reorders(links: Any) -> None:
    port, control = await links(delay_ms=1, jitter_ms=10)
    reader, writer = await dial(port)
    sent = b"".join(b"%06d" % number for number in range(3000))

    async def send() -> None:
        for at in range(0, len(sent), 600):
            writer.write(sent[at : at + 600])
            await writer.drain()
            await anyio.sleep(0.001)

    sending = asyncio.create_task(send())
    assert await asyncio.wait_for(reader.readexactly(len(sent)), 10) == sent
    await sending
    status = (await asyncio.to_thread(control.status))["oslo:eu"]
    assert (status.up_bytes, status.down_bytes) == (len(sent), len(sent))
    writer.close()


async def test_bandwidth_bounds_the_rate(links: Any) -> None:
    port, _ = await links(bandwidth_bit_per_s=8_000_000)  # 1 MB/s
    ends = await dial(port)
    took_ms = await round_trip(ends, bytes(300_000))
    assert 290 <= took_ms < 900
    ends[1].close()


async def test_a_cut_resets_and_refuses_until_it_is_healed(links: Any) -> None:
    port, control = await links()
    reader, writer = await dial(port)
    await round_trip((reader, writer))
    await asyncio.to_thread(control.cut, "oslo:eu")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.readexactly(1), 2)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await round_trip(await dial(port))
    await asyncio.to_thread(control.heal, "oslo:eu")
    ends = await dial(port)
    await round_trip(ends)
    ends[1].close()


async def test_a_black_hole_accepts_and_says_nothing_then_lets_go(links: Any) -> None:
    port, control = await links()
    old = await dial(port)
    await round_trip(old)
    await asyncio.to_thread(control.black_hole, "*")
    new = await dial(port)
    for reader, writer in (old, new):
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.2)
    status = (await asyncio.to_thread(control.status))["oslo:eu"]
    assert (status.state, status.up_bytes, status.connections) == ("black-hole", 4, 2)
    await asyncio.to_thread(control.heal, "*")
    for reader, writer in (old, new):
        assert await asyncio.wait_for(reader.readexactly(4), 2) == b"held"
        writer.close()


async def test_a_held_link_takes_a_bounded_amount(links: Any) -> None:
    port, control = await links()
    reader, writer = await dial(port)
    await round_trip((reader, writer))
    await asyncio.to_thread(control.black_hole, "*")

    async def flood() -> None:
        for _ in range(64):
            writer.write(bytes(1 << 20))
            await writer.drain()  # TCP stops us long before 64 MiB

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flood(), 1)
    writer.transport.abort()


async def test_wrong_orders_are_answered_by_name(links: Any, tmp_path: Path) -> None:
    _, control = await links()
    with pytest.raises(LinkError, match="no link is named nowhere"):
        await asyncio.to_thread(control.cut, "nowhere")
    with pytest.raises(LinkError, match="link control"):
        LinkControl(tmp_path / "none").status()


async def test_nothing_of_a_reset_connection_is_left_behind(links: Any) -> None:
    """What is left pending is collected some time later, with a line in the log each time."""
    port, _ = await links(delay_ms=1)
    before = asyncio.all_tasks()
    reader, writer = await dial(port)
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.read(5), 5) == b"hello"
    plain = writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()  # one way fails, while the other waits for bytes
    deadline_s = time.monotonic() + 5
    while (left := asyncio.all_tasks() - before) and time.monotonic() < deadline_s:
        await asyncio.sleep(0.01)
    assert not left
