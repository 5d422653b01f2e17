"""NATS operator mode: who may log in to the fleet's servers, and with which rights.

    operator --signs--> one account per server --scoped signing keys--> logins of processes
                        one system account per server                   (push, kick, look)

A login (user JWT) holds a name, tags and an end; its rights come from the template of the
scoped key that signed it, so rights change with one account push. Every server has an account
of its own: a region's process holds the key that signs its nodes' logins, and such a login
does not even exist for central's server or for another region's. Only the leaf's login, which
a region's server uses to reach the hub, belongs to central's account.

Keys are Ed25519 in the nkey text form; tokens are `ed25519-nkey` JWTs.
Units:  ends and issue times are unix seconds.
Errors: NatsKeyError for a key or folder that cannot be used.
Source: NATS JWT v2 (github.com/nats-io/jwt); checked against nats-server 2.15.
"""

import base64
import hashlib
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
import nkeys

from skerry.base.ids import token
from skerry.spine.errors import NatsKeyError

_HEADER = b'{"typ":"JWT","alg":"ed25519-nkey"}'
NO_LIMIT = -1
CENTRAL = "central"
"""The name of central's server; no region may have it."""


class Role(StrEnum):
    """Who logs in: a node, a region's process at its own server, its server at the hub, central."""

    NODE = "node"
    REGION = "region"
    LEAF = "leaf"
    CENTRAL = "central"


class UserKey(msgspec.Struct, frozen=True, kw_only=True):
    """A user's key pair: `public` starts with U, `seed` with SU and is secret."""

    public: str
    seed: str

    def __repr__(self) -> str:
        return f"UserKey(public={self.public!r})"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A login: the JWT, and the seed of the key that it names."""

    jwt: str
    seed: str

    def __repr__(self) -> str:
        return "Credentials(...)"  # the seed must not reach a log

    def file_text(self) -> str:
        """Return the text of a NATS `.creds` file; secret."""
        return (
            f"-----BEGIN NATS USER JWT-----\n{self.jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.seed}\n------END USER NKEY SEED------\n"
        )


class ServerKit(msgspec.Struct, frozen=True, kw_only=True):
    """What one NATS server and the process beside it need. Secret: `write_private` it whole.

    `name` is `central` or the region's id, and the server's JetStream domain. `process` is the
    login of the process beside the server, `system` its login for pushes and kicks, `leaf` the
    server's own login at the hub. `node_signer_seed` signs the logins of the region's nodes.
    """

    name: str
    operator_jwt: str
    account: str
    account_jwt: str
    system_account: str
    system_jwt: str
    process: Credentials
    system: Credentials
    leaf: Credentials | None = None
    node_signer_seed: str = ""

    def __repr__(self) -> str:
        return f"ServerKit(name={self.name!r})"


def new_user_key() -> UserKey:
    """Make a user key. A node makes its own, and only `public` leaves it."""
    seed = new_seed(nkeys.PREFIX_BYTE_USER)
    return UserKey(public=public_of(seed), seed=seed)


def public_of(seed: str) -> str:
    """Return the public key of a seed; raises `NatsKeyError`."""
    return str(_pair(seed).public_key.decode())


def check_user_public(public: str) -> str:
    """Return a public user key if it is one, else raise `NatsKeyError`. For keys from a network."""
    if not _is_public(public, nkeys.PREFIX_BYTE_USER):
        raise NatsKeyError(f"{public[:64]!r} is not a user key", "56 characters, starting with U")
    return public


def check_account_public(public: str) -> str:
    """Return a public signing key if it is one, else raise `NatsKeyError`."""
    if not _is_public(public, nkeys.PREFIX_BYTE_ACCOUNT):
        raise NatsKeyError(f"{public[:64]!r} is no signing key", "56 characters, starting with A")
    return public


def new_signer_seed() -> str:
    """Make the seed of a key that signs logins."""
    return new_seed(nkeys.PREFIX_BYTE_ACCOUNT)


def _is_public(public: str, prefix: int) -> bool:
    try:
        raw = base64.b32decode(public.encode("ascii")) if len(public) == 56 else b""
    except (ValueError, UnicodeEncodeError):
        raw = b""
    whole = len(raw) == 35 and raw[0] == prefix
    return whole and bool(nkeys.crc16(bytearray(raw[:33])).to_bytes(2, "little") == raw[33:])


def issue_user(
    signer_seed: str,
    *,
    account: str,
    public: str,
    name: str,
    tags: Mapping[str, str],
    ends_unix_s: int,
    now_unix_s: int,
    scoped: bool = True,
) -> str:
    """Return a user JWT with the rights of its signer's template, or without one all rights."""
    claims = {
        "iat": now_unix_s,
        "exp": ends_unix_s,
        "name": name,
        "sub": check_user_public(public),
        "nats": {
            "issuer_account": account,
            # A scoped signer's template sets the limits; without one, they must be said.
            **({} if scoped else _NO_USER_LIMITS),
            "tags": [f"{key}:{value}" for key, value in sorted(tags.items())],
            "type": "user",
            "version": 2,
        },
    }
    return sign_token(signer_seed, claims)


def issue_node(
    kit: ServerKit, *, site: str, number: int, public: str, ends_unix_s: int, now_unix_s: int
) -> str:
    """Return a node's user JWT, signed with its region's key; same end as its certificate."""
    return issue_user(
        kit.node_signer_seed,
        account=kit.account,
        public=public,
        name=f"{token('site', site)}.{number}",
        tags={"site": site, "node": str(int(number))},
        ends_unix_s=ends_unix_s,
        now_unix_s=now_unix_s,
    )


_NO_USER_LIMITS = {"subs": NO_LIMIT, "data": NO_LIMIT, "payload": NO_LIMIT}


def new_seed(prefix: int) -> str:
    """Make a seed of a kind, one of the `PREFIX_BYTE_*` of nkeys."""
    return str(nkeys.encode_seed(os.urandom(32), prefix).decode())


def _pair(seed: str) -> Any:
    try:
        return nkeys.from_seed(bytearray(seed.encode()))
    except (nkeys.NkeysError, ValueError) as error:
        raise NatsKeyError("a key seed is damaged", "an nkey seed, starting with S") from error


def sign_nonce(seed: str, nonce: str) -> bytes:
    """Return the base64 signature that a server's login challenge wants."""
    return base64.b64encode(_pair(seed).sign(nonce.encode()))


def sign_token(seed: str, claims: Mapping[str, Any]) -> str:
    """Return a token with these claims, signed."""
    pair = _pair(seed)
    body = dict(claims, iss=pair.public_key.decode())
    digest = hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    text = _part(_HEADER) + b"." + _part(msgspec.json.encode(body, order="sorted"))
    return (text + b"." + _part(pair.sign(text))).decode()


def _part(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def claims_of(jwt: str) -> dict[str, Any]:
    """Return what a token says, unchecked; raises `NatsKeyError` where it cannot be read."""
    try:
        part = jwt.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, RecursionError) as error:
        raise NatsKeyError("a NATS token cannot be read", "three parts with dots") from error
    if not isinstance(claims, dict) or not isinstance(claims.get("nats"), dict):
        raise NatsKeyError("a token says nothing of NATS", "an account, operator or user token")
    return claims


def issuer_of(jwt: str) -> str:
    """Return the public key that a token says it was signed by."""
    return str(claims_of(jwt).get("iss", ""))


def subject_of(jwt: str) -> str:
    """Return the public key that a token is about."""
    return str(claims_of(jwt).get("sub", ""))


def operator_keys(operator_jwt: str) -> frozenset[str]:
    """Return the keys that an operator lets sign accounts."""
    claims = claims_of(operator_jwt)
    content = claims["nats"]
    signers = frozenset(str(one) for one in content.get("signing_keys") or ())
    own = frozenset([str(claims.get("sub", ""))])
    return signers if content.get("strict_signing_key_usage") else signers | own
