"""Real handshakes on loopback: the right peers get through, every other one is told why."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest

from skerry.trust.authority import Authority
from skerry.trust.identity import Identity
from skerry.trust.spiffe import SpiffeId, central_id, node_id, operator_id, region_id
from skerry.trust.tls import (
    CertificateError,
    CertificateFault,
    LiveServerContext,
    client_context,
    explain_tls_error,
    peer_id,
    pem_bundle,
    server_context,
    verify_identity,
)

DOMAIN = "clinic.example"
OSLO = node_id(DOMAIN, "eu", "oslo", 1)
BERGEN = node_id(DOMAIN, "eu", "bergen", 1)
EU = region_id(DOMAIN, "eu")
DAY_S = 86_400
WAIT_S = 10

Shake = Callable[[ssl.SSLContext, ssl.SSLContext, str], Any]


class Thief(Authority):
    """A stolen authority: its key signs whatever the thief asks for."""

    def _may_name(self, spiffe_id: SpiffeId) -> bool:
        return True


def stolen(authority: Authority) -> Thief:
    return Thief(authority._chain, authority._key)


def node(ca: Any, spiffe_id: SpiffeId = OSLO, **options: float) -> Identity:
    now = options.pop("now_unix_s", ca.now_unix_s)
    return ca.eu.issue_identity(spiffe_id, now_unix_s=now, **options)


def fault(error: object) -> CertificateFault | None:
    assert isinstance(error, BaseException), error
    explained = explain_tls_error(error)
    return explained.fault if isinstance(explained, CertificateError) else None


@pytest.fixture
def roots(ca: Any) -> bytes:
    return ca.root.certificate_pem


def test_each_side_learns_who_the_other_is(ca: Any, roots: bytes, shake: Shake) -> None:
    """A node under its site's authority and a region process: chains of three and two."""
    oslo = ca.oslo.issue_identity(OSLO, now_unix_s=ca.now_unix_s)
    done = shake(server_context(node(ca, EU), roots), client_context(oslo, roots), EU.host)
    assert (done.client, done.server) == (EU, OSLO)


def test_operators_and_central_meet(ca: Any, roots: bytes, shake: Shake) -> None:
    central = ca.central.issue_identity(central_id(DOMAIN), now_unix_s=ca.now_unix_s)
    ann = ca.central.issue_identity(operator_id(DOMAIN, "ann"), now_unix_s=ca.now_unix_s)
    done = shake(server_context(central, roots), client_context(ann, roots), DOMAIN)
    assert (done.client, done.server) == (central_id(DOMAIN), operator_id(DOMAIN, "ann"))
    posing = shake(server_context(ann, roots), client_context(central, roots), DOMAIN)
    assert fault(posing.client) is CertificateFault.UNUSABLE


def test_a_joining_node_may_come_without_a_certificate(ca: Any, roots: bytes, shake: Shake) -> None:
    door = server_context(node(ca, EU), roots, require_client=False)
    done = shake(door, client_context(None, roots), EU.host)
    assert done.client == EU
    assert isinstance(done.server, CertificateError)
    assert done.server.fault is CertificateFault.MISSING


def test_elsewhere_a_certificate_is_required(ca: Any, roots: bytes, shake: Shake) -> None:
    done = shake(server_context(node(ca, EU), roots), client_context(None, roots), EU.host)
    assert fault(done.client) is CertificateFault.MISSING


def test_an_expired_server_is_refused_and_says_so(ca: Any, roots: bytes, shake: Shake) -> None:
    old = node(ca, EU, now_unix_s=ca.now_unix_s - 7200)
    done = shake(server_context(old, roots), client_context(node(ca), roots), EU.host)
    assert fault(done.client) is CertificateFault.EXPIRED


def test_an_expired_client_is_told(ca: Any, roots: bytes, shake: Shake) -> None:
    old = node(ca, now_unix_s=ca.now_unix_s - 7200)
    done = shake(server_context(node(ca, EU), roots), client_context(old, roots), EU.host)
    assert fault(done.server) is CertificateFault.EXPIRED
    assert fault(done.client) is CertificateFault.EXPIRED


def test_a_clock_a_day_off_is_named(ca: Any, roots: bytes, shake: Shake) -> None:
    early = node(ca, EU, now_unix_s=ca.now_unix_s + DAY_S)
    done = shake(server_context(early, roots), client_context(node(ca), roots), EU.host)
    explained = explain_tls_error(done.client)
    assert isinstance(explained, CertificateError)
    assert explained.fault is CertificateFault.NOT_YET_VALID
    assert "this machine's clock says" in str(explained)
    assert "clock" in explained.hint


def test_another_fleet_is_foreign(ca: Any, roots: bytes, shake: Shake) -> None:
    """Same names, same ids, another root."""
    other = Authority.create_root(DOMAIN, now_unix_s=ca.now_unix_s)
    rogue = other.issue_region("eu", now_unix_s=ca.now_unix_s)
    theirs = rogue.issue_identity(EU, now_unix_s=ca.now_unix_s)
    done = shake(server_context(theirs, roots), client_context(node(ca), roots), EU.host)
    assert fault(done.client) is CertificateFault.FOREIGN_CA
    posing = rogue.issue_identity(OSLO, now_unix_s=ca.now_unix_s)
    done = shake(server_context(node(ca, EU), roots), client_context(posing, roots), EU.host)
    assert fault(done.server) is CertificateFault.FOREIGN_CA


def test_the_wrong_machine_is_refused_by_name(ca: Any, roots: bytes, shake: Shake) -> None:
    done = shake(
        server_context(node(ca, BERGEN), roots), client_context(node(ca), roots), OSLO.host
    )
    assert fault(done.client) is CertificateFault.WRONG_NAME


@pytest.mark.parametrize(
    ("thief", "forged"),
    [
        ("eu", node_id(DOMAIN, "us", "oslo", 1)),
        ("eu", region_id(DOMAIN, "us")),
        ("eu", central_id(DOMAIN)),
        ("eu", operator_id(DOMAIN, "ann")),
        ("oslo", BERGEN),
        ("oslo", EU),
        ("central", EU),
        ("central", OSLO),
        ("eu", node_id("eu-clinic.example", "x", "y", 1)),
    ],
)
def test_a_stolen_authority_ends_at_its_border(
    ca: Any, roots: bytes, shake: Shake, thief: str, forged: SpiffeId
) -> None:
    """A17: the name constraints hold in the handshake itself, for clients and for servers."""
    false = stolen(getattr(ca, thief)).issue_identity(forged, now_unix_s=ca.now_unix_s)
    done = shake(server_context(node(ca, EU), roots), client_context(false, roots), EU.host)
    assert fault(done.server) is CertificateFault.OUT_OF_SCOPE
    with pytest.raises(CertificateError) as refused:
        verify_identity(false, roots, now_unix_s=ca.now_unix_s)
    assert refused.value.reason == "CERT_OUT_OF_SCOPE"


def test_loopback_may_be_named_and_no_other_address(
    ca: Any, roots: bytes, shake: Shake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaf links check the address they dial; a stolen region must not name central's."""
    local = node(ca, EU, loopback=True)
    done = shake(server_context(local, roots), client_context(node(ca), roots), "127.0.0.1")
    assert (done.client, done.server) == (EU, OSLO)
    monkeypatch.setattr("skerry.trust.authority._LOOPBACK", (ipaddress.ip_address("10.0.0.1"),))
    false = node(ca, EU, loopback=True)
    done = shake(server_context(false, roots), client_context(node(ca), roots), "10.0.0.1")
    assert fault(done.client) is CertificateFault.OUT_OF_SCOPE


def test_a_site_authority_cannot_make_another(ca: Any, roots: bytes) -> None:
    """Path length 0: what a stolen site issues as an authority counts for nothing."""
    thief = stolen(ca.oslo)
    thief._scope = ca.eu._scope
    below = thief.issue_site("x", now_unix_s=ca.now_unix_s)
    false = stolen(below).issue_identity(OSLO, now_unix_s=ca.now_unix_s)
    with pytest.raises(CertificateError):
        verify_identity(false, roots, now_unix_s=ca.now_unix_s)


def test_a_session_is_never_resumed(ca: Any, roots: bytes, shake: Shake) -> None:
    done = shake(server_context(node(ca, EU), roots), client_context(node(ca), roots), EU.host)
    assert not done.ticket


def test_verify_identity_follows_the_given_clock(ca: Any, roots: bytes) -> None:
    """Certificates of a simulated year are judged by that year's clock."""
    then = ca.now_unix_s + 400 * DAY_S
    identity = node(ca, now_unix_s=then)
    verify_identity(identity, roots, now_unix_s=then)
    with pytest.raises(CertificateError, match="CERT_NOT_YET_VALID"):
        verify_identity(identity, roots, now_unix_s=then - DAY_S)
    with pytest.raises(CertificateError, match="CERT_EXPIRED"):
        verify_identity(identity, roots, now_unix_s=then + DAY_S)


def test_verify_identity_accepts_operators_and_refuses_a_foreign_key(ca: Any, roots: bytes) -> None:
    ann = ca.central.issue_identity(operator_id(DOMAIN, "ann"), now_unix_s=ca.now_unix_s)
    verify_identity(ann, roots, now_unix_s=ca.now_unix_s)
    mixed = Identity(node(ca).chain_pem, node(ca).key_pem)
    with pytest.raises((CertificateError, ssl.SSLError)):
        verify_identity(mixed, roots, now_unix_s=ca.now_unix_s)


class Echo:
    """A TLS echo server that lives through several connections at once."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = context
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            with self._context.wrap_socket(raw, server_side=True) as tls:
                while data := tls.recv(100):
                    tls.sendall(data)
        except OSError:
            pass

    def connect(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        raw = socket.create_connection(self.address, timeout=WAIT_S)
        return context.wrap_socket(raw, server_hostname=EU.host)

    def close(self) -> None:
        self._listener.close()


def echoes(tls: ssl.SSLSocket) -> bool:
    tls.sendall(b"still here")
    return tls.recv(100) == b"still here"


def serial_of(tls: ssl.SSLSocket) -> int:
    shown = tls.getpeercert()
    assert shown is not None
    return int(str(shown["serialNumber"]), 16)


def test_renewal_shows_the_new_certificate_and_drops_nobody(ca: Any, roots: bytes) -> None:
    first, second = node(ca, EU), node(ca, EU)
    live = LiveServerContext(first, roots)
    echo = Echo(live.context)
    client = client_context(node(ca), roots)
    try:
        with echo.connect(client) as old:
            assert serial_of(old) == first.serial
            assert echoes(old)
            live.renew(second)
            with echo.connect(client) as new:
                assert serial_of(new) == second.serial
                assert echoes(new)
            assert echoes(old)
            assert peer_id(old) == EU
    finally:
        echo.close()


def test_a_bad_renewal_changes_nothing(ca: Any, roots: bytes) -> None:
    """A key that does not match: loaded into the live context it would break every handshake."""
    first = node(ca, EU)
    live = LiveServerContext(first, roots)
    echo = Echo(live.context)
    try:
        with pytest.raises(ssl.SSLError):
            live.renew(Identity(node(ca, EU).chain_pem, node(ca, EU).key_pem))
        with echo.connect(client_context(node(ca), roots)) as tls:
            assert serial_of(tls) == first.serial
            assert echoes(tls)
    finally:
        echo.close()


def test_a_key_that_is_forgotten_is_shown_to_nobody_until_the_next_identity(
    ca: Any, roots: bytes
) -> None:
    live = LiveServerContext(node(ca, EU), roots)
    echo = Echo(live.context)
    client = client_context(node(ca), roots)
    try:
        live.forget()
        with pytest.raises(ssl.SSLError), echo.connect(client) as refused:
            echoes(refused)
        live.renew(node(ca, EU))
        with echo.connect(client) as tls:
            assert echoes(tls)
    finally:
        echo.close()


def test_roots_are_replaced_too(ca: Any, roots: bytes) -> None:
    """A new root is trusted beside the old one first; then the old one is dropped."""
    new_root = Authority.create_root(DOMAIN, now_unix_s=ca.now_unix_s)
    new_eu = new_root.issue_region("eu", now_unix_s=ca.now_unix_s)
    both = pem_bundle([roots, new_root.certificate_pem])
    live = LiveServerContext(node(ca, EU), roots)
    echo = Echo(live.context)
    old_client = client_context(node(ca), both)
    new_client = client_context(new_eu.issue_identity(OSLO, now_unix_s=ca.now_unix_s), both)
    try:
        with echo.connect(new_client) as refused, pytest.raises((ssl.SSLError, ConnectionError)):
            echoes(refused)
        live.renew(node(ca, EU), both)
        for client in (old_client, new_client):
            with echo.connect(client) as tls:
                assert echoes(tls)
        live.renew(new_eu.issue_identity(EU, now_unix_s=ca.now_unix_s), new_root.certificate_pem)
        with echo.connect(new_client) as tls:
            assert echoes(tls)
        with echo.connect(old_client) as refused, pytest.raises((ssl.SSLError, ConnectionError)):
            echoes(refused)
    finally:
        echo.close()


def test_other_errors_are_left_as_they_are() -> None:
    error = ConnectionRefusedError("nobody there")
    assert explain_tls_error(error) is error
