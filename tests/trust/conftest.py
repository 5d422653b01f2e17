"""A small fleet's authorities, a signed repository, and real TLS handshakes on loopback."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.testing.signed_fleet import SignedFleet
from skerry.trust.authority import Authority
from skerry.trust.spiffe import SpiffeId
from skerry.trust.tls import peer_id

DOMAIN = "clinic.example"
WAIT_S = 10


@dataclass
class Authorities:
    """Root, two regions, one site and central, made at the machine's own time."""

    now_unix_s: float
    root: Authority
    eu: Authority
    us: Authority
    oslo: Authority
    central: Authority


@pytest.fixture(scope="session")
def ca() -> Authorities:
    now = time.time()
    root = Authority.create_root(DOMAIN, now_unix_s=now)
    eu = root.issue_region("eu", now_unix_s=now)
    return Authorities(
        now_unix_s=now,
        root=root,
        eu=eu,
        us=root.issue_region("us", now_unix_s=now),
        oslo=eu.issue_site("oslo", now_unix_s=now),
        central=root.issue_central(now_unix_s=now),
    )


@dataclass
class Handshake:
    """Who each side saw, or why it refused."""

    client: SpiffeId | Exception
    server: SpiffeId | Exception
    serial: int = 0
    ticket: bool = False


def _shake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> Handshake:
    outcome = Handshake(client=RuntimeError("not run"), server=RuntimeError("not run"))

    def serve(listener: socket.socket) -> None:
        try:
            with listener.accept()[0] as raw:
                raw.settimeout(WAIT_S)
                with server.wrap_socket(raw, server_side=True) as tls:
                    tls.sendall(b"x")
                    outcome.server = peer_id(tls)
        except Exception as error:
            outcome.server = error

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=WAIT_S) as raw,
                client.wrap_socket(raw, server_hostname=host) as tls,
            ):
                outcome.client = peer_id(tls)
                if tls.recv(1) != b"x":
                    outcome.client = ConnectionResetError("closed without a byte")
                outcome.ticket = bool(tls.session and tls.session.has_ticket)
        except Exception as error:
            outcome.client = error
        thread.join(WAIT_S)
    return outcome


@pytest.fixture
def shake() -> Callable[[ssl.SSLContext, ssl.SSLContext, str], Handshake]:
    """One mutual handshake over a loopback socket, and a byte, so that a late refusal shows."""
    return _shake


@pytest.fixture
def repo(tmp_path: Path) -> SignedFleet:
    return SignedFleet.found(tmp_path)
