"""Who may do what: the signed access policy, and what is kept of each decision.

The policy is a target of the offline `models` role, `prod/policy/<fleet>.access.json`. It adds to
the set that ships with skerry (`skerry/trust/access.cedar`): a fleet may permit more, and forbid
what the shipped set permits; a `forbid` always wins.

Units:   unix seconds in `*_unix_s`.
"""

from enum import StrEnum

import msgspec

ACCESS_SCHEMA = "skerry.access/1"


class Action(StrEnum):
    """What can be asked for. The words are those of the Cedar schema and of the audit ledger."""

    LOOK = "look"
    LOOK_AUDIT = "look-audit"
    FETCH = "fetch"
    UPLOAD = "upload"
    PUBLISH = "publish"
    PUBLISH_POLICY = "publish-policy"
    CHANGE_ROOT = "change-root"
    KEYS = "keys"
    APPLY = "apply"
    STEER = "steer"
    DRILL = "drill"
    REGISTER = "register"
    TICKET = "ticket"
    BAN = "ban"
    LIFT_BAN = "lift-ban"
    CHANGE_PEOPLE = "change-people"
    OWN_TOKENS = "own-tokens"
    ERASE_AUDIT = "erase-audit"
    BREAK_GLASS = "break-glass"
    OPEN_DATA = "open-data"


ROLES = ("viewer", "operator", "releaser", "security", "auditor")
"""The roles that a person can be given for good."""
BREAK_GLASS = "break-glass"
"""The role that somebody takes in an emergency, for `BREAK_GLASS_S`."""
BREAK_GLASS_S = 1800.0
PENDING_S = 86_400.0
"""How long a request waits for a second person."""
TWO_PERSON: tuple[Action, ...] = (
    Action.LIFT_BAN,
    Action.PUBLISH_POLICY,
    Action.CHANGE_ROOT,
    Action.CHANGE_PEOPLE,
    Action.ERASE_AUDIT,
)
"""What a second person has to approve unless the fleet file says otherwise."""

TWO_PERSON_ABLE: tuple[Action, ...] = (*TWO_PERSON, Action.APPLY)
"""What a fleet may ask two people for."""


class AccessPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet adds to the shipped policies, and which roles its operators hold.

    Where `people` is empty, nobody is named: whoever holds an operator's certificate holds every
    role, and the two-person rule has no second person to ask.
    """

    schema: str = ACCESS_SCHEMA
    fleet: str
    generation: int
    policies: str = ""
    """Cedar policies, as text."""
    people: dict[str, tuple[str, ...]] = {}
    """The holder of an operator's certificate to roles."""
    two_person: tuple[Action, ...] = TWO_PERSON


def access_target(fleet: str) -> str:
    """Return the TUF target path of a fleet's access policy."""
    return f"prod/policy/{fleet}.access.json"


class Door(StrEnum):
    """How somebody showed who they are."""

    CERTIFICATE = "certificate"
    PASSWORD = "password"  # noqa: S105 - the name of a door
    TOKEN = "token"  # noqa: S105
    OIDC = "oidc"
    NONE = "none"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision as it was made, under which policy, and why."""

    id: str
    at_unix_s: float
    who: str
    roles: tuple[str, ...]
    door: Door
    action: str
    what: str
    allowed: bool
    policies: tuple[str, ...]
    """The ids of the policies that decided; none where nothing permits it."""
    errors: tuple[str, ...] = ()
    """What could not be evaluated; any of it means no."""
    policy_generation: int
    policy_sha256: str
    text: str
    """Why, in one sentence."""


class PersonRow(msgspec.Struct, frozen=True, kw_only=True):
    """A person who logs in with a password."""

    name: str
    roles: tuple[str, ...]
    changed_unix_s: float


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is listed: all but the secret."""

    id: str
    who: str
    door: Door
    label: str
    scope: tuple[str, ...]
    """Actions it is for; none for all."""
    roles: tuple[str, ...]
    session: bool
    """Made by a login."""
    made_unix_s: float
    ends_unix_s: float


class RequestState(StrEnum):
    """What became of a request that two people decide on."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """A request that waits, or waited, for a second person."""

    id: str
    action: str
    what: str
    who: str
    sha256: str
    """Of what was asked, byte for byte: that is what the second person approves."""
    at_unix_s: float
    ends_unix_s: float
    state: RequestState
    by: str = ""
    """Who approved or withdrew it."""


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The provider that central believes, in central's settings."""

    issuer: str
    """As the provider writes it, for example `https://login.example/realms/clinic`."""
    client_id: str
    scope: str = "openid profile"
    name_claim: str = "preferred_username"
    """The claim with a person's name; use the name that their certificate has."""
    roles_claim: str = "groups"
    roles: dict[str, tuple[str, ...]] = {}
    """A value of `roles_claim` to the roles that it gives."""
