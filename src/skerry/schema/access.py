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
TWO_PERSON = (
    Action.LIFT_BAN,
    Action.PUBLISH_POLICY,
    Action.CHANGE_ROOT,
    Action.CHANGE_PEOPLE,
    Action.ERASE_AUDIT,
)
"""What a second person has to approve unless the fleet file says otherwise."""


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
