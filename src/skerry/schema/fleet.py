"""A fleet, resolved: every value present, every unit in its field's name.

People write `fleet.yaml` (`skerry.schema.fleet_file`); `skerry.fleet.resolve` turns it
into this. Everything after that, from the planner to the drills, reads only this.
"""

from enum import StrEnum

import msgspec

from skerry.schema.desired import DesiredRule, Gate
from skerry.schema.goal import GoalName
from skerry.schema.policy import Residency
from skerry.schema.trust import Trust


class Kind(StrEnum):
    """What a tier is, whatever the file calls it."""

    EDGE = "edge"
    ONPREM = "onprem"
    REGIONAL = "regional"
    CLOUD = "cloud"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine type. Power and price are stated by the file or by a named table."""

    name: str
    idle_w: float
    busy_w: float
    price_usd: float
    life_years: float
    source: str


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A named profile that sites share."""

    name: str
    kind: Kind
    nodes: int
    machine: Machine
    feed_w: float
    ups_s: float
    uplink_bit_per_s: float
    pue_ratio: float
    energy_usd_per_kwh: float
    usd_per_month: float
    """Room, link and hands together, per site; 0 where nobody said."""


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to call at a site."""

    name: str
    phone: str


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One place. A regional or cloud site is its own region: `region == name`."""

    name: str
    tier: str
    kind: Kind
    region: str
    latitude_deg: float
    longitude_deg: float
    jurisdiction: str
    grid_zone: str
    grid_g_per_kwh: float
    grid_source: str
    nodes: int
    feed_w: float
    hours: str = ""
    contact: Contact | None = None
    labels: dict[str, str] = {}
    air_gapped: bool = False
    """Nothing reaches it but sticks."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model and where it runs. `manifest_sha256` comes from `fleet.lock`; empty: not added."""

    name: str
    version: int
    manifest_sha256: str
    standin: str | None
    tiers: tuple[str, ...]
    data_classes: tuple[str, ...]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link between two sites, for a local fleet's emulator and for the planner.

    `stated` is false where the round trip was computed from coordinates.
    """

    a: str
    b: str
    round_trip_ms: float
    jitter_ms: float
    bandwidth_bit_per_s: float
    stated: bool


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A part of each day, in minutes after midnight; it may go on past midnight.

    `zone` is the name of a time zone; with `outside` the rest of the day is meant.
    """

    begins_minute: int
    ends_minute: int
    zone: str
    outside: bool = False


class RingCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked outside of skerry before a ring: a URL, or a command that central knows."""

    url: str = ""
    command: str = ""
    timeout_s: float = 10.0


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """How a change travels: each ring is a list of sites, the last holds the rest."""

    rings: tuple[tuple[str, ...], ...]
    ring_names: tuple[str, ...]
    gate: Gate
    revert_on_fail: bool
    windows: dict[str, Span] = {}
    """When a site may be changed; a site that is not here may be at any time."""
    soak_s: float = 0.0
    """How long a ring is watched, beyond the gate's hold, before the next one."""
    approve: tuple[str, ...] = ()
    """Names of the rings that a person lets begin."""
    check: RingCheck | None = None
    unheard: tuple[str, ...] = ()
    """Sites without a link: nobody waits for what they report."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """A whole fleet."""

    name: str
    domain: str
    goals: dict[GoalName, float]
    tiers: dict[str, Tier]
    sites: tuple[Site, ...]
    models: tuple[Model, ...]
    data_classes: dict[str, Residency]
    rules: tuple[DesiredRule, ...]
    rollout: Rollout
    links: tuple[Link, ...]
    trust: Trust = Trust()

    def site(self, name: str) -> Site:
        """Return a site by name; raises `KeyError` if there is none."""
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)

    def regions(self) -> tuple[Site, ...]:
        """Return the sites that are regions: regional and cloud ones."""
        return tuple(site for site in self.sites if site.region == site.name)
