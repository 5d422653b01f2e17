"""Every NATS key of a fleet, in one private folder, and how they are changed under load.

    identity (signs itself only) -> operator signers --sign--> accounts -> account signers -> logins

A server reads whom it trusts as operator when it starts, and never again while it runs. So it is
told of the signers to come as well: accounts are signed by the first, and a change moves on to
the next, which every running server knows already. An account's own key signs nothing: its seed
is thrown away as soon as it is made.

A change goes in two steps, and lies in `keys.json` until it is over:

    begin   the next operator signs; accounts take new signers beside the old; new logins
    leave   accounts without the old signers; the old logins are revoked

Units:  ends and issue times are unix seconds.
Errors: NatsKeyError for a key or folder that cannot be used.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import nkeys

from skerry.base.files import private_folder, write_private
from skerry.base.ids import token
from skerry.spine import nats_rights
from skerry.spine.errors import NatsKeyError
from skerry.spine.nats_jwt import (
    CENTRAL,
    NO_LIMIT,
    Credentials,
    Role,
    ServerKit,
    check_account_public,
    check_user_public,
    issue_user,
    new_seed,
    public_of,
    sign_token,
)

SIGNERS_AHEAD = 4
"""Operator signers that a server knows: it may run on through one change less than that."""
SYSTEM = "system"


class Change(msgspec.Struct, kw_only=True):
    """A change of keys under way: what is left behind, and which servers have taken the step."""

    signers: dict[str, str]
    """Public keys of the account signers that leave, by `<role>:<server>`."""
    logins: dict[str, list[str]]
    """Public keys of the logins that leave, by the server that they log in to."""
    restart: bool = False
    """Whether servers that do not know the new operator key start anew for it."""
    leaving: bool = False
    taken: list[str] = []


class Keys(msgspec.Struct, kw_only=True):
    """The file `keys.json` of an operator folder; every value is a seed unless it says otherwise.

    `accounts` and `systems` are public keys; seeds in folders that are older.
    """

    fleet: str
    operator: str
    """The identity: it signs who the operator's signers are."""
    accounts: dict[str, str]
    systems: dict[str, str]
    signers: dict[str, str]
    """Seeds of account signing keys, by `<role>:<server>`; those of a role are scoped."""
    logins: dict[str, str]
    """Seeds of the long-lived logins, by `<role>:<server>`: a kit made again keeps its keys."""
    operator_signers: list[str] = []
    """Who signs accounts now, then who will; none in folders that are older."""
    strict: bool = False
    """Accounts are signed by a signer, never by the identity; not yet so in older folders."""
    outside: dict[str, list[str]] = {}
    """Public keys of signers whose seeds never were here, by `<role>:<server>`; newest last."""
    revoked: dict[str, dict[str, int]] = {}
    revision: int = 0
    """Issue time of the account JWT: a server keeps the newest, so every change raises it."""
    change: Change | None = None


class NatsOperator:
    """Every NATS key of a fleet, in one private folder. Whoever holds it grants all rights."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._folder, self._keys = folder, keys

    @classmethod
    def create(cls, folder: Path, *, fleet: str, regions: Sequence[str]) -> "NatsOperator":
        """Create the keys, or open them and add regions that are new; idempotent."""
        path = private_folder(folder) / "keys.json"
        if path.exists():
            try:
                keys = msgspec.json.decode(path.read_bytes(), type=Keys)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise NatsKeyError(f"{path} is damaged ({error})", "the keys of a fleet") from error
            if keys.fleet != fleet:
                raise NatsKeyError(f"{path} belongs to the fleet {keys.fleet}", f"one of {fleet}")
        else:
            keys = Keys(
                fleet=token("fleet", fleet),
                operator=new_seed(nkeys.PREFIX_BYTE_OPERATOR),
                accounts={},
                systems={},
                signers={},
                logins={},
                strict=True,
            )
        operator = cls(folder, keys)
        known = msgspec.json.encode(keys)
        operator._top_up()
        operator._add_server(CENTRAL, (Role.CENTRAL, Role.LEAF))
        for region in regions:
            if token("region", region) == CENTRAL:
                raise NatsKeyError("a region is named 'central'", "another name: the hub has it")
            operator._add_server(region, (Role.REGION, Role.NODE))
            keys.logins.setdefault(f"{Role.LEAF}:{region}", new_seed(nkeys.PREFIX_BYTE_USER))
        if not path.exists() or msgspec.json.encode(keys) != known:
            operator._save()
        return operator

    def _top_up(self) -> None:
        signers = self._keys.operator_signers
        signers += [
            new_seed(nkeys.PREFIX_BYTE_OPERATOR) for _ in range(SIGNERS_AHEAD - len(signers))
        ]

    def _add_server(self, name: str, roles: Sequence[Role]) -> None:
        keys, account = self._keys, nkeys.PREFIX_BYTE_ACCOUNT
        keys.accounts.setdefault(name, public_of(new_seed(account)))
        keys.systems.setdefault(name, public_of(new_seed(account)))
        for role in (*roles, SYSTEM):
            if f"{role}:{name}" not in keys.outside:
                keys.signers.setdefault(f"{role}:{name}", new_seed(account))
        for login in ("process", SYSTEM):
            keys.logins.setdefault(f"{login}:{name}", new_seed(nkeys.PREFIX_BYTE_USER))

    def _save(self) -> None:
        self._keys.revision += 1
        write_private(self._folder / "keys.json", msgspec.json.encode(self._keys))

    # --- tokens -----------------------------------------------------------------------

    @property
    def operator_jwt(self) -> str:
        """The operator, signed by itself: who signs accounts now, and who will."""
        content: dict[str, Any] = {
            "type": "operator",
            "version": 2,
            "signing_keys": [public_of(one) for one in self._keys.operator_signers],
        }
        if self._keys.strict:
            content["strict_signing_key_usage"] = True
        claims = {
            "iat": 0,
            "name": self._keys.fleet,
            "sub": public_of(self._keys.operator),
            "nats": content,
        }
        return sign_token(self._keys.operator, claims)

    def account_jwt(self, server: str) -> str:
        """Return a server's account as of now: limits, signing keys with templates, revocations."""
        nothing = {"pub": {"deny": [">"]}, "sub": {"deny": [">"]}}
        return self._account(
            self._known(self._keys.accounts, server),
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

    def _system_jwt(self, server: str) -> str:
        return self._account(
            self._keys.systems[server],
            f"system-{server}",
            _LIMITS,
            signing_keys=self._signers(SYSTEM, server),
            revocations=self._keys.revoked.get(f"{SYSTEM}:{server}", {}),
        )

    def _account(self, key: str, name: str, limits: Mapping[str, Any], **more: Any) -> str:
        keys = self._keys
        content: dict[str, Any] = {"limits": limits, "type": "account", "version": 2, **more}
        claims = {"iat": keys.revision, "name": name, "sub": _public(key), "nats": content}
        return sign_token(keys.operator_signers[0] if keys.strict else keys.operator, claims)

    def _signers(self, role: str, server: str) -> list[str]:
        """Return the public keys that may sign logins of a role, the newest last."""
        name, keys = f"{role}:{server}", self._keys
        old = keys.change.signers.get(name, "") if keys.change and not keys.change.leaving else ""
        here = [public_of(keys.signers[name])] if name in keys.signers else []
        return [*([old] if old else []), *here, *keys.outside.get(name, [])]

    @staticmethod
    def _scope(role: Role, server: str, key: str) -> dict[str, Any]:
        templates: dict[Role, Callable[[], dict[str, Any]]] = {
            Role.NODE: partial(nats_rights.node, server),
            Role.REGION: partial(nats_rights.region, server),
            Role.LEAF: nats_rights.leaf,
            Role.CENTRAL: nats_rights.central,
        }
        return {"kind": "user_scope", "key": key, "role": role.value, "template": templates[role]()}

    def _known(self, keys: Mapping[str, str], server: str) -> str:
        if server not in keys:
            raise NatsKeyError(f"no server is named {server!r}", f"one of {', '.join(keys)}")
        return keys[server]

    def server_kit(self, name: str, *, ends_unix_s: int, now_unix_s: int) -> ServerKit:
        """Return what `central`'s or a region's server needs, its logins ending as said."""
        keys = self._keys

        def login(user: str, signer: str, account: str, *, scoped: bool = True) -> Credentials:
            seed = self._known(keys.logins, user)
            jwt = issue_user(
                keys.signers[signer],
                account=_public(account),
                public=public_of(seed),
                name=name,
                tags={},
                ends_unix_s=ends_unix_s,
                now_unix_s=now_unix_s,
                scoped=scoped,
            )
            return Credentials(jwt=jwt, seed=seed)

        account, system = self._known(keys.accounts, name), keys.systems[name]
        role = Role.CENTRAL if name == CENTRAL else Role.REGION
        hub = keys.accounts[CENTRAL]
        return ServerKit(
            name=name,
            operator_jwt=self.operator_jwt,
            account=_public(account),
            account_jwt=self.account_jwt(name),
            system_account=_public(system),
            system_jwt=self._system_jwt(name),
            process=login(f"process:{name}", f"{role}:{name}", account),
            system=login(f"{SYSTEM}:{name}", f"{SYSTEM}:{name}", system, scoped=False),
            leaf=login(f"{Role.LEAF}:{name}", f"{Role.LEAF}:{CENTRAL}", hub)
            if role is Role.REGION
            else None,
            node_signer_seed=keys.signers.get(f"{Role.NODE}:{name}", ""),
        )

    # --- who may sign logins of nodes, and who is revoked -------------------------------

    def add_node_signer(self, region: str, public: str) -> str:
        """Let one more key sign logins of a region's nodes; returns the region's new account.

        The key is the region's own and its seed stays there. Logins of the keys of before stay
        good until `drop_node_signers`.
        """
        self._known(self._keys.accounts, region)
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

    def leaf_public(self, region: str) -> str:
        """Return the user key of a region's leaf, to revoke it at `central`."""
        return public_of(self._known(self._keys.logins, f"{Role.LEAF}:{region}"))

    def revoke(self, server: str, publics: Sequence[str], *, now_unix_s: int) -> str:
        """Revoke every login of these keys issued until now; returns the server's new account.

        A node belongs to its region's server, a leaf to `central`. Give the result to
        `NatsAdmin.revoke` of that server.
        """
        self._known(self._keys.accounts, server)
        self._revoke(server, publics, now_unix_s)
        self._save()
        return self.account_jwt(server)

    def _revoke(self, account: str, publics: Sequence[str], now_unix_s: int) -> None:
        revoked = self._keys.revoked.setdefault(account, {})
        for public in publics:
            revoked[check_user_public(public)] = now_unix_s
        self._keys.revision = max(self._keys.revision, now_unix_s)

    # --- a change of keys ----------------------------------------------------------------

    @property
    def change(self) -> Change | None:
        """The change under way."""
        return self._keys.change

    @property
    def next_signer(self) -> str:
        """The public key of the operator signer that a change moves on to."""
        return public_of(self._keys.operator_signers[1 if self._keys.strict else 0])

    @property
    def signer(self) -> str:
        """The public key that accounts are signed by."""
        keys = self._keys
        return public_of(keys.operator_signers[0] if keys.strict else keys.operator)

    @property
    def leaving(self) -> bool:
        """Whether a change is under way whose second step has begun."""
        return self._keys.change is not None and self._keys.change.leaving

    @property
    def restarts(self) -> bool:
        """Whether servers start anew for the change under way, where they have to."""
        return self._under_way().restart

    def has_taken(self, server: str) -> bool:
        """Tell whether a server has taken the step under way."""
        return server in self._under_way().taken

    def begin(self, *, restart: bool = False, stolen: bool = False) -> None:
        """Begin to change every key but those of nodes; `stolen` trusts none that are known."""
        keys = self._keys
        if stolen:
            keys.operator = new_seed(nkeys.PREFIX_BYTE_OPERATOR)
            keys.operator_signers.clear()
        elif keys.strict:
            keys.operator_signers.pop(0)
        keys.strict = True
        self._top_up()
        keys.accounts = {name: _public(one) for name, one in keys.accounts.items()}
        keys.systems = {name: _public(one) for name, one in keys.systems.items()}
        changed = [name for name in keys.signers if not name.startswith(f"{Role.NODE}:")]
        signers = {name: public_of(keys.signers[name]) for name in changed}
        keys.signers |= {name: new_seed(nkeys.PREFIX_BYTE_ACCOUNT) for name in changed}
        logins: dict[str, list[str]] = {}
        for name, seed in keys.logins.items():
            role, _, server = name.partition(":")
            account = {Role.LEAF: CENTRAL, SYSTEM: f"{SYSTEM}:{server}"}.get(role, server)
            logins.setdefault(account, []).append(public_of(seed))
        keys.logins = {name: new_seed(nkeys.PREFIX_BYTE_USER) for name in keys.logins}
        keys.change = Change(signers=signers, logins=logins, restart=restart or stolen)
        self._save()

    def took(self, server: str) -> None:
        """Note that a server has taken the step under way."""
        change = self._under_way()
        if server not in change.taken:
            change.taken.append(server)
            self._save()

    def leave(self, *, now_unix_s: int) -> None:
        """Leave the old signers and logins behind: every server has what follows them."""
        change = self._under_way()
        for account, publics in change.logins.items():
            self._revoke(account, publics, now_unix_s)
        self._keys.change = msgspec.structs.replace(change, leaving=True, taken=[])
        self._save()

    def end(self) -> None:
        """Note that the change is over."""
        self._keys.change = None
        self._save()

    def left(self, server: str) -> tuple[str, ...]:
        """Return the logins at a server that a change has left behind, to be cut."""
        logins = self._under_way().logins
        return (*logins.get(server, []), *logins.get(f"{SYSTEM}:{server}", []))

    def _under_way(self) -> Change:
        if self._keys.change is None:
            raise NatsKeyError("no change of keys is under way", "one that was begun")
        return self._keys.change


def create_operator(folder: Path, *, fleet: str, regions: Sequence[str]) -> NatsOperator:
    """Create or open the keys of a fleet; same as `NatsOperator.create`."""
    return NatsOperator.create(folder, fleet=fleet, regions=regions)


def _public(key: str) -> str:
    """Return the public key of an account that is known by it, or by its seed."""
    return public_of(key) if key.startswith("S") else key


_LIMITS: dict[str, Any] = {
    "subs": NO_LIMIT,
    "data": NO_LIMIT,
    "payload": NO_LIMIT,
    "imports": 0,
    "exports": 0,
    "wildcards": False,
    "conn": NO_LIMIT,
    "leaf": NO_LIMIT,
}
_STORE_LIMITS: dict[str, Any] = {
    "mem_storage": 0,  # everything kept is kept on disk
    "disk_storage": NO_LIMIT,
    "streams": 8,
    "consumer": 64,
    "max_ack_pending": NO_LIMIT,
}
