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
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import nkeys

from skerry.base.files import private_folder, write_private
from skerry.base.ids import token
from skerry.spine import nats_rights
from skerry.spine.errors import NatsKeyError

_HEADER = b'{"typ":"JWT","alg":"ed25519-nkey"}'
_NO_LIMIT = -1
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
    seed = _new_seed(nkeys.PREFIX_BYTE_USER)
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
    return _new_seed(nkeys.PREFIX_BYTE_ACCOUNT)


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
) -> str:
    """Return a user JWT with the rights of its signer's template."""
    claims = {
        "iat": now_unix_s,
        "exp": ends_unix_s,
        "name": name,
        "sub": check_user_public(public),
        "nats": {
            # A scoped signer's template sets the limits; without one, they must be said.
            **({"issuer_account": account} if account else _NO_USER_LIMITS),
            "tags": [f"{key}:{value}" for key, value in sorted(tags.items())],
            "type": "user",
            "version": 2,
        },
    }
    return _sign(signer_seed, claims)


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


class _Keys(msgspec.Struct, kw_only=True):
    """The file `keys.json` of an operator folder; every value is a seed."""

    fleet: str
    operator: str
    accounts: dict[str, str]
    systems: dict[str, str]
    signers: dict[str, str]
    """Seeds of scoped signing keys, by `<role>:<server>`."""
    logins: dict[str, str]
    """Seeds of the long-lived logins, by `<role>:<server>`: a kit made again keeps its keys."""
    outside: dict[str, list[str]] = {}
    """Public keys of signers whose seeds never were here, by `<role>:<server>`; newest last."""
    revoked: dict[str, dict[str, int]] = {}
    revision: int = 0
    """Issue time of the account JWT: a server keeps the newest, so every change raises it."""


class NatsOperator:
    """Every NATS key of a fleet, in one private folder. Whoever holds it grants all rights."""

    def __init__(self, folder: Path, keys: _Keys) -> None:
        self._folder, self._keys = folder, keys

    @classmethod
    def create(cls, folder: Path, *, fleet: str, regions: Sequence[str]) -> "NatsOperator":
        """Create the keys, or open them and add regions that are new; idempotent."""
        path = private_folder(folder) / "keys.json"
        if path.exists():
            try:
                keys = msgspec.json.decode(path.read_bytes(), type=_Keys)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise NatsKeyError(f"{path} is damaged ({error})", "the keys of a fleet") from error
            if keys.fleet != fleet:
                raise NatsKeyError(f"{path} belongs to the fleet {keys.fleet}", f"one of {fleet}")
        else:
            keys = _Keys(
                fleet=token("fleet", fleet),
                operator=_new_seed(nkeys.PREFIX_BYTE_OPERATOR),
                accounts={},
                systems={},
                signers={},
                logins={},
            )
        operator = cls(folder, keys)
        known = msgspec.json.encode(keys)
        operator._add_server(CENTRAL, (Role.CENTRAL, Role.LEAF))
        for region in regions:
            if token("region", region) == CENTRAL:
                raise NatsKeyError("a region is named 'central'", "another name: the hub has it")
            operator._add_server(region, (Role.REGION, Role.NODE))
            keys.logins.setdefault(f"{Role.LEAF}:{region}", _new_seed(nkeys.PREFIX_BYTE_USER))
        if not path.exists() or msgspec.json.encode(keys) != known:
            operator._save()
        return operator

    def _add_server(self, name: str, roles: Sequence[Role]) -> None:
        keys, account = self._keys, nkeys.PREFIX_BYTE_ACCOUNT
        keys.accounts.setdefault(name, _new_seed(account))
        keys.systems.setdefault(name, _new_seed(account))
        for role in roles:
            if f"{role}:{name}" not in keys.outside:
                keys.signers.setdefault(f"{role}:{name}", _new_seed(account))
        for login in ("process", "system"):
            keys.logins.setdefault(f"{login}:{name}", _new_seed(nkeys.PREFIX_BYTE_USER))

    def _save(self) -> None:
        self._keys.revision += 1
        write_private(self._folder / "keys.json", msgspec.json.encode(self._keys))

    @property
    def operator_jwt(self) -> str:
        """The operator, signed by itself."""
        claims = {
            "iat": 0,
            "name": self._keys.fleet,
            "sub": public_of(self._keys.operator),
            "nats": {"type": "operator", "version": 2},
        }
        return _sign(self._keys.operator, claims)

    def account_jwt(self, server: str) -> str:
        """Return a server's account as of now: limits, signing keys with templates, revocations."""
        nothing = {"pub": {"deny": [">"]}, "sub": {"deny": [">"]}}
        return self._account(
            self._seed(self._keys.accounts, server),
            server,
            _LIMITS | _STORE_LIMITS,
            signing_keys=[
                self._scope(role, server, key)
                for role in Role
                for key in self._signers(role, server)
            ],
            default_permissions=nothing,  # for a login that no scoped key signed
            revocations=self._keys.revoked.get(server, {}),
        )

    def _signers(self, role: Role, server: str) -> list[str]:
        """Return the public keys that may sign logins of a role, the newest last."""
        name = f"{role}:{server}"
        here = [public_of(self._keys.signers[name])] if name in self._keys.signers else []
        return here + self._keys.outside.get(name, [])

    def add_node_signer(self, region: str, public: str) -> str:
        """Let one more key sign logins of a region's nodes; returns the region's new account.

        The key is the region's own and its seed stays there. Logins of the keys of before stay
        good until `drop_node_signers`.
        """
        self._seed(self._keys.accounts, region)
        known = self._keys.outside.setdefault(f"{Role.NODE}:{region}", [])
        if check_account_public(public) not in known:
            known.append(public)
            self._save()
        return self.account_jwt(region)

    def drop_node_signers(self, region: str, *, keep: str) -> str:
        """Take no login of any other key than `keep`; returns the region's new account."""
        name = f"{Role.NODE}:{region}"
        if keep not in self._signers(Role.NODE, region):
            raise NatsKeyError(f"{keep!r} signs no logins of {region}", "one of its signers")
        if self._keys.outside.get(name) == [keep] and name not in self._keys.signers:
            return self.account_jwt(region)
        self._keys.outside[name] = [keep]
        self._keys.signers.pop(name, None)
        self._save()
        return self.account_jwt(region)

    @staticmethod
    def _scope(role: Role, server: str, key: str) -> dict[str, Any]:
        templates: dict[Role, Callable[[], dict[str, Any]]] = {
            Role.NODE: partial(nats_rights.node, server),
            Role.REGION: partial(nats_rights.region, server),
            Role.LEAF: nats_rights.leaf,
            Role.CENTRAL: nats_rights.central,
        }
        return {"kind": "user_scope", "key": key, "role": role.value, "template": templates[role]()}

    def _seed(self, seeds: Mapping[str, str], server: str) -> str:
        if server not in seeds:
            raise NatsKeyError(f"no server is named {server!r}", f"one of {', '.join(seeds)}")
        return seeds[server]

    def server_kit(self, name: str, *, ends_unix_s: int, now_unix_s: int) -> ServerKit:
        """Return what `central`'s or a region's server needs, its logins ending as said."""
        keys = self._keys

        def login(seed: str, signer: str, account: str) -> Credentials:
            jwt = issue_user(
                signer,
                account=account,
                public=public_of(seed),
                name=name,
                tags={},
                ends_unix_s=ends_unix_s,
                now_unix_s=now_unix_s,
            )
            return Credentials(jwt=jwt, seed=seed)

        account, system = self._seed(keys.accounts, name), keys.systems[name]
        role = Role.CENTRAL if name == CENTRAL else Role.REGION
        leaf = None
        if role is Role.REGION:
            signer = keys.signers[f"{Role.LEAF}:{CENTRAL}"]
            leaf = login(
                keys.logins[f"{Role.LEAF}:{name}"], signer, public_of(keys.accounts[CENTRAL])
            )
        return ServerKit(
            name=name,
            operator_jwt=self.operator_jwt,
            account=public_of(account),
            account_jwt=self.account_jwt(name),
            system_account=public_of(system),
            system_jwt=self._account(system, f"system-{name}", _LIMITS),
            process=login(
                keys.logins[f"process:{name}"], keys.signers[f"{role}:{name}"], public_of(account)
            ),
            # Signed by the account's own key: it has no template, so no issuer_account either.
            system=login(keys.logins[f"system:{name}"], system, ""),
            leaf=leaf,
            node_signer_seed=keys.signers.get(f"{Role.NODE}:{name}", ""),
        )

    def leaf_public(self, region: str) -> str:
        """Return the user key of a region's leaf, to revoke it at `central`."""
        return public_of(self._seed(self._keys.logins, f"{Role.LEAF}:{region}"))

    def revoke(self, server: str, publics: Sequence[str], *, now_unix_s: int) -> str:
        """Revoke every login of these keys issued until now; returns the server's new account.

        A node belongs to its region's server, a leaf to `central`. Give the result to
        `NatsAdmin.revoke` of that server.
        """
        self._seed(self._keys.accounts, server)
        revoked = self._keys.revoked.setdefault(server, {})
        for public in publics:
            revoked[check_user_public(public)] = now_unix_s
        self._keys.revision = max(self._keys.revision, now_unix_s)
        self._save()
        return self.account_jwt(server)

    def _account(self, seed: str, name: str, limits: Mapping[str, Any], **more: Any) -> str:
        content: dict[str, Any] = {"limits": limits, "type": "account", "version": 2, **more}
        claims = {
            "iat": self._keys.revision,
            "name": name,
            "sub": public_of(seed),
            "nats": content,
        }
        return _sign(self._keys.operator, claims)


def create_operator(folder: Path, *, fleet: str, regions: Sequence[str]) -> NatsOperator:
    """Create or open the keys of a fleet; same as `NatsOperator.create`."""
    return NatsOperator.create(folder, fleet=fleet, regions=regions)


_LIMITS: dict[str, Any] = {
    "subs": _NO_LIMIT,
    "data": _NO_LIMIT,
    "payload": _NO_LIMIT,
    "imports": 0,
    "exports": 0,
    "wildcards": False,
    "conn": _NO_LIMIT,
    "leaf": _NO_LIMIT,
}
_NO_USER_LIMITS = {"subs": _NO_LIMIT, "data": _NO_LIMIT, "payload": _NO_LIMIT}
_STORE_LIMITS: dict[str, Any] = {
    "mem_storage": 0,  # everything kept is kept on disk
    "disk_storage": _NO_LIMIT,
    "streams": 8,
    "consumer": 64,
    "max_ack_pending": _NO_LIMIT,
}


def _new_seed(prefix: int) -> str:
    return str(nkeys.encode_seed(os.urandom(32), prefix).decode())


def _pair(seed: str) -> Any:
    try:
        return nkeys.from_seed(bytearray(seed.encode()))
    except (nkeys.NkeysError, ValueError) as error:
        raise NatsKeyError("a key seed is damaged", "an nkey seed, starting with S") from error


def sign_nonce(seed: str, nonce: str) -> bytes:
    """Return the base64 signature that a server's login challenge wants."""
    return base64.b64encode(_pair(seed).sign(nonce.encode()))


def _sign(seed: str, claims: Mapping[str, Any]) -> str:
    pair = _pair(seed)
    body = dict(claims, iss=pair.public_key.decode())
    digest = hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    text = _part(_HEADER) + b"." + _part(msgspec.json.encode(body, order="sorted"))
    return (text + b"." + _part(pair.sign(text))).decode()


def _part(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
