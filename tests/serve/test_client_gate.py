"""Who may call: a listed token, compared in constant time, before a body is read."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.clock import SystemClock
from skerry.serve.client_gate import (
    ClientRefusedError,
    TokenGate,
    TokensFileError,
    check_source,
    new_token,
    read_tokens,
    token_sha256,
)
from skerry.serve.http_door import HttpDoor
from skerry.serve.http_message import HttpReply, HttpRequest
from skerry.serve.listening import Listener

TOKEN = new_token()
GATE = TokenGate({"till": token_sha256(TOKEN), "other": token_sha256(new_token())})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_listed_token_is_let_in_and_health_needs_none() -> None:
    GATE.check(f"Bearer {TOKEN}")
    GATE.check(f"bearer {TOKEN}")
    GATE.check("", "/v2/health/ready")


@given(st.text() | st.just(TOKEN) | st.just(f"Basic {TOKEN}") | st.just(f"Bearer {TOKEN[:-1]}"))
def test_anything_else_is_refused_by_name(shown: str) -> None:
    with pytest.raises(ClientRefusedError, match="CLIENT_REFUSED"):
        GATE.check(shown, "/v2/models/m/infer")


def test_a_file_of_hashes_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# tills\n\ntill {token_sha256(TOKEN)}  # by the door\n")
    assert read_tokens(path) == {"till": token_sha256(TOKEN)}
    for text, why in (("till x\n", "line 1"), ("", "no token"), (f"{'a' * 64}\n", "line 1")):
        path.write_text(text)
        with pytest.raises(TokensFileError, match=why):
            read_tokens(path)
    with pytest.raises(TokensFileError, match="cannot be read"):
        read_tokens(tmp_path / "nowhere")


def test_a_connection_from_another_machine_is_told_by_its_address() -> None:
    own = ("10.0.0.5", 8000)
    for here in (("127.0.0.1", 1), ("::1", 1, 0, 0), ("10.0.0.5", 1), "", None):
        check_source(here, own)
    for away in (("10.0.0.7", 1), ("fe80::1", 1, 0, 0)):
        with pytest.raises(ClientRefusedError, match="on this machine"):
            check_source(away, own)


class Door:
    """A door whose terms change while it serves."""

    def __init__(self) -> None:
        async def answer(request: HttpRequest) -> HttpReply:
            return HttpReply(body=[b"here"])

        self.door = HttpDoor(answer, clock=SystemClock())

    async def ask(self, head: str = "", path: str = "/x") -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\n{head}content-length: 5\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n")
        writer.close()
        return answer.decode()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    one = Door()
    one.listener = Listener(gate=GATE)  # type: ignore[attr-defined]
    one.port = await one.door.listen(one.listener)  # type: ignore[attr-defined]
    yield one
    await one.door.stop(0)


@pytest.mark.anyio
async def test_who_shows_no_token_is_refused_before_his_body_comes(door: Any) -> None:
    assert " 401 " in await door.ask()
    assert " 401 " in await door.ask("authorization: Bearer guess\r\n")


@pytest.mark.anyio
async def test_the_terms_of_a_port_change_and_who_came_under_the_old_ones_must_come_again(
    door: Any,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    request = f"GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()
    writer.write(request)
    assert b" 200 " in await reader.readuntil(b"here")
    await door.door.reopen(door.listener, Listener(port=door.port, loopback_only=True))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    with socket.create_connection(("127.0.0.1", door.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in await asyncio.to_thread(plain.recv, 4096)


def test_tls_is_what_a_token_needs_on_a_network(tmp_path: Path) -> None:
    from skerry.serve.door_tls import TlsFileError, clients_of
    from skerry.serve.settings import ServeSettings

    path = tmp_path / "tokens"
    path.write_text(f"till {token_sha256(TOKEN)}\n")
    settings = ServeSettings(repository="r", host="0.0.0.0", client_tokens=str(path))
    with pytest.raises(TlsFileError, match="in plain text"):
        clients_of(settings, None)
    assert clients_of(ServeSettings(repository="r", client_tokens=str(path)), None).gate
    assert ssl.HAS_TLSv1_3
