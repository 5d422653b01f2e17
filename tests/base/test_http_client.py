"""The HTTP client against a real server: kept connections, deadlines, limits, rubbish."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.base import http_client
from skerry.base.errors import UsageError
from skerry.base.http_client import Address, HttpClient
from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError
from skerry.route.peer_http import address_of

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Script:
    """Answers each request with the next of its answers; None hangs, b'' closes."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0) if self.answers else OK
                if answer is None:
                    await asyncio.sleep(60)
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class Here:
    def __init__(self) -> None:
        self.client = HttpClient()
        self.servers: list[asyncio.Server] = []

    async def start(self, script: Script, tls: ssl.SSLContext | None = None) -> Address:
        server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=tls)
        self.servers.append(server)
        return Address("127.0.0.1", server.sockets[0].getsockname()[1], tls is not None)

    async def get(self, address: Address, deadline_s: float = 5.0) -> bytes:
        answer = await self.client.call(address, "GET", "/", deadline_s=deadline_s)
        return bytes(answer.body)


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    here = Here()
    yield here
    here.client.close()
    for server in here.servers:
        server.close()
    await asyncio.sleep(0.01)


async def test_a_connection_is_kept_for_the_next_call(here: Here) -> None:
    script = Script()
    address = await here.start(script)
    assert await here.get(address) == await here.get(address) == b"hi"
    assert script.connections == 1


async def test_a_connection_that_the_server_will_close_is_not_kept(here: Here) -> None:
    script = Script(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
    address = await here.start(script)
    assert await here.get(address) == await here.get(address) == b"hi"
    assert script.connections == 2


async def test_a_kept_connection_that_died_unseen_costs_a_fresh_one_and_no_error(
    here: Here,
) -> None:
    script = Script(OK, b"", OK)
    address = await here.start(script)
    assert await here.get(address) == b"hi"
    assert await here.get(address) == b"hi"
    assert script.connections == 2


async def test_a_fresh_connection_that_breaks_is_not_tried_again(here: Here) -> None:
    script = Script(b"")
    with pytest.raises(PeerUnreachableError, match="broke"):
        await here.get(await here.start(script))
    assert script.connections == 1


async def test_a_break_within_an_answer_is_not_tried_again(here: Here) -> None:
    script = Script(OK, b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhal", b"")
    address = await here.start(script)
    await here.get(address)
    call = asyncio.ensure_future(here.get(address))
    while len(script.heads) < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    script.writers[0].close()
    with pytest.raises(PeerUnreachableError):
        await call


async def test_silence_ends_at_the_deadline_and_its_connection_is_not_reused(here: Here) -> None:
    script = Script(None)
    address = await here.start(script)
    with pytest.raises(TimeoutError):
        await here.get(address, deadline_s=0.05)
    assert await here.get(address) == b"hi"
    assert script.connections == 2


async def test_nobody_listening_is_told_at_once(here: Here) -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(PeerUnreachableError, match=f"127.0.0.1:{port}"):
        await here.get(Address("127.0.0.1", port))


@pytest.mark.parametrize(
    "rubbish",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_rubbish_is_refused_by_name(here: Here, rubbish: bytes) -> None:
    with pytest.raises(PeerBrokenError):
        await here.get(await here.start(Script(rubbish)))


async def test_an_answer_larger_than_the_limit_is_refused(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "ANSWER_BYTES_MAX", 1000)
    large = b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n" + b"x" * 1001
    with pytest.raises(PeerBrokenError, match="1000"):
        await here.get(await here.start(Script(large)))


async def test_an_interim_answer_is_not_the_answer(here: Here) -> None:
    assert await here.get(await here.start(Script(b"HTTP/1.1 100 Continue\r\n\r\n" + OK))) == b"hi"


async def test_a_line_break_cannot_smuggle_a_header(here: Here) -> None:
    script = Script()
    address = await here.start(script)
    with pytest.raises(ValueError, match="line break"):
        await here.client.call(address, "GET", "/", headers=[("a", "b\r\nx: y")], deadline_s=1.0)
    assert script.heads == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for `oslo.region-eu.clinic.example`, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oslo")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("oslo.region-eu.clinic.example")]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": fast}) for fast in (0, 1)])
@pytest.mark.parametrize(
    ("server_name", "right"),
    [
        ("oslo.region-eu.clinic.example", True),
        ("bergen.region-eu.clinic.example", False),
        ("", False),
    ],
)
async def test_tls_checks_the_name_of_whom_it_wants_not_of_whom_it_dials(
    here: Here, certificate: tuple[Path, Path], server_name: str, right: bool
) -> None:
    offer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offer.load_cert_chain(*certificate)
    here.client.tls = ssl.create_default_context(cafile=str(certificate[0]))
    dialled = await here.start(Script(), offer)
    address = Address(dialled.host, dialled.port, True, server_name)
    if right:
        assert await here.get(address) == await here.get(address) == b"hi"
    else:
        with pytest.raises(PeerUnreachableError, match="TLS"):
            await here.get(address)


async def test_tls_without_roots_is_refused(here: Here) -> None:
    with pytest.raises(PeerUnreachableError, match="roots"):
        await here.get(Address("127.0.0.1", 1, True))


@pytest.mark.parametrize(
    "url", ["ftp://x", "localhost:8000", "http://", "http://h:99999", "http://h/v2"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not an inference address"):
        address_of(url)


def test_addresses_are_read() -> None:
    assert address_of("http://127.0.0.1:8000") == Address("127.0.0.1", 8000)
    assert address_of("https://[::1]/", "name") == Address("::1", 443, True, "name")
