"""An authority changes while it works: the key stays, the chain is tried out before it is used."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from skerry.testing.clock import ManualClock
from skerry.trust.anchors import AnchorStore
from skerry.trust.authority import Authority, IssueError
from skerry.trust.authority_change import AuthorityKeeper, AuthorityRefused, ask_command
from skerry.trust.identity import CsrError, certificates_of, chain_to_pem, read_csr
from skerry.trust.spiffe import node_id
from skerry.trust.tls import verify_identity

DOMAIN = "clinic.example"


@pytest.fixture
def keeper(tmp_path: Path, ca: Any) -> AuthorityKeeper:
    ca.eu.save(tmp_path / "authority.pem")
    store = AnchorStore(tmp_path / "roots.pem")
    store.begin(ca.root.certificate_pem, b"")
    return AuthorityKeeper(tmp_path / "authority.pem", store, ManualClock(ca.now_unix_s))


def test_a_new_key_is_certified_and_issues_what_peers_take(
    keeper: AuthorityKeeper, ca: Any
) -> None:
    before = keeper.authority.key_id
    csr = keeper.request(new_key=True)
    keeper.install(ca.root.issue_requested(csr, now_unix_s=ca.now_unix_s))
    assert keeper.authority.key_id != before
    node = keeper.authority.issue_identity(
        node_id(DOMAIN, "eu", "oslo", 1), now_unix_s=ca.now_unix_s
    )
    verify_identity(node, ca.root.certificate_pem, now_unix_s=ca.now_unix_s)


def test_asked_again_the_request_is_for_the_same_key_and_a_restart_keeps_it(
    keeper: AuthorityKeeper, ca: Any, tmp_path: Path
) -> None:
    first = read_csr(keeper.request(new_key=True))[0]
    again = AuthorityKeeper(
        tmp_path / "authority.pem",
        AnchorStore(tmp_path / "roots.pem"),
        ManualClock(ca.now_unix_s),
    )
    assert read_csr(again.request(new_key=True))[0] == first
    again.install(ca.root.issue_requested(again.request(new_key=True), now_unix_s=ca.now_unix_s))
    assert Authority.load(tmp_path / "authority.pem").key_id == again.authority.key_id
    assert read_csr(again.request(new_key=True))[0] != first


def test_the_key_in_use_can_get_another_certificate(keeper: AuthorityKeeper, ca: Any) -> None:
    key = keeper.authority.key_id
    csr = keeper.request(new_key=False)
    keeper.install(ca.root.issue_requested(csr, now_unix_s=ca.now_unix_s))
    assert keeper.authority.key_id == key


def _without_constraints(ca: Any, csr: bytes) -> bytes:
    return _signed_by_hand(ca, csr, lambda builder, _: builder)


def _not_critical(ca: Any, csr: bytes) -> bytes:
    return _signed_by_hand(
        ca, csr, lambda builder, names: builder.add_extension(names, critical=False)
    )


def _too_wide(ca: Any, csr: bytes) -> bytes:
    wide = x509.NameConstraints([x509.UniformResourceIdentifier(f".{DOMAIN}")], None)
    return _signed_by_hand(ca, csr, lambda builder, _: builder.add_extension(wide, critical=True))


def _signed_by_hand(
    ca: Any,
    csr: bytes,
    constrain: Callable[[x509.CertificateBuilder, Any], x509.CertificateBuilder],
) -> bytes:
    """What a CA of somebody else might make of a request."""
    right = certificates_of(ca.root.issue_requested(csr, now_unix_s=ca.now_unix_s))
    builder = (
        x509.CertificateBuilder()
        .subject_name(right[0].subject)
        .issuer_name(right[0].issuer)
        .public_key(right[0].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(right[0].not_valid_before_utc)
        .not_valid_after(right[0].not_valid_after_utc)
    )
    for extension in right[0].extensions:
        if isinstance(extension.value, x509.NameConstraints):
            builder = constrain(builder, extension.value)
        else:
            builder = builder.add_extension(extension.value, critical=extension.critical)
    return chain_to_pem([builder.sign(ca.root.key, hashes.SHA256()), *right[1:]])


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_without_constraints, "no name constraints"),
        (_not_critical, "not marked critical"),
        (_too_wide, "could name|peers refuse"),
        (lambda ca, csr: ca.us.chain_pem, "another key"),
        (lambda ca, csr: b"", "cannot be read"),
        (lambda ca, csr: b"-----BEGIN CERTIFICATE-----\nAA==\n", "cannot be read"),
        (lambda ca, csr: b"x" * 100_000, "100000 bytes"),
        (lambda ca, csr: ca.root.issue_requested(csr, now_unix_s=ca.now_unix_s, life_s=60), "less"),
    ],
)
def test_a_bad_chain_is_refused_and_the_authority_of_before_goes_on(
    keeper: AuthorityKeeper, ca: Any, make: Callable[[Any, bytes], bytes], why: str
) -> None:
    before = keeper.authority.key_id
    with pytest.raises(AuthorityRefused, match=why):
        keeper.install(make(ca, keeper.request(new_key=True)))
    assert keeper.authority.key_id == before


def test_a_chain_to_a_root_of_somebody_else_is_refused(keeper: AuthorityKeeper, ca: Any) -> None:
    stranger = Authority.create_root(DOMAIN, now_unix_s=ca.now_unix_s)
    chain = stranger.issue_requested(keeper.request(new_key=True), now_unix_s=ca.now_unix_s)
    with pytest.raises(AuthorityRefused, match="CERT_FOREIGN_CA"):
        keeper.install(chain)


def test_the_root_certifies_its_own_fleets_authorities_only(ca: Any) -> None:
    for foreign in (
        Authority.create_root("other.example", now_unix_s=ca.now_unix_s).issue_region(
            "eu", now_unix_s=ca.now_unix_s
        ),
        ca.oslo,
        ca.root,
    ):
        with pytest.raises(IssueError, match="not of this fleet"):
            ca.root.issue_requested(foreign.request(new_key=True)[0], now_unix_s=ca.now_unix_s)
    with pytest.raises(CsrError):
        ca.root.issue_requested(b"no request", now_unix_s=ca.now_unix_s)
    with pytest.raises(IssueError):
        ca.eu.issue_requested(ca.us.request(new_key=True)[0], now_unix_s=ca.now_unix_s)


def test_a_command_of_ones_own_gets_the_request_and_gives_the_chain() -> None:
    echo = [sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read().upper())"]
    assert ask_command(echo, b"csr", "eu") == b"CSR"
    with pytest.raises(AuthorityRefused, match="ended with 3: no"):
        ask_command(
            [sys.executable, "-c", "import sys; sys.exit(print('no', file=sys.stderr) or 3)"],
            b"",
            "eu",
        )
    with pytest.raises(AuthorityRefused, match="could not be run"):
        ask_command(["/nowhere/at-all"], b"", "eu")
