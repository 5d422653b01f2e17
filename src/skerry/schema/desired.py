"""Desired state: what one site should run, as sealed by central and read by its nodes.

Level-triggered: a node compares the whole digest on every contact. Unchanged means
untouched, and an older generation never wins. Every artifact named here must be a
signed target too, or the document is refused.
"""

import msgspec

from skerry.schema.clients import SITE_LIFE_S, ClientPolicy
from skerry.schema.custody import CustodyPolicy
from skerry.schema.goal import GoalName
from skerry.schema.release import Statement
from skerry.schema.tamper import TamperPolicy

DESIRED_SCHEMA = "skerry.desired/1"


class DesiredModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model to serve. `standin` names another model of this document, or nothing."""

    name: str
    version: int
    manifest_sha256: str
    channel: str = "prod"
    standin: str | None = None


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A node that may answer for this site, in the words the router needs.

    `url` is its mutual-TLS inference door; `round_trip_ms` is stated or computed from
    coordinates and is replaced by what is measured.
    """

    node: str
    site: str
    region: str
    tier: str
    url: str
    round_trip_ms: float


class DesiredRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the fleet file, decoded: when `signal op value` holds, `do` to `what`."""

    signal: str
    op: str
    value: str | float
    do: str
    what: tuple[str, ...]


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """When a new version may stay. Missing limits are not judged."""

    hold_s: float
    latency_ms_p95: float | None = None
    errors_ratio: float | None = None
    requests_min: int = 20


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one site should be."""

    schema: str = DESIRED_SCHEMA
    generation: int
    fleet: str
    domain: str
    region: str
    site: str
    tier: str
    jurisdiction: str
    models: tuple[DesiredModel, ...]
    policy_sha256: str
    tier_order: tuple[str, ...]
    peers: tuple[Peer, ...]
    rules: tuple[DesiredRule, ...] = ()
    goals: dict[GoalName, float] = {}
    gate: Gate
    tamper: TamperPolicy = TamperPolicy()
    clients: ClientPolicy = ClientPolicy()
    """Who may call the inference doors."""
    site_life_s: float = SITE_LIFE_S
    """How long the site's own authority lives, from when it was issued."""
    custody: CustodyPolicy = CustodyPolicy()
    """Whose signature counts on a maintenance window."""
    release: int = 0
    """The signed release that all of this belongs to; 0 from a central that counts none."""
    artifacts: dict[str, Statement] = {}
    """What central says of each artifact named here, by target path."""


def desired_target(site: str) -> str:
    """Return the TUF target path of a site's desired document."""
    return f"desired/{site}.json"
