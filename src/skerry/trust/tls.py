"""TLS contexts, the identity on the other end of a connection, and renewal without a drop.

TLS 1.3 only: both ends are ours, and it hides the client's certificate from the line. No session
tickets: a resumed session would skip the check of a certificate that has ended since.

Errors:  CertificateError, which says expired, not yet valid, foreign CA or wrong name.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import cast

from cryptography import x509

from skerry.trust.errors import TrustError
from skerry.trust.identity import Identity, certificates_of, throwaway_identity
from skerry.trust.spiffe import Role, SpiffeId, SpiffeIdError

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL; the ssl module has no name for it


class CertificateFault(StrEnum):
    """What is wrong with a certificate, in words that stay the same."""

    EXPIRED = "CERT_EXPIRED"
    NOT_YET_VALID = "CERT_NOT_YET_VALID"
    FOREIGN_CA = "CERT_FOREIGN_CA"
    WRONG_NAME = "CERT_WRONG_NAME"
    OUT_OF_SCOPE = "CERT_OUT_OF_SCOPE"
    DISTRUSTED = "CERT_DISTRUSTED"
    MISSING = "CERT_MISSING"
    UNUSABLE = "CERT_UNUSABLE"


_HINTS = {
    CertificateFault.EXPIRED: "check the clock of both machines, then renew or join again",
    CertificateFault.NOT_YET_VALID: "check the clock of both machines; one of them is behind",
    CertificateFault.FOREIGN_CA: "the two sides belong to different fleets, or one still trusts "
    "an old root: compare their root certificates",
    CertificateFault.WRONG_NAME: "another machine answers at this address: check the address",
    CertificateFault.OUT_OF_SCOPE: "an authority signed a name outside its region or site: treat "
    "its key as stolen",
    CertificateFault.DISTRUSTED: "its authority was shut out: renew, or join again",
    CertificateFault.MISSING: "join the fleet first: `skerry join`",
    CertificateFault.UNUSABLE: "renew, or join again",
}


class CertificateError(TrustError):
    """A certificate was refused, here or by the other side.

    `reason` says why: CERT_EXPIRED, CERT_NOT_YET_VALID (often a clock that is wrong),
    CERT_FOREIGN_CA (another fleet's root), CERT_WRONG_NAME (not whom you dialled),
    CERT_OUT_OF_SCOPE (its authority may not name it), CERT_DISTRUSTED (its authority was shut
    out), CERT_MISSING, CERT_UNUSABLE.
    """

    code = "E0205"

    def __init__(self, fault: CertificateFault, what: str) -> None:
        super().__init__(fault, what)
        self.fault, self.what = fault, what
        self.reason = fault.value

    def __str__(self) -> str:
        return f"{self.what} ({self.reason})"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return _HINTS[self.fault]


def server_context(
    identity: Identity, roots_pem: bytes, *, require_client: bool = True, protocol: str = ""
) -> ssl.SSLContext:
    """Return a context that shows the identity and checks clients against the roots.

    With `require_client` false a client may come without a certificate (a node that joins); one
    that it does show is still checked. `protocol` is the one that ALPN agrees on.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if protocol:
        context.set_alpn_protocols([protocol])
    context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    context.num_tickets = 0
    _arm(context, identity, roots_pem)
    return context


def client_context(identity: Identity | None, roots_pem: bytes) -> ssl.SSLContext:
    """Return a context that checks the server's chain and its name (`SpiffeId.host`)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and name by default
    _arm(context, identity, roots_pem)
    return context


def unchecked_context() -> ssl.SSLContext:
    """Return a context that checks nothing: only for what proves itself, whoever hands it over."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class LiveServerContext:
    """A server context whose identity and roots can be replaced while it serves.

    Give `.context` to the server once. `renew` builds a whole new context first, so a bad pair
    of key and certificate changes nothing (loading a bad pair into a context in use breaks every
    later handshake); open connections keep what they have.
    """

    def __init__(
        self,
        identity: Identity,
        roots_pem: bytes,
        *,
        require_client: bool = True,
        protocol: str = "",
    ) -> None:
        self._identity, self._roots_pem = identity, roots_pem
        self._make = partial(server_context, require_client=require_client, protocol=protocol)
        self._door = self._make(identity, roots_pem)
        self._shown = self._door
        self._door.sni_callback = self._choose

    @property
    def context(self) -> ssl.SSLContext:
        """What the server is started with."""
        return self._door

    @property
    def identity(self) -> Identity:
        """What new connections are shown."""
        return self._identity

    def renew(self, identity: Identity, roots_pem: bytes | None = None) -> None:
        """Show another identity (and trust other roots) from the next handshake on."""
        roots_pem = roots_pem or self._roots_pem
        shown = self._make(identity, roots_pem)
        self._identity, self._roots_pem, self._shown = identity, roots_pem, shown

    def forget(self) -> None:
        """Let go of the key: handshakes fail from now on, until `renew` brings another identity.

        OpenSSL wipes a key when the last context that holds it lets go. The context that the
        server was started with cannot be replaced, so it is given a key that nobody trusts.
        """
        nobody = throwaway_identity()
        with _as_file(nobody.key_pem + nobody.chain_pem) as path:
            self._door.load_cert_chain(path)
        self._identity, self._shown = nobody, self._door

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, door: ssl.SSLContext
    ) -> None:
        """Runs within every handshake, also where the client names no host."""
        connection.context = self._shown


def peer_id(connection: ssl.SSLObject | ssl.SSLSocket) -> SpiffeId:
    """Return who is on the other end: exactly one URI name in a verified certificate.

    Raises `CertificateError` if there is no certificate, or none or several ids in it.
    """
    shown = connection.getpeercert() or {}
    names = cast("tuple[tuple[str, str], ...]", shown.get("subjectAltName", ()))
    if not names:
        raise CertificateError(CertificateFault.MISSING, "the other side showed no certificate")
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1:
        what = f"the other side's certificate carries {len(uris)} ids, wanted one"
        raise CertificateError(CertificateFault.UNUSABLE, what)
    try:
        peer = SpiffeId.parse(uris[0])
    except SpiffeIdError as error:
        raise CertificateError(CertificateFault.UNUSABLE, str(error)) from error
    if [value for kind, value in names if kind == "DNS"] != [peer.host]:
        what = f"the certificate of {peer} carries other host names than its own"
        raise CertificateError(CertificateFault.UNUSABLE, what)
    return peer


def peer_facts(connection: ssl.SSLObject | ssl.SSLSocket) -> tuple[SpiffeId, float, str]:
    """Return who is on the other end, when that certificate ends, and its issuer's key id."""
    peer = peer_id(connection)
    shown = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    issuer = shown.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    return peer, shown.not_valid_after_utc.timestamp(), (issuer.key_identifier or b"").hex()


def verify_identity(identity: Identity, roots_pem: bytes, *, now_unix_s: float) -> None:
    """Check an identity as its peers will: key, chain, name constraints, and dates at `now`.

    OpenSSL does it, in one handshake in memory, as server and as client; the dates are ours, so
    that a simulated clock holds. Raises `CertificateError`. Call it before a renewed identity
    replaces the old one.
    """
    check_dates(identity, now_unix_s)
    try:
        server, client = server_context(identity, roots_pem), client_context(identity, roots_pem)
        for context in (server, client):
            context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        if identity.id.role is Role.OPERATOR:  # never a server: only the far side may judge it
            client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        _shake_hands(server, client, identity.id.host)
    except ssl.SSLError as error:
        raise explain_tls_error(error) from error


def check_dates(identity: Identity, now_unix_s: float) -> None:
    """Raise `CertificateError` where a certificate of the chain has ended or not begun by then."""
    now = datetime.fromtimestamp(now_unix_s, UTC)
    for certificate in certificates_of(identity.chain_pem):
        if now > certificate.not_valid_after_utc:
            what = f"a certificate ended {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S}"
            fault = CertificateFault.EXPIRED
        elif now < certificate.not_valid_before_utc:
            what = f"a certificate starts {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S}"
            fault = CertificateFault.NOT_YET_VALID
        else:
            continue
        raise CertificateError(fault, f"{what} UTC and this clock says {now:%Y-%m-%d %H:%M:%S}")


def explain_tls_error(error: BaseException) -> BaseException:
    """Return the `CertificateError` behind a failed handshake, or the error itself.

    Looks through what other libraries wrapped around the `ssl.SSLError`.
    """
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        if isinstance(inner, ssl.SSLCertVerificationError):
            fault = _VERIFY_FAULTS.get(inner.verify_code, CertificateFault.UNUSABLE)
            what = f"the other side's certificate is refused: {inner.verify_message}"
            return CertificateError(fault, what + _clock_note(fault))
        if isinstance(inner, ssl.SSLError):
            for alert, fault in _ALERT_FAULTS.items():
                if alert in (inner.reason or ""):
                    what = f"the other side refused this side's certificate: {alert.lower()}"
                    return CertificateError(fault, what + _clock_note(fault))
        inner = inner.__cause__ or inner.__context__
    return error


def pem_bundle(roots: Sequence[bytes]) -> bytes:
    """Join root certificates into one bundle: two roots are trusted while a fleet changes them."""
    return b"".join(root.strip() + b"\n" for root in roots)


_VERIFY_FAULTS = {  # X509_V_ERR_* of OpenSSL
    9: CertificateFault.NOT_YET_VALID,
    10: CertificateFault.EXPIRED,
    7: CertificateFault.FOREIGN_CA,  # signature failure: same names, another key
    18: CertificateFault.FOREIGN_CA,
    19: CertificateFault.FOREIGN_CA,
    20: CertificateFault.FOREIGN_CA,
    21: CertificateFault.FOREIGN_CA,
    28: CertificateFault.DISTRUSTED,
    30: CertificateFault.FOREIGN_CA,  # key identifier mismatch: another root of the same name
    47: CertificateFault.OUT_OF_SCOPE,
    48: CertificateFault.OUT_OF_SCOPE,
    62: CertificateFault.WRONG_NAME,
    64: CertificateFault.WRONG_NAME,
}
_ALERT_FAULTS = {
    "CERTIFICATE_EXPIRED": CertificateFault.EXPIRED,
    "UNKNOWN_CA": CertificateFault.FOREIGN_CA,
    "CERTIFICATE_REQUIRED": CertificateFault.MISSING,
    "BAD_CERTIFICATE": CertificateFault.UNUSABLE,
    "CERTIFICATE_UNKNOWN": CertificateFault.UNUSABLE,
}


def _clock_note(fault: CertificateFault) -> str:
    if fault not in (CertificateFault.EXPIRED, CertificateFault.NOT_YET_VALID):
        return ""
    return f"; this machine's clock says {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _arm(context: ssl.SSLContext, identity: Identity | None, roots_pem: bytes) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with _as_file(roots_pem) as path:  # not as text: that form knows no rejected authorities
        context.load_verify_locations(path)
    if identity is not None:
        with _as_file(identity.key_pem + identity.chain_pem) as path:
            context.load_cert_chain(path)


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """OpenSSL reads keys from files only: give it one in memory, so that no key meets the disk."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("skerry-identity")
        with os.fdopen(handle, "wb", buffering=0) as memory:
            memory.write(data)
            yield f"/proc/self/fd/{handle}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # readable by this user only
            file.write(data)
            file.flush()
            yield file.name


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """Complete a mutual handshake in memory, or raise the error of the side that failed."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=host)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [near, far]
    for _ in range(8):  # a TLS 1.3 handshake needs three turns
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
        if not waiting:
            return
    raise ssl.SSLError("the handshake did not end")
