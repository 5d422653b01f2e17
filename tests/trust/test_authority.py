"""Authorities issue for their own part of the fleet, and their files survive."""

import random
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

from skerry.trust.authority import BACKDATE_S, Authority, IssueError
from skerry.trust.errors import KeyFileError
from skerry.trust.identity import (
    CsrError,
    Identity,
    certificates_of,
    create_csr,
    new_key,
    verify_csr,
)
from skerry.trust.spiffe import SpiffeIdError, central_id, node_id, operator_id, region_id

DOMAIN = "clinic.example"
OSLO = node_id(DOMAIN, "eu", "oslo", 1)
_SHA256 = hashes.SHA256()
_DER, _PEM = serialization.Encoding.DER, serialization.Encoding.PEM


def test_a_leaf_is_as_spiffe_wants_it(ca: Any) -> None:
    leaf = ca.oslo.issue_identity(OSLO, now_unix_s=ca.now_unix_s).leaf
    names = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    assert names.critical
    assert [name.value for name in names.value] == [str(OSLO), OSLO.host]
    assert not list(leaf.subject)
    life_s = (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()
    assert life_s == 3600 + BACKDATE_S


def test_half_of_a_short_life_is_still_ahead_at_its_start(ca: Any) -> None:
    """Else whoever renews at half life would renew without a pause."""
    identity = ca.oslo.issue_identity(OSLO, now_unix_s=ca.now_unix_s, life_s=8)
    assert identity.starts_unix_s <= ca.now_unix_s
    assert identity.renew_at_unix_s(random.Random(1)) > ca.now_unix_s + 2


@pytest.mark.parametrize(
    ("issuer", "wanted"),
    [
        ("root", OSLO),
        ("root", central_id(DOMAIN)),
        ("eu", node_id(DOMAIN, "us", "oslo", 1)),
        ("eu", region_id(DOMAIN, "us")),
        ("eu", central_id(DOMAIN)),
        ("eu", node_id("other.example", "eu", "oslo", 1)),
        ("oslo", node_id(DOMAIN, "eu", "bergen", 1)),
        ("oslo", region_id(DOMAIN, "eu")),
        ("central", region_id(DOMAIN, "eu")),
        ("central", OSLO),
    ],
)
def test_no_authority_names_what_is_not_its_own(ca: Any, issuer: str, wanted: Any) -> None:
    with pytest.raises(IssueError, match="does not issue"):
        getattr(ca, issuer).issue_identity(wanted, now_unix_s=ca.now_unix_s)


def test_authorities_come_from_the_right_place(ca: Any) -> None:
    with pytest.raises(IssueError, match="only a root does"):
        ca.eu.issue_region("us", now_unix_s=ca.now_unix_s)
    with pytest.raises(IssueError, match="only a region does"):
        ca.root.issue_site("oslo", now_unix_s=ca.now_unix_s)
    assert ca.oslo.domain == ca.eu.domain == ca.central.domain == DOMAIN


def test_constraints_are_critical(ca: Any) -> None:
    for authority in (ca.eu, ca.us, ca.oslo, ca.central):
        certificate = certificates_of(authority.certificate_pem)[0]
        assert certificate.extensions.get_extension_for_class(x509.NameConstraints).critical


def test_a_certificate_never_outlives_its_issuer(ca: Any) -> None:
    short = ca.root.issue_region("no", now_unix_s=ca.now_unix_s, life_s=600)
    leaf = short.issue_identity(region_id(DOMAIN, "no"), now_unix_s=ca.now_unix_s)
    assert leaf.ends_unix_s == short.ends_unix_s
    with pytest.raises(IssueError, match="it expired itself"):
        short.issue_identity(region_id(DOMAIN, "no"), now_unix_s=ca.now_unix_s + 601)


def test_a_request_proves_possession_of_its_key() -> None:
    key = new_key()
    public, asked = verify_csr(create_csr(key, OSLO))
    assert public == key.public_key()
    assert asked == OSLO


def test_a_request_is_issued_only_for_the_name_it_asks(ca: Any) -> None:
    csr = create_csr(new_key(), node_id(DOMAIN, "eu", "oslo", 2))
    with pytest.raises(IssueError, match="node/2"):
        ca.eu.issue_leaf(csr, OSLO, now_unix_s=ca.now_unix_s)


def test_bad_requests_are_refused_by_name() -> None:
    good = create_csr(new_key(), OSLO)
    with pytest.raises(CsrError, match="wanted at most"):
        verify_csr(good * 20)
    with pytest.raises(CsrError, match="cannot be read"):
        verify_csr(b"-----BEGIN nothing")
    body = bytearray(x509.load_pem_x509_csr(good).public_bytes(_DER))
    body[-5] ^= 1  # within the signature
    with pytest.raises(CsrError):
        verify_csr(x509.load_der_x509_csr(bytes(body)).public_bytes(_PEM))
    p384 = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(CsrError, match="P-256"):
        verify_csr(create_csr(p384, OSLO))
    nameless = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    with pytest.raises(SpiffeIdError, match="found 0"):
        verify_csr(nameless.sign(new_key(), _SHA256).public_bytes(_PEM))


def test_renewal_is_near_half_life_and_spread(ca: Any) -> None:
    identity = ca.oslo.issue_identity(OSLO, now_unix_s=ca.now_unix_s)
    life_s = identity.ends_unix_s - identity.starts_unix_s
    rng = random.Random(7)
    at = [(identity.renew_at_unix_s(rng) - identity.starts_unix_s) / life_s for _ in range(200)]
    assert 0.45 <= min(at) < 0.47 < 0.53 < max(at) <= 0.55


def test_files_are_private_and_read_back(ca: Any, tmp_path: Path) -> None:
    identity = ca.oslo.issue_identity(OSLO, now_unix_s=ca.now_unix_s)
    identity.save(tmp_path / "identity.pem")
    assert Identity.load(tmp_path / "identity.pem") == identity
    ca.oslo.save(tmp_path / "oslo.pem")
    again = Authority.load(tmp_path / "oslo.pem")
    assert again.issue_identity(OSLO, now_unix_s=ca.now_unix_s).id == OSLO
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_sealed_authority_opens_with_its_passphrase_only(ca: Any, tmp_path: Path) -> None:
    path = tmp_path / "root.pem"
    ca.root.save(path, passphrase="correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    assert Authority.load(path, passphrase="correct horse").domain == DOMAIN
    for wrong in (None, "wrong"):
        with pytest.raises(KeyFileError, match=r"root\.pem"):
            Authority.load(path, passphrase=wrong)


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "foreign key"])
def test_a_torn_identity_file_is_named(ca: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "identity.pem"
    identity = ca.oslo.issue_identity(OSLO, now_unix_s=ca.now_unix_s)
    other = ca.oslo.issue_identity(OSLO, now_unix_s=ca.now_unix_s)
    identity.save(path)
    whole = path.read_bytes()
    match damage:
        case "absent":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(whole[: len(whole) // 3])
        case _:
            path.write_bytes(other.key_pem + identity.chain_pem)
    with pytest.raises(KeyFileError, match=r"identity\.pem"):
        Identity.load(path)


def test_an_operator_is_never_a_server(ca: Any) -> None:
    """Operators share central's host name, so their certificates must not serve it."""
    ann = ca.central.issue_identity(operator_id(DOMAIN, "ann"), now_unix_s=ca.now_unix_s)
    uses = ann.leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [use.dotted_string for use in uses] == ["1.3.6.1.5.5.7.3.2"]  # client only
