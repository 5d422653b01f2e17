"""The bearer token of a client: checked before anything of its request is read.

Only hashes are kept. A token is 256 random bits, so one SHA-256 is enough: there is nothing to
guess that a slow hash would protect. All hashes are compared, each in constant time, so that an
answer's delay says nothing about how close a guess came.

Errors:  ClientRefusedError, TokensFileError.
"""

import hashlib
import hmac
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from skerry.base.errors import Exit
from skerry.base.ports import is_loopback
from skerry.schema.clients import is_sha256
from skerry.serve.errors import HttpError, ServeError

TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 512
_HEALTH = "/v2/health/"


class ClientRefusedError(HttpError):
    """A client showed no token, or one that is not listed; or it is not on this machine.

    Which clients may call is `trust: clients:` in the fleet file, or `--client-tokens` of
    `skerry serve`.
    """

    code = "E0266"
    exit_code = Exit.REFUSED
    grpc_code = "UNAUTHENTICATED"

    def __init__(self, why: str, status: int = 401) -> None:
        super().__init__(status, f"{why} (CLIENT_REFUSED)")
        self.why = why


class TokensFileError(ServeError):
    """The file of clients' token hashes cannot be used.

    Each line is a name and the SHA-256 of a token, as `skerry trust client-token` prints it.
    """

    code = "E0267"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the form."""
        return "each line is a name and a hash, as `skerry trust client-token NAME` prints it"


class TokenGate:
    """Lets in whoever shows a token of the list; asking for health needs none."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._hashes = [one.encode("ascii") for one in tokens.values()]

    def check(self, authorization: str, path: str = "") -> None:
        """Raise `ClientRefusedError` unless this header holds a listed token."""
        if path.startswith(_HEALTH):
            return
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise ClientRefusedError("a bearer token is wanted here, and none was shown")
        if not is_listed(token.strip(), self._hashes):
            raise ClientRefusedError("the bearer token is not one of those that are let in")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """How the public doors are opened: with TLS or plain, and for whom."""

    http_tls: ssl.SSLContext | None = None
    grpc_tls: ssl.SSLContext | None = None
    gate: TokenGate | None = None
    loopback_only: bool = False
    """Refuse whoever is not on this machine, whatever address the doors listen on."""


def check_source(source: object, own: object) -> None:
    """Raise `ClientRefusedError` for a connection from another machine; both are socket addresses.

    From this machine comes what comes over loopback, or from the very address that it called.
    """
    if not isinstance(source, tuple) or not isinstance(own, tuple):
        return  # a Unix socket
    if not is_loopback(str(source[0])) and source[0] != own[0]:
        raise ClientRefusedError("only clients on this machine may call here", 403)


def is_listed(token: str, hashes: list[bytes]) -> bool:
    """Tell whether a token's hash is in a list; as slow for a near miss as for any other."""
    shown = token_sha256(token[:TOKEN_CHARS_MAX]).encode()
    found = [hmac.compare_digest(shown, one) for one in hashes]
    return any(found)


def new_token() -> str:
    """Make a token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_sha256(token: str) -> str:
    """Return what is listed of a token."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def read_tokens(path: Path) -> dict[str, str]:
    """Read a file of names and hashes; raises `TokensFileError`."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TokensFileError(str(path), f"cannot be read: {error}") from error
    tokens: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        parts = line.partition("#")[0].split()
        if not parts:
            continue
        if len(parts) != 2 or not is_sha256(parts[1]):
            raise TokensFileError(str(path), f"line {number} is no name and SHA-256")
        tokens[parts[0]] = parts[1]
    if not tokens:
        raise TokensFileError(str(path), "it lists no token, so nobody could call")
    return tokens
