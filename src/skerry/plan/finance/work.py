"""What a tier has to do for a month of requests: machines, energy, answers in time.

Each place (a site of the tier) is a queue with c servers. Machines are added until the
busiest step of the day is no busier than `utilisation_max`; never fewer than the fleet
file has. Waiting is M/M/c in each step, so this is an *estimate* for traffic without
bursts; a replay of the trace stands beside it in the report.

    P(wait > t) = C * exp(-(c / s - lambda) * t)           (Erlang C)
    overhead_w  = (PUE - 1) * (f * rated_w + (1 - f) * it_w)

The second line is the PUE curve over load: a share f of what cooling and conversion
take is there at any load, the rest follows the machines; at full load it is the stated
PUE, at low load it is worse.

Units:   seconds, watts, kWh a month, requests a month, milliseconds.
Shapes:  one value, or (draws, 1); inside (draws, places, steps).
Source:  Kleinrock, Queueing Systems I; above 500 servers Sakasegawa (1977) stands in for
         the recursion. Curve of power: `energy.power_curve`.
Limits:  runs take their mean time; jitter counts as its mean. Beyond 16 places a tier is
         counted in 16 groups of like places, each by its mean, and beyond 8 ways to a
         group of places in 8 of like length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import MS_PER_SECOND, SECONDS_PER_HOUR, WH_PER_KWH
from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.energy.site_energy import curve_of
from skerry.fleet.links import SAME_SITE_MS, link_table
from skerry.plan.finance.cash_flow import Value
from skerry.plan.finance.demand import NOBODY, STEPS, Demand
from skerry.schema.fleet import Fleet, Kind, Link, Site, Tier

Series = NDArray[np.float64]

GROUPS_MAX: Final = 16
WAYS: Final = 8
RECURSION_MAX: Final = 500
HOURS_PER_MONTH: Final = SECONDS_PER_MONTH / SECONDS_PER_HOUR
_BITS_PER_BYTE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Where a tier serves: groups of like places, with the demand that reaches each."""

    tier: Tier
    count: Series
    """(groups,): how many places each group stands for."""
    nodes: Series
    """(groups,): machines per place in the fleet file."""
    share: Series
    """(groups, steps): share of the demand that one place of the group gets."""
    travel_s: Series
    """(groups, ways): time on the way to the place and back, transfer included."""
    travel_share: Series
    """(groups, ways): share of the group's requests that come this way."""
    demand: Demand


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """A month of one tier; each value one number or (draws, 1)."""

    machines: Series
    rated_w: Series
    """Draw of all machines at full load."""
    it_kwh: Series
    overhead_kwh: Series
    requests: Series
    in_time: Series
    """Requests answered within the target."""
    late_ms: Series
    """Milliseconds beyond the target, over all requests."""
    grown_ratio: Series
    """Machines over those that the fleet file has: 1 or more."""
    feed_used_ratio: Series
    """Most that a place would draw at full load, over its feed; 0 where no feed is stated."""

    @property
    def pue_ratio(self) -> Series:
        """The PUE that the load gives."""
        return np.asarray((self.it_kwh + self.overhead_kwh) / np.maximum(self.it_kwh, 1e-12))


def is_rented(tier: Tier) -> bool:
    """Tell whether a tier's machines belong to somebody else."""
    return tier.machine.price_usd == 0


def is_by_request(tier: Tier, inputs: Mapping[str, Value]) -> bool:
    """Tell whether a cloud asks for requests and not for machines: it sizes itself."""
    priced = float(np.min(inputs["cloud_usd_per_1k"])) > 0
    return priced and tier.kind is Kind.CLOUD and is_rented(tier)


def places_of(fleet: Fleet, tier: Tier, demand: Demand | None) -> Places:
    """Return where a tier would serve a demand; None is a tier that stands by.

    Edge and onprem sites serve their own people, a region the sites under it, a cloud
    everybody, each from its nearest site.
    """
    serving = [site for site in fleet.sites if site.tier == tier.name and site.nodes]
    served = {} if demand is None else _served(fleet, serving, demand)
    kept = NOBODY if demand is None else demand.of(frozenset(served))
    share = np.zeros((len(serving), STEPS))
    ways: list[list[tuple[float, float]]] = [[] for _ in serving]
    at = {site.name: index for index, site in enumerate(serving)}
    for asker, profile in zip(kept.sites, kept.share, strict=True):
        place, way_s = served[asker]
        share[at[place]] += profile
        ways[at[place]].append((way_s, float(profile.sum())))
    nodes = np.array([site.nodes for site in serving], dtype=np.float64)
    return _grouped(tier, nodes, share, ways, kept)


def work_of(places: Places, inputs: Mapping[str, Value], *, target_s: float) -> Work:
    """Return a month's work; `inputs` may hold columns of draws."""
    tier, demand = places.tier, places.demand
    requests = np.asarray(demand.requests_per_month * inputs["requests_ratio"])[..., None]
    service_s = np.asarray(demand.service_s * inputs["service_time_ratio"])[..., None]
    per_s = requests * places.share * STEPS / SECONDS_PER_MONTH  # (..., groups, steps)
    offered = per_s * service_s
    most = np.asarray(inputs["utilisation_max"])[..., None]
    needed = np.ceil(offered.max(axis=-1, keepdims=True) / most - 1e-9)
    servers = np.maximum(places.nodes[:, None], needed)
    load = np.minimum(offered / servers, 1.0)
    waits = erlang_c(servers, offered) if not is_by_request(tier, inputs) else 0.0 * offered
    drains = np.maximum(servers / np.where(service_s > 0, service_s, 1.0) - per_s, 1e-9)
    left_s = (target_s - places.travel_s)[:, None, :] - service_s[..., None]
    late = waits[..., None] * np.exp(-drains[..., None] * np.maximum(left_s, 0))
    on_time = np.where(left_s >= 0, 1 - late, 0.0)
    over_s = late / drains[..., None] + np.maximum(-left_s, 0)
    by_way = places.travel_share[:, None, :]
    on_time = (on_time * by_way).sum(axis=-1)
    over_s = (over_s * by_way).sum(axis=-1) if target_s < np.inf else np.zeros_like(on_time)
    asked = requests * places.share * places.count[:, None]
    curve = curve_of(tier.machine)
    it_w = servers * curve.power_w(load)
    rated_w = servers * tier.machine.busy_w
    fixed = np.asarray(inputs["pue_fixed_share"])[..., None]
    over_w = (tier.pue_ratio - 1) * (fixed * rated_w + (1 - fixed) * it_w)
    hours = HOURS_PER_MONTH / STEPS
    each = places.count[:, None]
    stated = float((places.nodes * places.count).sum())
    full_w = (servers * tier.machine.busy_w * tier.pue_ratio).max(axis=(-1, -2), initial=0.0)
    return Work(
        machines=_summed(servers[..., 0] * places.count),
        rated_w=_summed(rated_w[..., 0] * places.count),
        it_kwh=_summed((it_w * each).sum(axis=-1)) * hours / WH_PER_KWH,
        overhead_kwh=_summed((over_w * each).sum(axis=-1)) * hours / WH_PER_KWH,
        requests=_summed(asked.sum(axis=-1)),
        in_time=_summed((asked * on_time).sum(axis=-1)),
        late_ms=_summed((asked * over_s).sum(axis=-1)) * MS_PER_SECOND,
        grown_ratio=_summed(servers[..., 0] * places.count) / max(stated, 1.0),
        feed_used_ratio=_column(full_w / tier.feed_w if tier.feed_w else 0.0 * full_w),
    )


def erlang_c(servers: Series, offered: Series) -> Series:
    """Return P(wait) for offered erlangs; 1 where the servers do not suffice."""
    servers, offered = np.broadcast_arrays(servers, offered)
    load = offered / servers
    blocked = np.ones(load.shape)
    for count in range(1, int(min(servers.max(initial=0), RECURSION_MAX)) + 1):
        ahead = count <= servers
        blocked = np.where(ahead, offered * blocked / (count + offered * blocked), blocked)
    stable = load < 1
    below = np.where(stable, 1 - load * (1 - blocked), 1.0)
    exact = blocked / below
    large = np.minimum(load, 1.0) ** (np.sqrt(2 * (servers + 1)) - 1)
    return np.where(stable, np.where(servers > RECURSION_MAX, large, exact), 1.0)


def _served(fleet: Fleet, serving: list[Site], demand: Demand) -> dict[str, tuple[str, float]]:
    """Return who is served from where, and the time on the way."""
    found = {}
    names = {site.name for site in serving}
    homes = {site.name: site for site in fleet.sites}
    between = link_table(fleet)
    for asker in demand.sites:
        home = homes[asker]
        if home.kind in (Kind.EDGE, Kind.ONPREM) and home.name in names:
            found[asker] = (asker, SAME_SITE_MS / MS_PER_SECOND)
            continue
        near = [
            site
            for site in serving
            if site.kind is Kind.CLOUD or (site.kind is Kind.REGIONAL and site.name == home.region)
        ]
        ways = [
            (_way_s(between(asker, site.name), demand.content_bytes), site.name) for site in near
        ]
        if ways:
            way_s, place = min(ways)
            found[asker] = (place, way_s)
    return found


def _way_s(link: Link, content_bytes: float) -> float:
    """Return the mean time there and back, with what sending the content takes."""
    sending_s = content_bytes * _BITS_PER_BYTE / link.bandwidth_bit_per_s
    return (link.round_trip_ms + link.jitter_ms + SAME_SITE_MS) / MS_PER_SECOND + sending_s


def _grouped(
    tier: Tier,
    nodes: Series,
    share: Series,
    ways: list[list[tuple[float, float]]],
    demand: Demand,
) -> Places:
    order = np.lexsort((share.sum(axis=1), nodes))
    groups = np.array_split(order, min(len(order), GROUPS_MAX)) if len(order) else []
    binned = [_binned([way for place in group for way in ways[place]]) for group in groups]
    return Places(
        tier=tier,
        count=np.array([float(len(group)) for group in groups]),
        nodes=np.array([nodes[group].mean() for group in groups]),
        share=np.array([share[group].mean(axis=0) for group in groups]).reshape(-1, STEPS),
        travel_s=np.array([way_s for way_s, _ in binned]).reshape(-1, WAYS),
        travel_share=np.array([weight for _, weight in binned]).reshape(-1, WAYS),
        demand=demand,
    )


def _binned(ways: list[tuple[float, float]]) -> tuple[Series, Series]:
    """Return ways by length in a fixed number of bins, each with its mean and its share."""
    if not ways:
        return np.zeros(WAYS), np.zeros(WAYS)
    ways_s, weights = (np.array(part) for part in zip(*sorted(ways), strict=True))
    place = np.linspace(0, WAYS, len(ways), endpoint=False).astype(np.int64)
    share = np.bincount(place, weights, WAYS)
    mean_s = np.bincount(place, weights * ways_s, WAYS) / np.maximum(share, 1e-300)
    return mean_s, share / share.sum()


def _summed(groups: Series) -> Series:
    """Add over groups; a column of draws stays a column."""
    return _column(groups.sum(axis=-1))


def _column(values: Series) -> Series:
    values = np.asarray(values)
    return values[..., None] if values.ndim else values
