"""Joining and renewing: one-time tokens, and the lasting key that proves a node afterwards.

A token (128 bit, 15 minutes, one node) lets a machine register its enrolment key once. From then
on a signature by that key, not banned, is enough for the next certificate: a node comes back from
any absence with no human. The registry is the region's, so none of this needs central.

Units:   unix seconds.
Errors:  TokenUnknownError, TokenUsedError, TokenExpiredError, TokenBoundError,
         ProofError, NotEnrolledError, BannedError.
"""

from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from skerry.trust.spiffe import SpiffeId

TOKEN_LIFE_S = 15 * 60
PROOF_AGE_S_MAX = 600


class EnrolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a node sends to `/v1/join` (with a token) and to `/v1/renew` (without one), as JSON."""

    spiffe_id: str
    csr_pem: bytes
    enrolment_public_pem: bytes
    at_unix_s: float
    proof: bytes
    token: str = ""


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token as stored: never itself, only its hash."""

    sha256: str
    spiffe_id: str
    ends_unix_s: float
    used_by: str = ""
    """Fingerprint of the enrolment key that used it; empty while unused."""


class Registry(Protocol):
    """Where tokens, enrolment keys and bans are kept. Each call is one whole transaction."""

    def add_token(self, row: TokenRow) -> None:
        """Keep a new token."""
        ...

    def token(self, sha256: str) -> TokenRow | None:
        """Return a token by its hash."""
        ...

    def enrol(self, token_sha256: str, spiffe_id: str, public_pem: bytes, at_unix_s: float) -> bool:
        """Burn a token and keep the enrolment key in one step; False if another key burnt it."""
        ...

    def enrolment_key(self, spiffe_id: str) -> bytes | None:
        """Return the public enrolment key (PEM) of a node."""
        ...

    def ban(self, spiffe_id: str, why: str, at_unix_s: float) -> None:
        """Refuse this node from now on."""
        ...

    def lift_ban(self, spiffe_id: str) -> None:
        """Admit this node again."""
        ...

    def banned(self, spiffe_id: str) -> str | None:
        """Return why a node is banned, or None."""
        ...

    def bans(self) -> dict[str, str]:
        """Return every banned id and why."""
        ...


class SqliteRegistry:
    """A registry in one SQLite file of the region process."""

    def __init__(self, path: Path) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file."""
        raise NotImplementedError


def new_token(
    registry: Registry, spiffe_id: SpiffeId, *, now_unix_s: float, life_s: float = TOKEN_LIFE_S
) -> str:
    """Make a one-time token for one node; only its hash is kept."""
    raise NotImplementedError


def load_or_create_enrolment_key(path: Path) -> EllipticCurvePrivateKey:
    """Read the node's enrolment key, or make it: a private file that outlives every certificate."""
    raise NotImplementedError


def enrol_request(
    key: EllipticCurvePrivateKey,
    spiffe_id: SpiffeId,
    csr_pem: bytes,
    *,
    now_unix_s: float,
    token: str = "",
) -> EnrolRequest:
    """Make the request to join (with a token) or to renew, signed by the enrolment key."""
    raise NotImplementedError


def admit_join(registry: Registry, request: EnrolRequest, *, now_unix_s: float) -> SpiffeId:
    """Check a join request, burn its token and register its key; returns whom to issue to.

    The same key may repeat it after a crash, with the same token. Issue with
    `Authority.issue_leaf(request.csr_pem, <returned id>, ...)`.
    """
    raise NotImplementedError


def admit_renewal(registry: Registry, request: EnrolRequest, *, now_unix_s: float) -> SpiffeId:
    """Check a renewal request against the registered key and the bans; returns whom to issue to."""
    raise NotImplementedError
