"""TLS for the doors of `skerry serve`: from PEM files to what each door needs.

A node's doors for its peers take theirs from the fleet's own identities (`skerry.trust`);
these files are for a server that stands alone, from whatever authority its owner uses.
They are read once, when the doors open.

Errors:  TlsFileError, naming the file.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.base.errors import Exit
from skerry.base.ports import is_loopback
from skerry.serve.client_gate import Clients, TokenGate, read_tokens
from skerry.serve.errors import ServeError
from skerry.serve.settings import ServeSettings


class TlsFileError(ServeError):
    """A file for TLS cannot be used.

    `--tls-chain` and `--tls-key` are a certificate (its issuers after it) and its private
    key; `--tls-client-roots` are the authorities whose clients are let in. All are PEM.
    """

    code = "E0413"
    exit_code = Exit.WRONG_USE

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the options."""
        return (
            "--tls-chain, --tls-key and --tls-client-roots are PEM files; the first two go together"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorTls:
    """Paths of PEM files; with `client_roots` a client must show a certificate of theirs."""

    chain: str
    key: str
    client_roots: str = ""

    def __post_init__(self) -> None:
        if not (self.chain and self.key):
            given = self.chain or self.key or self.client_roots
            raise TlsFileError(given, "wanted with both a certificate and its key")

    def context(self, protocol: str) -> ssl.SSLContext:
        """Return a context of its own for one door, which speaks one protocol by ALPN's name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([protocol])
        try:
            context.load_cert_chain(self.chain, self.key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise TlsFileError(f"{self.chain} and {self.key}", _why(error)) from error
        if self.client_roots:
            try:
                context.load_verify_locations(self.client_roots)
            except (OSError, ValueError) as error:
                raise TlsFileError(self.client_roots, _why(error)) from error
            context.verify_mode = ssl.CERT_REQUIRED
            context.num_tickets = 0  # a resumed session would outlive its client's certificate
        return context

    def pem(self) -> dict[str, Any]:
        """Return the files' bytes by the names that grpcio's door has for them."""
        self.context("h2")  # so that what is wrong with a file is said by its name
        return {
            "key": Path(self.key).read_bytes(),
            "chain": Path(self.chain).read_bytes(),
            "client_roots": Path(self.client_roots).read_bytes() if self.client_roots else None,
        }


def door_tls(settings: ServeSettings) -> DoorTls | None:
    """Return what the settings say of TLS; None for plain doors."""
    if not (settings.tls_chain or settings.tls_key or settings.tls_client_roots):
        return None
    return DoorTls(
        chain=settings.tls_chain, key=settings.tls_key, client_roots=settings.tls_client_roots
    )


def clients_of(settings: ServeSettings, tls: DoorTls | None) -> Clients:
    """Return how the public doors of a server that stands alone are opened."""
    tokens = settings.client_tokens
    if tokens and tls is None and not is_loopback(settings.host):
        raise TlsFileError(tokens, "tokens would cross the network in plain text: use TLS too")
    return Clients(
        http_tls=tls.context("http/1.1") if tls else None,
        grpc_tls=tls.context("h2") if tls else None,
        gate=TokenGate(read_tokens(Path(tokens))) if tokens else None,
    )


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not usable PEM ({error.reason or error})"
    return getattr(error, "strerror", None) or str(error)
