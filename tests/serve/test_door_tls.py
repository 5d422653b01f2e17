"""TLS at the doors: its speakers are answered, strangers are not, bad files are named."""

import datetime
import ipaddress
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from skerry.serve.door_tls import TlsFileError

READY = "/inference.GRPCInferenceService/ServerReady"
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root, and a server and a client that it vouches for; a stranger that it does not."""
    folder = tmp_path_factory.mktemp("pem")
    root = issue(folder, "root", None)
    issue(folder, "server", root)
    issue(folder, "client", root)
    issue(folder, "stranger", None)
    return folder


def issue(folder: Path, name: str, signer: ec.EllipticCurvePrivateKey | None) -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject, by = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, "root")
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer or key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(*plain))
    return key


def client(pem: Path, name: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pem / "root.pem"))
    if name:
        context.load_cert_chain(pem / f"{name}.pem", pem / f"{name}.key")
    return context


def files(pem: Path, *, mutual: bool) -> dict[str, str]:
    found = {"tls_chain": str(pem / "server.pem"), "tls_key": str(pem / "server.key")}
    return found | ({"tls_client_roots": str(pem / "root.pem")} if mutual else {})


async def http(port: int, context: ssl.SSLContext) -> bytes:
    from anyio.to_thread import run_sync

    def ask() -> bytes:
        url = f"https://127.0.0.1:{port}/v2/health/ready"
        answer: bytes = urllib.request.urlopen(url, timeout=5, context=context).read()
        return answer

    return await run_sync(ask)


async def over_grpc(port: int, pem: Path, name: str = "") -> bytes:
    shown = (pem / "root.pem").read_bytes(), None, None
    if name:
        shown = shown[0], (pem / f"{name}.key").read_bytes(), (pem / f"{name}.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(*shown)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        answer: bytes = await channel.unary_unary(READY)(b"", timeout=5)
        return answer


@pytest.mark.parametrize("engine", ["own", "grpcio"])
async def test_both_doors_speak_tls(start: Any, repository: Any, pem: Path, engine: str) -> None:
    how = {**files(pem, mutual=False), "grpc_port": 0, "grpc_engine": engine}
    server = await start(repository, **how)
    assert b"true" in await http(server.ports.http, client(pem))
    assert await over_grpc(server.ports.grpc, pem) == b"\x08\x01"


@pytest.mark.parametrize("engine", ["own", "grpcio"])
async def test_mutual_tls_lets_in_whom_the_roots_vouch_for_and_nobody_else(
    start: Any, repository: Any, pem: Path, engine: str
) -> None:
    how = {**files(pem, mutual=True), "grpc_port": 0, "grpc_engine": engine}
    server = await start(repository, **how)
    assert b"true" in await http(server.ports.http, client(pem, "client"))
    assert await over_grpc(server.ports.grpc, pem, "client") == b"\x08\x01"
    for name in ("", "stranger"):
        with pytest.raises(OSError):  # noqa: PT011 - reset, end of file or alert, by timing
            await http(server.ports.http, client(pem, name))
        with pytest.raises(grpc.RpcError):
            await over_grpc(server.ports.grpc, pem, name)


async def test_what_is_plain_gets_no_answer_from_a_tls_port(
    start: Any, repository: Any, pem: Path, exchange: Any
) -> None:
    server = await start(repository, **files(pem, mutual=False))
    got = await exchange(server.ports.http, b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/1.1" not in got


async def test_a_file_that_cannot_be_used_is_named(
    start: Any, repository: Any, pem: Path, tmp_path: Path
) -> None:
    good = files(pem, mutual=True)
    (tmp_path / "junk").write_text("no PEM")
    for option, path, words in (
        ("tls_chain", str(tmp_path / "gone"), "No such file"),
        ("tls_key", str(tmp_path / "junk"), "not usable PEM"),
        ("tls_key", str(pem / "client.key"), "not usable PEM"),
        ("tls_client_roots", str(tmp_path / "junk"), "not usable PEM"),
        ("tls_key", "", "both a certificate and its key"),
        ("tls_chain", "", "both a certificate and its key"),
    ):
        with pytest.raises(TlsFileError, match=words) as caught:
            await start(repository, **{**good, option: path})
        assert (path or str(pem)) in str(caught.value)
