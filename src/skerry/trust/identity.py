"""Keys, certificate requests and the identity a process shows to its peers.

Every key is P-256. A key and its chain live in one private file, so that both change in one step;
OpenSSL and nats-server read that file as certificate file and as key file alike.

Units:   unix seconds.
Errors:  CsrError, KeyFileError.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.x509.oid import NameOID

from skerry.base.files import write_private
from skerry.trust.errors import KeyFileError, TrustError
from skerry.trust.spiffe import SpiffeId, SpiffeIdError

CSR_BYTES_MAX = 8192
RENEW_JITTER_RATIO = 0.1
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension)
"""What the X.509 library raises for bytes that are no certificate, request or key."""


class CsrError(TrustError):
    """A certificate request cannot be used: torn, too long, not P-256, or not signed by its key."""

    code = "E0204"
    reason = "CSR"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the certificate request {self.why}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its issuers, and its key. `chain_pem` is leaf first, without the root."""

    chain_pem: bytes
    key_pem: bytes

    @property
    def leaf(self) -> x509.Certificate:
        """The first certificate of the chain."""
        return x509.load_pem_x509_certificate(self.chain_pem)

    @property
    def id(self) -> SpiffeId:
        """Who this is."""
        return id_of(self.leaf)

    @property
    def starts_unix_s(self) -> float:
        """First moment of validity."""
        return self.leaf.not_valid_before_utc.timestamp()

    @property
    def ends_unix_s(self) -> float:
        """Last moment of validity: of the certificate in the chain that ends first."""
        chain = certificates_of(self.chain_pem)
        return min(certificate.not_valid_after_utc.timestamp() for certificate in chain)

    @property
    def serial(self) -> int:
        """Serial number of the leaf."""
        return self.leaf.serial_number

    def renew_at_unix_s(self, rng: random.Random) -> float:
        """Return when to renew: half the life, give or take 10 %, so a fleet spreads."""
        half_s = (self.ends_unix_s - self.starts_unix_s) / 2
        return self.starts_unix_s + half_s * rng.uniform(
            1 - RENEW_JITTER_RATIO, 1 + RENEW_JITTER_RATIO
        )

    def save(self, path: Path) -> None:
        """Write the one private file, whole or not at all."""
        write_private(path, self.key_pem + self.chain_pem)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises `KeyFileError`."""
        key, chain_pem = read_key_and_chain(path, None)
        identity = cls(chain_pem, key_to_pem(key))
        if identity.leaf.public_key() != key.public_key():
            raise KeyFileError(str(path), "holds a key and a certificate that do not match")
        return identity


def id_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> SpiffeId:
    """Return the one id in a certificate or request; raises `SpiffeIdError`."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, *UNREADABLE):
        uris = []
    if len(uris) != 1:
        raise SpiffeIdError(", ".join(uris), f"exactly one URI name, found {len(uris)}")
    return SpiffeId.parse(uris[0])


def new_key() -> EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def throwaway_identity() -> Identity:
    """Make a key with a certificate that nobody trusts: what stands where a real one was."""
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(minutes=1))
        .sign(key, hashes.SHA256())
    )
    return Identity(chain_pem=chain_to_pem([certificate]), key_pem=key_to_pem(key))


def create_csr(key: EllipticCurvePrivateKey, spiffe_id: SpiffeId) -> bytes:
    """Make a certificate request (PEM), signed by the key: the proof that its holder asks."""
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(str(spiffe_id)), x509.DNSName(spiffe_id.host)]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def create_authority_csr(key: EllipticCurvePrivateKey, subject: x509.Name) -> bytes:
    """Make an authority's certificate request (PEM): its subject says which authority it is."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def verify_csr(csr_pem: bytes) -> tuple[EllipticCurvePublicKey, SpiffeId]:
    """Return the key and the id asked for; raises `CsrError` or `SpiffeIdError`."""
    request, public = _checked_csr(csr_pem)
    return public, id_of(request)


def read_csr(csr_pem: bytes) -> tuple[EllipticCurvePublicKey, x509.Name]:
    """Return the key and the subject of an authority's request; raises `CsrError`."""
    request, public = _checked_csr(csr_pem)
    try:
        return public, request.subject
    except UNREADABLE as error:
        raise CsrError(f"has a subject that cannot be read: {error}") from error


def _checked_csr(
    csr_pem: bytes,
) -> tuple[x509.CertificateSigningRequest, EllipticCurvePublicKey]:
    if len(csr_pem) > CSR_BYTES_MAX:
        raise CsrError(f"has {len(csr_pem)} bytes, wanted at most {CSR_BYTES_MAX}")
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        signed = request.is_signature_valid
        public = request.public_key()
    except UNREADABLE as error:
        raise CsrError(f"cannot be read: {error}") from error
    if not isinstance(public, EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise CsrError("is not for a P-256 key")
    if not signed:
        raise CsrError("is not signed by the key it names")
    return request, public


def public_key_from_pem(pem: bytes) -> EllipticCurvePublicKey:
    """Read a P-256 public key; raises `CsrError`."""
    try:
        public = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CsrError(f"comes with a key that cannot be read: {error}") from error
    if not isinstance(public, EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise CsrError("comes with a key that is not P-256")
    return public


def public_key_to_pem(key: EllipticCurvePublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_to_pem(key: EllipticCurvePrivateKey, passphrase: str | None = None) -> bytes:
    """Return a key as PKCS #8 PEM, sealed where there is a passphrase."""
    sealing: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        sealing = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing)


def chain_to_pem(chain: list[x509.Certificate]) -> bytes:
    """Return certificates as PEM, in the order given."""
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain)


def certificates_of(pem: bytes) -> list[x509.Certificate]:
    """Read certificates, leaf first; raises `ValueError` where there is none."""
    return x509.load_pem_x509_certificates(pem)


def read_key_and_chain(path: Path, passphrase: str | None) -> tuple[EllipticCurvePrivateKey, bytes]:
    """Read a private file of key and chain; raises `KeyFileError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyFileError(str(path), f"cannot be read: {error.strerror}") from error
    start = data.find(b"-----BEGIN CERTIFICATE-----")
    if start < 0:
        raise KeyFileError(str(path), "holds no certificate")
    key = key_from_pem(data[:start], passphrase, str(path))
    try:
        certificates_of(data[start:])
    except ValueError as error:
        raise KeyFileError(str(path), f"holds a torn certificate: {error}") from error
    return key, data[start:]


def seal_key_and_chain(data: bytes, passphrase: str) -> bytes:
    """Return key and chain (PEM) with the key sealed; raises `KeyFileError` for anything else."""
    start = data.find(b"-----BEGIN CERTIFICATE-----")
    key = key_from_pem(data[: max(start, 0)], None, "a key and its chain")
    return key_to_pem(key, passphrase) + data[start:]


def key_from_pem(pem: bytes, passphrase: str | None, path: str) -> EllipticCurvePrivateKey:
    """Read a P-256 key; raises `KeyFileError` with the path it came from."""
    try:
        key = serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    except TypeError as error:  # sealed and no passphrase, or the other way round
        raise KeyFileError(path, f"was opened the wrong way: {error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        why = "holds a torn key, or the passphrase is another" if passphrase else "holds a torn key"
        raise KeyFileError(path, why) from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise KeyFileError(path, "holds a key that is not P-256")
    return key
