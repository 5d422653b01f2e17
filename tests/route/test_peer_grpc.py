"""gRPC peers against a scripted grpcio server: errors by their codes, facts, deadlines, TLS."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.base.errors import UsageError
from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError
from skerry.route.errors import PeerAnsweredError
from skerry.route.peer_grpc import GrpcEndpoint, GrpcRoots
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import InferReply, InferRequest, Tensor
from skerry.schema.oip_grpc import SERVICE, encode_reply

pytestmark = pytest.mark.anyio
Script = Callable[[bytes, Any], bytes]


def answer(data: bytes, context: Any) -> bytes:
    tensor = Tensor("y", "FP32", (2,), np.ones(2, np.float32))
    return b"".join(encode_reply(InferReply(model="m", version="1", outputs=[tensor])))


@pytest.fixture
def scripted() -> Iterator[Callable[..., str]]:
    """Start servers whose `ModelInfer` and `ServerReady` do as told; gives each one's URL."""
    servers = []

    def start(infer: Script = answer, credentials: Any = None) -> str:
        server = grpc.server(ThreadPoolExecutor(2))
        ready = pb.ServerReadyResponse(ready=True).SerializeToString()
        works = {"ModelInfer": infer, "ServerReady": lambda data, context: ready}
        handlers = {name: grpc.unary_unary_rpc_method_handler(work) for name, work in works.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        if credentials is None:
            url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        else:
            url = f"grpcs://localhost:{server.add_secure_port('127.0.0.1:0', credentials)}"
        server.start()
        servers.append(server)
        return url

    yield start
    for server in servers:
        server.stop(0)


def request(**fields: Any) -> InferRequest:
    data = np.zeros(2, np.float32)
    return InferRequest(model="m", inputs=[Tensor("x", "FP32", (2,), data)], **fields)


def refusing(code: grpc.StatusCode, *trailing: tuple[str, str]) -> Script:
    def infer(data: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(trailing)
        context.abort(code, "told so")
        raise AssertionError

    return infer


async def error_of(end: GrpcEndpoint, deadline_s: float = 5.0) -> Exception:
    try:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the question
            await end.infer(request(), deadline_s)
    finally:
        await end.aclose()
    return caught.value


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_ARGUMENT", 400),
        ("PERMISSION_DENIED", 403),
        ("NOT_FOUND", 404),
        ("RESOURCE_EXHAUSTED", 429),
        ("UNIMPLEMENTED", 501),
        ("INTERNAL", 500),
        ("DATA_LOSS", 500),
    ],
)
async def test_a_refusal_has_the_status_that_http_would_have(
    scripted: Callable[..., str], code: str, status: int
) -> None:
    error = await error_of(GrpcEndpoint(scripted(refusing(getattr(grpc.StatusCode, code)))))
    assert isinstance(error, PeerAnsweredError)
    assert (error.status, error.text, error.told_code) == (status, "told so", "")


async def test_a_node_says_which_error_it_is_and_when_to_come_back(
    scripted: Callable[..., str],
) -> None:
    told = (("skerry-error-code", "E0405"), ("grpc-retry-pushback-ms", "1500"))
    error = await error_of(GrpcEndpoint(scripted(refusing(grpc.StatusCode.UNAVAILABLE, *told))))
    assert isinstance(error, PeerAnsweredError)
    assert (error.status, error.told_code, error.retry_after_s) == (503, "E0405", 1.5)


async def test_nobody_there_and_nobody_ready_are_unreachable(scripted: Callable[..., str]) -> None:
    for url in ("grpc://127.0.0.1:1", scripted(refusing(grpc.StatusCode.UNAVAILABLE))):
        assert isinstance(await error_of(GrpcEndpoint(url)), PeerUnreachableError)


async def test_silence_ends_at_the_deadline(scripted: Callable[..., str]) -> None:
    def slow(data: bytes, context: Any) -> bytes:
        time.sleep(0.5)
        return answer(data, context)

    assert isinstance(await error_of(GrpcEndpoint(scripted(slow)), 0.1), TimeoutError)


async def test_rubbish_is_a_broken_peer(scripted: Callable[..., str]) -> None:
    error = await error_of(GrpcEndpoint(scripted(lambda data, context: b"\xff\xff")))
    assert isinstance(error, PeerBrokenError)


async def test_facts_headers_and_deadline_travel_as_metadata(scripted: Callable[..., str]) -> None:
    seen: dict[str, Any] = {}

    def infer(data: bytes, context: Any) -> bytes:
        seen.update(dict(context.invocation_metadata()), left_s=context.time_remaining())
        return answer(data, context)

    end = GrpcEndpoint(scripted(infer), headers=[("Authorization", "Bearer x")], compression="gzip")
    await end.infer(request(data_class="health"), 2.0)
    await end.aclose()
    assert (seen["authorization"], seen["skerry-data-class"]) == ("Bearer x", "health")
    assert 0 < seen["left_s"] <= 2.1  # the library rounds a timeout up
    assert 0 < float(seen["skerry-deadline-ms"]) <= 2000


def issue(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate for `localhost` that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return folder / f"{name}.pem", folder / f"{name}.key"


async def test_tls_needs_a_root_that_is_trusted_and_where_wanted_an_identity(
    scripted: Callable[..., str], tmp_path: Path
) -> None:
    chain, key = (path.read_bytes() for path in issue(tmp_path, "server"))
    own_chain, own_key = (path.read_bytes() for path in issue(tmp_path, "client"))
    url = scripted(
        credentials=grpc.ssl_server_credentials(
            [(key, chain)], root_certificates=own_chain, require_client_auth=True
        )
    )
    known = GrpcEndpoint(url, GrpcRoots(roots=chain, chain=own_chain, key=own_key))
    assert await known.ready("", "", 5.0)
    await known.aclose()
    for trust in (GrpcRoots(roots=chain), GrpcRoots(roots=own_chain, chain=own_chain, key=own_key)):
        stranger = GrpcEndpoint(url, trust)
        with pytest.raises((PeerUnreachableError, TimeoutError)):
            await stranger.ready("", "", 2.0)
        await stranger.aclose()


@pytest.mark.parametrize("url", ["http://x:1", "grpc://", "grpc://x:1/path", "grpc://x:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        GrpcEndpoint(url)
