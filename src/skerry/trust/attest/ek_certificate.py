"""EK certificates: does this TPM come from a maker that we listed?

Maker certificates are odd on purpose: they end in the year 9999, name the TPM in a critical
alternative name that is a directory name, and have a key usage of their own. Verifiers made for
web servers refuse them, so links are checked here one by one: signature, CA flag, dates, use.

Units:   unix seconds.
Errors:  AttestationError with EK_UNTRUSTED or MALFORMED.
Source:  TCG EK Credential Profile 2.5, section 3.2.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from skerry.schema.attestation import Reason
from skerry.trust.attest.errors import AttestationError, ReferenceFileError
from skerry.trust.attest.public_area import PublicArea

EK_USE = x509.ObjectIdentifier("2.23.133.8.1")
CERTIFICATE_BYTES_MAX = 8192
CHAIN_MAX = 6
_LAZY: tuple[Callable[[x509.Certificate], object], ...] = (
    lambda one: one.public_key(),
    lambda one: one.subject.rfc4514_string(),
    lambda one: one.issuer.rfc4514_string(),
    lambda one: (one.not_valid_before_utc, one.not_valid_after_utc),
)


def check_ek(
    chain_der: Sequence[bytes], ek: PublicArea, roots_pem: str, *, now_unix_s: float
) -> str:
    """Return the SHA-256 (hex) of an EK certificate that leads to a listed root, or raise.

    `ek` must be the key that the certificate is for. `roots_pem` may hold intermediates too,
    since many TPMs carry their own certificate only.
    """
    if not 1 <= len(chain_der) <= CHAIN_MAX:
        raise _untrusted(f"{len(chain_der)} certificates, wanted 1 to {CHAIN_MAX}")
    chain = [_read(der) for der in chain_der]
    leaf = chain[0]
    if _public_bytes(leaf) != _public_bytes(ek):
        raise _untrusted("the certificate is for another key than the EK")
    _check_leaf(leaf)
    check_chain(leaf, chain[1:], roots_pem, now_unix_s=now_unix_s)
    return hashlib.sha256(chain_der[0]).hexdigest()


def read_makers(path: Path) -> str:
    """Read a file of makers' certificates (PEM); raises `ReferenceFileError`."""
    try:
        text = path.read_text()
        x509.load_pem_x509_certificates(text.encode())
    except OSError as error:
        raise ReferenceFileError(str(path), f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError too
        raise ReferenceFileError(str(path), f"holds no certificates: {error}") from error
    return text


def check_chain(
    leaf: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots_pem: str,
    *,
    now_unix_s: float,
) -> None:
    """Walk from a certificate to a listed one; raise EK_UNTRUSTED where that ends elsewhere."""
    try:
        listed = x509.load_pem_x509_certificates(roots_pem.encode()) if roots_pem.strip() else []
    except ValueError as error:
        raise _untrusted(f"the list of maker roots cannot be read: {error}") from error
    now = datetime.fromtimestamp(now_unix_s, UTC)
    at = leaf
    for _ in range(CHAIN_MAX):
        if not at.not_valid_before_utc <= now <= at.not_valid_after_utc:
            raise _untrusted(
                f"{at.subject.rfc4514_string() or 'the EK certificate'} is out of date"
            )
        anchor = next((one for one in listed if _issued(one, at)), None)
        if anchor is not None:
            if anchor.not_valid_before_utc <= now <= anchor.not_valid_after_utc:
                return
            raise _untrusted(f"{anchor.subject.rfc4514_string()} is listed and out of date")
        issuer = next((one for one in between if _issued(one, at)), None)
        if issuer is None:
            break
        at = issuer
    raise _untrusted(f"its issuer {at.issuer.rfc4514_string()!r} is not on the list of makers")


def _issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca:
            return False
        subject.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_leaf(leaf: x509.Certificate) -> None:
    try:
        extensions = leaf.extensions
    except (ValueError, x509.DuplicateExtension) as error:
        raise _untrusted(f"its extensions cannot be read: {error}") from error
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise _untrusted("it is an authority's certificate, not an EK's")
        if isinstance(value, x509.ExtendedKeyUsage) and EK_USE not in value:
            raise _untrusted("its extended key usage is not that of an EK")


def _read(der: bytes) -> x509.Certificate:
    if len(der) > CERTIFICATE_BYTES_MAX:
        raise AttestationError(Reason.MALFORMED, f"an EK certificate of {len(der)} bytes")
    try:
        certificate = x509.load_der_x509_certificate(der)
        for read in _LAZY:  # its parts are decoded when they are asked for: ask here
            read(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm, OverflowError) as error:
        why = f"an EK certificate cannot be read: {error}"
        raise AttestationError(Reason.MALFORMED, why) from error
    return certificate


def _public_bytes(of: x509.Certificate | PublicArea) -> bytes:
    return of.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _untrusted(why: str) -> AttestationError:
    return AttestationError(Reason.EK_UNTRUSTED, why)
