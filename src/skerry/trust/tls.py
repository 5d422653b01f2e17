"""TLS contexts, the identity on the other end of a connection, and renewal without a drop.

Errors:  CertificateError, which says expired, not yet valid, foreign CA or wrong name.
"""

import ssl
from collections.abc import Sequence

from skerry.trust.authority import Identity
from skerry.trust.spiffe import SpiffeId


def server_context(
    identity: Identity, roots_pem: bytes, *, require_client: bool = True
) -> ssl.SSLContext:
    """Return a context that shows the identity and checks clients against the roots.

    With `require_client` false a client may come without a certificate (a node that joins); one
    that it does show is still checked.
    """
    raise NotImplementedError


def client_context(identity: Identity | None, roots_pem: bytes) -> ssl.SSLContext:
    """Return a context that checks the server's chain and its name (`SpiffeId.host`)."""
    raise NotImplementedError


class LiveServerContext:
    """A server context whose identity and roots can be replaced while it serves.

    Give `.context` to the server once. `renew` builds a whole new context first, so a bad pair
    of key and certificate changes nothing; open connections keep what they have.
    """

    def __init__(
        self, identity: Identity, roots_pem: bytes, *, require_client: bool = True
    ) -> None:
        raise NotImplementedError

    @property
    def context(self) -> ssl.SSLContext:
        """What the server is started with."""
        raise NotImplementedError

    @property
    def identity(self) -> Identity:
        """What new connections are shown."""
        raise NotImplementedError

    def renew(self, identity: Identity, roots_pem: bytes | None = None) -> None:
        """Show another identity (and trust other roots) from the next handshake on."""
        raise NotImplementedError


def peer_id(connection: ssl.SSLObject | ssl.SSLSocket) -> SpiffeId:
    """Return who is on the other end: exactly one URI name in a verified certificate.

    Raises `CertificateError` if there is no certificate, or none or several ids in it.
    """
    raise NotImplementedError


def verify_identity(identity: Identity, roots_pem: bytes, *, now_unix_s: float) -> None:
    """Check an identity as its peers will: key, chain, name constraints (OpenSSL), and dates.

    Raises `CertificateError`. Call it before a renewed identity replaces the old one.
    """
    raise NotImplementedError


def explain_tls_error(error: Exception, *, now_unix_s: float | None = None) -> Exception:
    """Turn an `ssl.SSLError` of a handshake into a `CertificateError` that says what to do.

    Returns the error itself where there is nothing to add.
    """
    raise NotImplementedError


def pem_bundle(roots: Sequence[bytes]) -> bytes:
    """Join root certificates into one bundle: two roots are trusted while a fleet changes them."""
    raise NotImplementedError
