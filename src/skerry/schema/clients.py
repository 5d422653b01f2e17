"""Who may call a site's inference doors: a policy of the fleet, enforced by each node's worker.

    loopback      plain; connections from this machine only
    token         TLS, and a bearer token whose hash is listed here
    certificate   TLS, and a certificate of the roots listed here (of the fleet's own, if none)
    open          plain, for everybody who reaches the port

Nodes that call each other use a door of their own, and are not meant here.
"""

from enum import StrEnum

import msgspec

SITE_LIFE_S = 400 * 86_400.0
"""How long a site that is cut off goes on, unless its fleet says otherwise."""


class Who(StrEnum):
    """Who may call. Stable words."""

    LOOPBACK = "loopback"
    TOKEN = "token"  # noqa: S105 - a word, not a secret
    CERTIFICATE = "certificate"
    OPEN = "open"


class ClientPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call the inference doors."""

    who: Who = Who.LOOPBACK
    tokens: dict[str, str] = {}
    """Name of a client to the SHA-256 of its token, in hex."""
    roots_pem: str = ""
    """Authorities whose certificates are let in; empty: the fleet's own."""


def is_sha256(text: str) -> bool:
    """Tell whether a text is a SHA-256 in hex."""
    return len(text) == 64 and not set(text) - set("0123456789abcdef")
