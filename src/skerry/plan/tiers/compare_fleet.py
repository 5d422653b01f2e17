"""The same requests on each of four tiers: fleets in which that tier is there.

A tier of the fleet file is taken as it stands. One that the file has not is taken from
`tables/compare.csv` and called *usual*: edge and on-prem change what stands where people
ask, a regional room and a cloud are a site more, at a usual round trip.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from skerry.fleet.links import JITTER_MS
from skerry.fleet.place import fallbacks
from skerry.fleet.tables import machine_types
from skerry.plan.assumptions import Assumptions
from skerry.plan.tiers.trial import LEVEL_OF, Level, answers, asked_at
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet, Kind, Link, Site, Tier

NAMES: Final = {
    "hyperscale": Kind.CLOUD,
    "regional": Kind.REGIONAL,
    "edge": Kind.EDGE,
    "onprem": Kind.ONPREM,
}
"""The four tiers, as a reader calls them, and the fleet file's kinds."""
_MACHINES: Final = {
    "hyperscale": "cloud-vm-4",
    "regional": "rack-server",
    "edge": "mini-pc",
    "onprem": "rack-server",
}
_UPLINK_BIT_PER_S: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A fleet in which one of the four tiers can answer everybody who asks."""

    name: str
    fleet: Fleet
    level: Level
    tiers: tuple[str, ...]
    usual: bool
    """Whether the tier is not the file's own."""


def settings(fleet: Fleet, trace: Trace, table: Assumptions) -> tuple[Setting, ...]:
    """Return the four settings, in the order of the table."""
    asked = asked_at(trace)
    return tuple(_setting(fleet, asked, name, kind, table) for name, kind in NAMES.items())


def _setting(
    fleet: Fleet, asked: tuple[str, ...], name: str, kind: Kind, table: Assumptions
) -> Setting:
    level = LEVEL_OF[kind]
    if level is Level.LOCAL:
        return _local(fleet, asked, name, kind, table)
    beside = fallbacks(fleet)
    servers = [answers(fleet.site(one), beside[one], level) for one in asked]
    if all(server is not None and server.nodes for server in servers):
        tiers = tuple(dict.fromkeys(server.tier for server in servers if server is not None))
        return Setting(name=name, fleet=fleet, level=level, tiers=tiers, usual=False)
    profile = _usual(name, kind, table)
    place = f"usual-{name}"
    nearest = fleet.site(asked[0])
    site = msgspec.structs.replace(
        nearest,
        name=place,
        tier=profile.name,
        kind=kind,
        region=place,
        jurisdiction=nearest.jurisdiction if kind is Kind.REGIONAL else "",
        nodes=1,
    )
    links = tuple(
        Link(
            a=one,
            b=place,
            round_trip_ms=table[f"{name}_round_trip_ms"],
            jitter_ms=JITTER_MS,
            bandwidth_bit_per_s=fleet.tiers[fleet.site(one).tier].uplink_bit_per_s,
            stated=False,
        )
        for one in asked
    )
    sites = tuple(_joined(one, asked, kind, place) for one in fleet.sites)
    changed = msgspec.structs.replace(
        fleet,
        tiers={**fleet.tiers, profile.name: profile},
        sites=(*sites, site),
        links=(*fleet.links, *links),
    )
    return Setting(name=name, fleet=changed, level=level, tiers=(profile.name,), usual=True)


def _joined(site: Site, asked: tuple[str, ...], kind: Kind, place: str) -> Site:
    """Put a site under the usual region, where that is what is added."""
    if kind is Kind.REGIONAL and site.name in asked:
        return msgspec.structs.replace(site, region=place)
    return site


def _local(
    fleet: Fleet, asked: tuple[str, ...], name: str, kind: Kind, table: Assumptions
) -> Setting:
    """Give every site that asks a tier of this kind: its own, the file's first, or a usual one."""
    here = [tier for tier in fleet.tiers.values() if tier.kind is kind]
    profile = here[0] if here else _usual(name, kind, table)
    sites = tuple(
        msgspec.structs.replace(site, tier=profile.name, kind=kind, nodes=profile.nodes)
        if site.name in asked and site.kind is not kind
        else site
        for site in fleet.sites
    )
    changed = msgspec.structs.replace(
        fleet, tiers={**fleet.tiers, profile.name: profile}, sites=sites
    )
    tiers = tuple(dict.fromkeys(site.tier for site in sites if site.name in asked))
    return Setting(name=name, fleet=changed, level=Level.LOCAL, tiers=tiers, usual=not here)


def _usual(name: str, kind: Kind, table: Assumptions) -> Tier:
    return Tier(
        name=f"usual-{name}",
        kind=kind,
        nodes=1,
        machine=machine_types()[_MACHINES[name]],
        feed_w=0.0,
        ups_s=0.0,
        uplink_bit_per_s=_UPLINK_BIT_PER_S,
        pue_ratio=table[f"{name}_pue_ratio"],
        energy_usd_per_kwh=table[f"{name}_energy_usd_per_kwh"],
        usd_per_month=table[f"{name}_usd_per_month"],
    )
