"""A fleet as columns of numbers: what the simulation's kernels loop over.

Places stand in one order: the asking sites, sorted by region, then one room per region,
then the clouds. A *flow* is one model asked with one data class. For each site and flow
`ways` says who may answer: bit 0 the site itself, bit 1 its region's room, bit 2 the first
cloud, and so on; a way is open where the residency rule lets the class travel and the
model is placed, and nobody else is ever asked.

Units:   as the fields' names say; money is USD per hour for what a place costs at any load.
Shapes:  S sites, R regions, C clouds, P = S + R + C places, F flows, U = 1 + C ways up.
Errors:  NothingToPlanError, for a fleet in which nobody asks or nobody can answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND, SECONDS_PER_HOUR
from skerry.energy.site_cost import site_cost
from skerry.fleet.links import SAME_SITE_MS, computed_link
from skerry.plan.errors import NothingToPlanError
from skerry.plan.trace import DEFAULT_CLASS_SHARE, STORY_BYTES, asking_sites
from skerry.schema.fleet import Fleet, Kind, Link, Model, Site
from skerry.schema.goal import GoalName
from skerry.trust.residency import travels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

CLOUDS_MAX: Final = 4
HERE: Final = 1
"""The bit of a site's own answer in `ways`."""
_BITS_PER_BYTE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetArrays:
    """A fleet, ready to be simulated."""

    name: str
    goals: Mapping[GoalName, float]
    site_names: tuple[str, ...]
    region_names: tuple[str, ...]
    cloud_names: tuple[str, ...]
    flow_names: tuple[tuple[str, str], ...]
    """Model and data class of each flow."""
    zones: tuple[str, ...]
    first_site: Ints
    """(R + 1,): the sites of region r are `first_site[r]` up to `first_site[r + 1]`."""
    nodes: Ints
    idle_w: Floats
    busy_w: Floats
    pue_ratio: Floats
    usd_per_kwh: Floats
    fixed_usd_per_h: Floats
    feed_w: Floats
    ups_s: Floats
    grid_g_per_kwh: Floats
    zone: Ints
    latitude_deg: Floats
    longitude_deg: Floats
    requests_per_day: Floats
    """(S,)."""
    flow_share: Floats
    """(S, F): each row adds up to 1."""
    service_s: Floats
    content_bytes: Floats
    """(F,) both."""
    ways: Bytes
    """(S, F)."""
    round_trip_s: Floats
    jitter_s: Floats
    byte_s: Floats
    """(S, U) all three: to the room, then to each cloud."""

    @property
    def sites(self) -> int:
        """How many sites ask."""
        return len(self.site_names)

    @property
    def regions(self) -> int:
        """How many regions they are in."""
        return len(self.region_names)

    @property
    def clouds(self) -> int:
        """How many clouds stand behind them."""
        return len(self.cloud_names)

    @property
    def place_names(self) -> tuple[str, ...]:
        """Every place in order; a room is called as its region."""
        return (*self.site_names, *self.region_names, *self.cloud_names)

    def room_of(self, region: int) -> int:
        """Return the place that a region's machines stand at: its room, or the cloud it is."""
        name = self.region_names[region]
        if name in self.cloud_names:
            return self.sites + self.regions + self.cloud_names.index(name)
        return self.sites + region

    def region_of_site(self) -> Ints:
        """Return the region's number of each site."""
        return np.repeat(np.arange(self.regions), np.diff(self.first_site))


def arrays_of(
    fleet: Fleet, *, services_s: Mapping[str, float], requests_per_node_day: float
) -> FleetArrays:
    """Return the columns of a fleet file, with the same load on every node."""
    by_name = {site.name: site for site in fleet.sites}
    clouds = tuple(s for s in fleet.sites if s.kind is Kind.CLOUD and s.nodes)[:CLOUDS_MAX]
    standins = {model.standin for model in fleet.models}
    flows = [
        (model, name, share)
        for model in fleet.models
        if model.name not in standins
        for name, share in _class_shares(model)
    ]
    asking = asking_sites(fleet)
    if not asking or not flows:
        missing = "no model with a data class" if asking else "no edge or onprem site with a node"
        raise NothingToPlanError(fleet.name, missing)
    regions = tuple(dict.fromkeys(site.region for site in asking))
    sites = [site for region in regions for site in asking if site.region == region]
    rooms = [by_name[name] for name in regions]
    places = [*sites, *rooms, *clouds]
    # A region that is a cloud has no room of its own: its cloud answers as a cloud does.
    nodes = [0 if p in rooms and p.kind is Kind.CLOUD else p.nodes for p in places]
    nodes[len(places) - len(clouds) :] = [cloud.nodes for cloud in clouds]
    tiers = [fleet.tiers[place.tier] for place in places]
    zones = tuple(dict.fromkeys(place.grid_zone for place in places))
    links = _Links(fleet)
    ups = [[by_name[site.region], *clouds] for site in sites]
    hops = [[links.between(site, up) for up in row] for site, row in zip(sites, ups, strict=True)]
    models = len({model.name for model, _, _ in flows})
    return FleetArrays(
        name=fleet.name,
        goals=fleet.goals,
        site_names=tuple(site.name for site in sites),
        region_names=regions,
        cloud_names=tuple(cloud.name for cloud in clouds),
        flow_names=tuple((model.name, name) for model, name, _ in flows),
        zones=zones,
        first_site=np.searchsorted(
            [regions.index(site.region) for site in sites], np.arange(len(regions) + 1)
        ),
        nodes=np.array(nodes, dtype=np.int64),
        idle_w=np.array([tier.machine.idle_w for tier in tiers]),
        busy_w=np.array([tier.machine.busy_w for tier in tiers]),
        pue_ratio=np.array([tier.pue_ratio for tier in tiers]),
        usd_per_kwh=np.array([tier.energy_usd_per_kwh for tier in tiers]),
        fixed_usd_per_h=np.array(
            [
                site_cost(tier, nodes=count, energy_wh=0.0, span_s=SECONDS_PER_HOUR).total_usd
                if count
                else 0.0
                for tier, count in zip(tiers, nodes, strict=True)
            ]
        ),
        feed_w=np.array([place.feed_w for place in places]),
        ups_s=np.array([tier.ups_s for tier in tiers]),
        grid_g_per_kwh=np.array([place.grid_g_per_kwh for place in places]),
        zone=np.array([zones.index(place.grid_zone) for place in places]),
        latitude_deg=np.array([place.latitude_deg for place in places]),
        longitude_deg=np.array([place.longitude_deg for place in places]),
        requests_per_day=np.array([site.nodes * requests_per_node_day for site in sites]),
        flow_share=np.tile([share / models for _, _, share in flows], (len(sites), 1)),
        service_s=np.array([services_s[model.name] for model, _, _ in flows]),
        content_bytes=np.full(len(flows), float(STORY_BYTES)),
        ways=_ways(fleet, sites, ups, [(model, name) for model, name, _ in flows]),
        round_trip_s=np.array([[h.round_trip_ms / MS_PER_SECOND for h in row] for row in hops]),
        jitter_s=np.array([[h.jitter_ms / MS_PER_SECOND for h in row] for row in hops]),
        byte_s=np.array([[_BITS_PER_BYTE / h.bandwidth_bit_per_s for h in row] for row in hops]),
    )


def _class_shares(model: Model) -> list[tuple[str, float]]:
    """Return the share of each of a model's classes, as the story's day has them."""
    classes = model.data_classes
    if len(classes) < 2:
        return [(name, 1.0) for name in classes]
    rest = (1.0 - DEFAULT_CLASS_SHARE) / (len(classes) - 1)
    return [(classes[0], DEFAULT_CLASS_SHARE), *((name, rest) for name in classes[1:])]


def _ways(
    fleet: Fleet, sites: list[Site], ups: list[list[Site]], flows: list[tuple[Model, str]]
) -> Bytes:
    """Judge every way of every flow once per kind of site: the rule looks at nothing else."""
    known: dict[tuple[str, str, str], list[int]] = {}
    rows = []
    for site, above in zip(sites, ups, strict=True):
        key = (site.tier, site.region, site.jurisdiction)
        if key not in known:
            known[key] = [_way(fleet, site, above, model, name) for model, name in flows]
        rows.append(known[key])
    return np.array(rows, dtype=np.uint8)


def _way(fleet: Fleet, site: Site, above: list[Site], model: Model, data_class: str) -> int:
    rule = fleet.data_classes.get(data_class)
    bits = HERE if site.tier in model.tiers else 0
    if site.air_gapped:
        return bits
    for place, up in enumerate(above, 1):
        if (
            rule is not None
            and up.tier in model.tiers
            and travels(
                rule.stays,
                same_site=False,
                same_region=site.region == up.region,
                destination_listed=up.jurisdiction in rule.jurisdictions,
            )
        ):
            bits |= 1 << place
    return bits


class _Links:
    """Links by their two ends, as `fleet.links.link_between` gives them, for many sites."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stated: dict[frozenset[str], Link] = {}
        for link in fleet.links:
            self._stated.setdefault(frozenset((link.a, link.b)), link)

    def between(self, one: Site, other: Site) -> Link:
        tiers = self._fleet.tiers
        known = self._stated.get(frozenset((one.name, other.name)))
        return known or computed_link(
            one,
            other,
            min(tiers[one.tier].uplink_bit_per_s, tiers[other.tier].uplink_bit_per_s),
        )


LAN_S: Final = SAME_SITE_MS / MS_PER_SECOND
