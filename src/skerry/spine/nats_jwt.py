"""NATS operator mode: signatures first, bodies follow in the next commit.

Keys: operator > account FLEET > one scoped signing key per role. The role `node` has one signing key
*per region* (the region's process holds only its own), with the region written into the template, so a
region can only mint logins for its own sites. Each server has its own system account.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec


class Role(StrEnum):
    """Who logs in. `leaf` is the region's server at the hub, `region` its process at its own server."""

    NODE = "node"
    REGION = "region"
    LEAF = "leaf"
    CENTRAL = "central"


class UserKey(msgspec.Struct, frozen=True, kw_only=True):
    """A user's nkey: `public` starts with U; `seed` is secret and starts with SU."""

    public: str
    seed: str


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A login: JWT plus the seed of the key it names."""

    jwt: str
    seed: str

    def file_text(self) -> str:
        """Return the text of a NATS `.creds` file (secret)."""
        raise NotImplementedError


class ServerKit(msgspec.Struct, frozen=True, kw_only=True):
    """What one NATS server and the process beside it need; secret, one private file (msgspec JSON)."""

    name: str
    """`central`, or the region's id; also the JetStream domain."""
    operator_jwt: str
    fleet_account: str
    fleet_jwt: str
    system_account: str
    system_jwt: str
    process: Credentials
    system: Credentials
    leaf: Credentials | None = None
    node_signer_seed: str = ""


def new_user_key() -> UserKey:
    """Make a user key; a node makes its own and sends only `public`."""
    raise NotImplementedError


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
    """Return a user JWT."""
    raise NotImplementedError


def issue_node(
    kit: ServerKit, *, site: str, number: int, public: str, ends_unix_s: int, now_unix_s: int
) -> str:
    """Return a node's JWT, signed by its region (name `<site>.<n>`, tags `site`, `node`)."""
    raise NotImplementedError


class NatsOperator:
    """The folder with every NATS key of a fleet; lives beside central (or offline with its operator)."""

    @classmethod
    def create(cls, folder: Path, *, fleet: str, regions: Sequence[str]) -> "NatsOperator":
        """Create the keys, or open them and add regions that are new. Idempotent."""
        raise NotImplementedError

    @property
    def fleet_jwt(self) -> str:
        """The account FLEET as of now: limits, signing keys with templates, revocations."""
        raise NotImplementedError

    def server_kit(self, name: str, *, ends_unix_s: int, now_unix_s: int) -> ServerKit:
        """Return what the server `central` or a region's server needs, logins ending as said."""
        raise NotImplementedError

    def revoke(self, publics: Sequence[str], *, now_unix_s: int) -> str:
        """Add revocations for every JWT of these user keys issued until now; returns the new FLEET JWT."""
        raise NotImplementedError


def create_operator(folder: Path, *, fleet: str, regions: Sequence[str]) -> NatsOperator:
    """Same as `NatsOperator.create`."""
    return NatsOperator.create(folder, fleet=fleet, regions=regions)
