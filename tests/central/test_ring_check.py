"""The check outside: only a clear yes lets a ring begin; all else holds it, with a reason."""

import asyncio
import sys
import time

import pytest

from skerry.central.ring_check import RingChecks
from skerry.schema.fleet import RingCheck

pytestmark = pytest.mark.anyio


def python(text: str) -> tuple[str, ...]:
    return sys.executable, "-c", text


CHECKS = RingChecks(
    {
        "yes": python("import os; assert os.environ['SKERRY_RING'] == '10 %'"),
        "no": python("import sys; print('change board says no'); sys.exit(3)"),
        "hangs": python("import time; time.sleep(60)"),
        "absent": ("/nowhere/to/be/found",),
    }
)


async def ask(command: str = "", url: str = "", timeout_s: float = 10.0) -> str:
    return await CHECKS.ask(RingCheck(command=command, url=url, timeout_s=timeout_s), 7, "10 %")


async def test_a_command_that_ends_well_lets_the_ring_begin() -> None:
    assert await ask("yes") == ""


async def test_a_command_that_does_not_says_why() -> None:
    assert await ask("no") == "no ended with 3: change board says no"
    assert "No such file" in await ask("absent")
    assert await ask("rm") == "central's settings name no check 'rm'"


async def test_a_command_without_an_end_is_ended() -> None:
    begun = time.monotonic()
    assert await ask("hangs", timeout_s=0.3) == "no answer within 0.3 s"
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""),
        (b"HTTP/1.1 409 Conflict\r\ncontent-length: 6\r\n\r\nfrozen", "answered 409: frozen"),
        (b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", "answered 302"),
    ],
)
async def test_a_url_is_asked_with_generation_and_ring(reply: bytes, said: str) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await ask(url=f"http://127.0.0.1:{port}/gate?team=ml", timeout_s=5)
    assert found.endswith(said)
    assert bool(found) == bool(said)
    assert asked[0].startswith(b"GET /gate?team=ml&generation=7&ring=10+%25 HTTP/1.1\r\n")


async def test_a_url_that_never_answers_holds() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await ask(url=f"http://127.0.0.1:{port}/", timeout_s=0.2)
    assert await ask(url=f"http://127.0.0.1:{port}/", timeout_s=1)
