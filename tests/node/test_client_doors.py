"""The inference doors under each policy: what a client of a node's worker gets to see."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from skerry.base.clock import SystemClock
from skerry.node.client_doors import ClientDoors
from skerry.node.identity import IdentityFiles
from skerry.schema.clients import ClientPolicy, Who
from skerry.serve.client_gate import new_token, token_sha256
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings
from skerry.trust.authority import Authority
from skerry.trust.tls import client_context

pytestmark = pytest.mark.anyio
TOKEN = new_token()
READY = b"GET /v2 HTTP/1.1\r\nhost: x\r\n"


class Doors:
    """A server with no models, behind the doors of a node that joined."""

    def __init__(self, folder: Path, fleet: Any) -> None:
        (folder / "models").mkdir()
        self.files, self.fleet = IdentityFiles(folder), fleet
        fleet.identity(self.files, now_unix_s=time.time(), by=fleet.region)
        self.doors = ClientDoors(self.files)
        self.server = Server(
            ServeSettings(
                repository=str(folder / "models"), http_port=0, grpc_port=0, metrics_port=None
            ),
            clock=SystemClock(),
            clients=self.doors.terms(ClientPolicy()),
        )

    async def follow(self, policy: ClientPolicy) -> None:
        await self.server.admit(self.doors.terms(policy))

    async def ask(self, tls: ssl.SSLContext | None = None, head: str = "") -> str:
        """Return the status line of an answer, or why there is none."""
        name = self.files.load().id.host if tls else None
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.server.ports.http, ssl=tls, server_hostname=name
            )
            writer.write(READY + head.encode() + b"\r\n")
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
            writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            return type(error).__name__
        return answer.decode().split(" ")[1]

    def client(self, *, known: bool = False) -> ssl.SSLContext:
        return client_context(self.files.load() if known else None, self.files.trusted_pem())


@pytest.fixture
async def doors(tmp_path: Path, fleet: Any) -> AsyncIterator[Doors]:
    one = Doors(tmp_path, fleet)
    await one.server.start()
    yield one
    await one.server.stop(0)


async def test_loopback_is_plain_and_is_what_a_fleet_has_that_says_nothing(doors: Doors) -> None:
    assert await doors.ask() == "200"


async def test_a_token_wants_tls_and_is_asked_of_everybody(doors: Doors) -> None:
    ports = doors.server.ports
    before = (ports.http, ports.grpc)
    await doors.follow(ClientPolicy(who=Who.TOKEN, tokens={"till": token_sha256(TOKEN)}))
    assert (ports.http, ports.grpc) == before
    assert not (await doors.ask()).isdigit()  # plain text is no longer spoken here
    assert await doors.ask(doors.client()) == "401"
    assert await doors.ask(doors.client(), f"authorization: Bearer {TOKEN}\r\n") == "200"
    await doors.follow(ClientPolicy(who=Who.OPEN))
    assert await doors.ask() == "200"


async def test_a_certificate_is_one_of_the_fleet_or_of_the_roots_that_it_names(
    doors: Doors,
) -> None:
    await doors.follow(ClientPolicy(who=Who.CERTIFICATE))
    assert not (await doors.ask(doors.client())).isdigit()
    assert await doors.ask(doors.client(known=True)) == "200"
    other = Authority.create_root("tills.example", now_unix_s=time.time())
    roots_pem = other.certificate_pem.decode()
    await doors.follow(ClientPolicy(who=Who.CERTIFICATE, roots_pem=roots_pem))
    assert not (await doors.ask(doors.client(known=True))).isdigit()


async def test_a_renewed_identity_is_shown_without_opening_the_doors_anew(
    doors: Doors,
) -> None:
    await doors.follow(ClientPolicy(who=Who.CERTIFICATE))
    before = doors.files.load().serial
    doors.fleet.identity(doors.files, now_unix_s=time.time(), by=doors.fleet.region)
    doors.doors.renew()
    assert doors.files.load().serial != before
    assert await doors.ask(doors.client(known=True)) == "200"
