"""Whom a fleet trusts, as a chain of signed statements: how roots change, and who is shut out.

    version 0      the root that a machine was given when it joined
    version n + 1  signed by a root of version n, and by the root that it names first

Each version is complete: the roots, the authorities that are being *left* (whoever's chain has
one renews soon) and those that nobody believes any more. A machine that was away walks the
chain from where it stands, so it needs no one to vouch for what it missed; an older or shorter
chain changes nothing. Statements are public and prove themselves, so any mirror may carry them.

A bundle is what TLS reads: the roots, and each distrusted authority marked as rejected. OpenSSL
refuses every chain through such a one; nats-server, where the login decides, reads past it.

Errors:  AnchorsRefused.
Source:  the rule is that of TUF 1.0.34 section 5.3 for roots; X509_CERT_AUX of OpenSSL.
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from skerry.base.files import write_atomic
from skerry.trust.errors import TrustError

if TYPE_CHECKING:
    from skerry.trust.authority import Authority

CHAIN_MAX = 256
CHAIN_BYTES_MAX = 1 << 20
ROOTS_MAX = 8
DISTRUSTED_MAX = 1024
_CONTEXT = b"skerry.anchors/1\n"
_REJECTED = bytes.fromhex("3008a00606") + bytes.fromhex("04551d2500")
"""X509_CERT_AUX: reject for any extended key usage."""


class AnchorsRefused(TrustError):  # noqa: N818 - a refusal is a verdict, and reads as one
    """A statement about whom to trust was refused; the roots of before stay.

    It must follow on what this machine holds, be for this fleet, and be signed both by a root
    that is trusted here and by the root that it names first.
    """

    code = "E0260"
    reason = "ANCHORS_FORGED"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"new trust roots are refused ({self.reason}): {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "what was trusted before stays; compare the root certificates of both sides"


class Anchors(msgspec.Struct, frozen=True, kw_only=True):
    """One version of whom the fleet `domain` trusts, complete."""

    domain: str
    version: int
    roots_pem: bytes
    """The roots; the first is the one in use."""
    leaving: tuple[str, ...] = ()
    """Key ids of authorities that are being left."""
    distrusted_pem: bytes = b""
    """Authorities, below the roots, that nobody believes any more."""


class SignedAnchors(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of an `Anchors`, and signatures over them by the key id of each signing root."""

    body: bytes
    signatures: dict[str, bytes]


class AnchorChain(msgspec.Struct, frozen=True, kw_only=True):
    """Every version so far, from the first: what is published, carried and kept."""

    versions: tuple[SignedAnchors, ...] = ()

    def last(self) -> Anchors | None:
        """Return the newest version, not verified; None for an empty chain."""
        return _body(self.versions[-1]) if self.versions else None


def key_id(certificate: x509.Certificate) -> str:
    """Return the id of an authority's key: its subject key identifier, in hex."""
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest.hex()


def key_ids(authorities_pem: bytes) -> frozenset[str]:
    """Return the ids of these authorities' keys; none for no bytes."""
    return (
        frozenset(key_id(one) for one in _read(authorities_pem))
        if authorities_pem
        else (frozenset())
    )


def issuer_key_ids(chain_pem: bytes) -> tuple[str, ...]:
    """Return the ids of the keys that signed each certificate of a chain, the root's last."""
    ids = []
    for certificate in x509.load_pem_x509_certificates(chain_pem):
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        ids.append((found.value.key_identifier or b"").hex())
    return tuple(ids)


def bundle(roots_pem: bytes, distrusted_pem: bytes = b"") -> bytes:
    """Return roots and rejected authorities as one PEM text for TLS."""
    parts = [_pem("CERTIFICATE", one.public_bytes(Encoding.DER)) for one in _read(roots_pem)]
    return b"".join(parts) + rejected(distrusted_pem)


def rejected(authorities_pem: bytes) -> bytes:
    """Return authorities as PEM that makes OpenSSL refuse them and all below them."""
    if not authorities_pem:
        return b""
    return b"".join(
        _pem("TRUSTED CERTIFICATE", one.public_bytes(Encoding.DER) + _REJECTED)
        for one in _read(authorities_pem)
    )


def sign_next(
    chain: AnchorChain, *signers: "Authority", roots_pem: bytes, **more: object
) -> AnchorChain:
    """Return the chain with one more version, signed by these roots."""
    body = msgspec.json.encode(
        Anchors(
            domain=signers[0].domain,
            version=len(chain.versions) + 1,
            roots_pem=roots_pem,
            **more,  # type: ignore[arg-type]
        )
    )
    signatures = {one.key_id: one.sign(_CONTEXT + body) for one in signers}
    signed = SignedAnchors(body=body, signatures=signatures)
    return AnchorChain(versions=(*chain.versions, signed))


def check_step(held_roots_pem: bytes, version: int, domain: str, offered: SignedAnchors) -> Anchors:
    """Return the next version if it follows on what is held, or raise `AnchorsRefused`."""
    anchors = _body(offered)
    if (anchors.domain, anchors.version) != (domain, version + 1):
        raise AnchorsRefused(
            f"version {anchors.version} for {anchors.domain}, wanted {version + 1} for {domain}"
        )
    roots = _read(anchors.roots_pem)
    if not 0 < len(roots) <= ROOTS_MAX:
        raise AnchorsRefused(f"it names {len(roots)} roots, wanted 1 to {ROOTS_MAX}")
    if anchors.distrusted_pem and len(_read(anchors.distrusted_pem)) > DISTRUSTED_MAX:
        raise AnchorsRefused(f"it shuts out more than {DISTRUSTED_MAX} authorities")
    if not any(_signed_by(root, offered) for root in _read(held_roots_pem)):
        raise AnchorsRefused("no root that is trusted here has signed it")
    if not _signed_by(roots[0], offered):
        raise AnchorsRefused("the root that it names first has not signed it")
    return anchors


class AnchorStore:
    """Whom one machine trusts: `roots.pem`, the bundle, and `anchors.json` beside it, the chain."""

    def __init__(self, roots: Path) -> None:
        self._roots, self._file = roots, roots.with_name("anchors.json")

    @property
    def roots_pem(self) -> bytes:
        """The bundle in force."""
        return self._roots.read_bytes()

    @property
    def chain_bytes(self) -> bytes:
        """The chain as it is handed on; empty where the roots never changed."""
        try:
            return self._file.read_bytes()
        except FileNotFoundError:
            return b""

    @property
    def anchors(self) -> Anchors | None:
        """The version in force; None while it is still the first."""
        return read_chain(self.chain_bytes).last()

    @property
    def version(self) -> int:
        """The number of the version in force; 0 while it is still the first."""
        return len(read_chain(self.chain_bytes).versions)

    def begin(self, roots_pem: bytes, chain: bytes) -> None:
        """Start with a bundle that is known to be right, and the chain that led to it."""
        last = read_chain(chain).last()
        if last is not None and bundle(last.roots_pem, last.distrusted_pem) != roots_pem:
            raise AnchorsRefused("the chain does not lead to the roots that come with it")
        if chain:
            write_atomic(self._file, chain)
        write_atomic(self._roots, roots_pem)

    def take(self, chain: bytes, domain: str) -> bool:
        """Walk an offered chain from where this machine stands; say whether anything is new."""
        versions = read_chain(chain).versions
        held = self.anchors
        roots_pem = held.roots_pem if held else self.roots_pem
        before = version = self.version
        for offered in versions[version:]:
            held = check_step(roots_pem, version, domain, offered)
            roots_pem, version = held.roots_pem, held.version
        if held is None:
            return False
        text = bundle(held.roots_pem, held.distrusted_pem)
        if version == before and text == self.roots_pem:
            return False
        if version > before:
            write_atomic(self._file, chain)
        write_atomic(self._roots, text)  # a crash before this is mended by the next call
        return True


def read_chain(data: bytes) -> AnchorChain:
    """Read a chain, not verified; raises `AnchorsRefused`."""
    if not data:
        return AnchorChain()
    if len(data) > CHAIN_BYTES_MAX:
        raise AnchorsRefused(f"it has {len(data)} bytes, wanted at most {CHAIN_BYTES_MAX}")
    try:
        chain = msgspec.json.decode(data, type=AnchorChain)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnchorsRefused(f"it cannot be read: {error}") from error
    if len(chain.versions) > CHAIN_MAX:
        raise AnchorsRefused(f"it has {len(chain.versions)} versions, wanted at most {CHAIN_MAX}")
    return chain


def _body(signed: SignedAnchors) -> Anchors:
    try:
        return msgspec.json.decode(signed.body, type=Anchors)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnchorsRefused(f"a version cannot be read: {error}") from error


def _signed_by(root: x509.Certificate, signed: SignedAnchors) -> bool:
    public, signature = root.public_key(), signed.signatures.get(key_id(root))
    if signature is None or not isinstance(public, EllipticCurvePublicKey):
        return False
    try:
        public.verify(signature, _CONTEXT + signed.body, ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _read(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise AnchorsRefused(f"a certificate cannot be read: {error}") from error


def _pem(label: str, der: bytes) -> bytes:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()
