"""A fleet and a trace as arrays, replayed by the compiled kernel.

The same questions as `plan.replay` and the same answers to the last bit; worth it from
some hundred thousand requests on, as loading the compiler takes half a second and the
first run on a machine some seconds.

Units:   seconds inside, milliseconds in what comes out; bytes.
Errors:  NothingToPlanError, for a cloud alone where the fleet has no cloud node.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from skerry.base.units import MS_PER_SECOND
from skerry.fleet.links import link_table
from skerry.fleet.place import fallbacks, models_at, tiers_of
from skerry.plan import kernels_replay as kernels
from skerry.plan.errors import NothingToPlanError
from skerry.plan.replay import (
    BITS_PER_BYTE,
    LAN_S,
    LOAD_STEPS,
    QUEUE_LEN_MAX,
    Destinations,
    Replayed,
    chances,
    used_ratio,
)
from skerry.plan.trace import Trace
from skerry.route import decide
from skerry.route.journey import DEADLINE_S
from skerry.schema.fleet import Fleet, Kind, Site

BLOCK: Final = 200_000
"""Requests between two calls of `tell`."""


def _nothing(share: float) -> None:
    """Tell nobody."""


def replay(
    fleet: Fleet,
    trace: Trace,
    *,
    services_s: Mapping[str, float],
    destinations: Destinations,
    seed: int,
    tell: Callable[[float], None] = _nothing,
) -> Replayed:
    """Replay a trace on a fleet; `destinations` is the policy's own answer."""
    beside = fallbacks(fleet)
    tables = _tables(
        fleet,
        trace,
        services_s,
        {name: _near_first(fleet.site(name), beside[name]) for name in trace.sites},
        destinations,
    )
    return _replayed(kernels.through_fleet, fleet, trace, tables, seed, tell)


def replay_cloud_only(
    fleet: Fleet,
    trace: Trace,
    *,
    services_s: Mapping[str, float],
    seed: int,
    tell: Callable[[float], None] = _nothing,
) -> Replayed:
    """Replay a trace with every request sent to the fleet's cloud site over its link."""
    clouds = [(site, 0) for site in fleet.sites if site.kind is Kind.CLOUD and site.nodes]
    if not clouds:
        raise NothingToPlanError(fleet.name, "no cloud site with a node")
    everyone = frozenset(site.name for site in fleet.sites)
    tables = _tables(
        fleet, trace, services_s, dict.fromkeys(trace.sites, clouds), lambda *_: everyone
    )
    return _replayed(kernels.through_cloud, fleet, trace, tables, seed, tell)


def _near_first(site: Site, beside: tuple[Site, ...]) -> list[tuple[Site, int]]:
    """Return who may answer for a site, each with the rank of its tier."""
    ranks = {tier: rank for rank, tier in enumerate(tiers_of((site, *beside)))}
    return [(other, ranks[other.tier]) for other in (site, *beside)]


def _tables(
    fleet: Fleet,
    trace: Trace,
    services_s: Mapping[str, float],
    who: Mapping[str, Sequence[tuple[Site, int]]],
    destinations: Destinations,
) -> kernels.Tables:
    """Return the fleet as arrays; only sites that ask have peers."""
    places = {site.name: index for index, site in enumerate(fleet.sites)}
    models = {model.name: index for index, model in enumerate(fleet.models)}
    nodes = np.array([site.nodes for site in fleet.sites], np.int64)
    first = np.concatenate([[0], np.cumsum(nodes)])
    has_model = np.zeros((len(places), len(models)), np.bool_)
    for index, site in enumerate(fleet.sites):
        has_model[index, [models[model.name] for model in models_at(fleet, site)]] = True
    # A tie is an asking site and one that may answer it; each of its nodes is a peer.
    askers = sorted(who, key=places.__getitem__)
    ties = [(name, other, rank) for name in askers for other, rank in who[name]]
    link = link_table(fleet)
    links = [link(name, other.name) for name, other, _ in ties]
    origin = np.array([places[name] for name, _, _ in ties], np.int64)
    goal = np.array([places[other.name] for _, other, _ in ties], np.int64)
    peers = nodes[goal]
    may = {(one, name): destinations(one, name) for one in trace.data_classes for name in askers}
    allowed = [
        [other.name in may[one, name] for name, other, _ in ties] for one in trace.data_classes
    ]
    here = np.zeros((len(trace.data_classes), len(places)), np.bool_)
    for (one, name), sites in may.items():
        here[trace.data_classes.index(one), places[name]] = name in sites
    counts = np.bincount(origin, weights=peers, minlength=len(places)).astype(np.int64)
    table = _records(
        kernels.PEER,
        node=np.concatenate([np.arange(first[site], first[site + 1]) for site in goal]),
        site=np.repeat(goal, peers),
        tier_rank=np.repeat([rank for _, _, rank in ties], peers),
        in_site=np.repeat(origin == goal, peers),
        round_trip_s=np.repeat([link.round_trip_ms / MS_PER_SECOND for link in links], peers),
        jitter_s=np.repeat([link.jitter_ms / MS_PER_SECOND for link in links], peers),
        byte_s=np.repeat([BITS_PER_BYTE / link.bandwidth_bit_per_s for link in links], peers),
    )
    seen = np.zeros((len(table), len(models)), kernels.SEEN)
    seen["mean_s"], seen["at_s"] = table["round_trip_s"][:, None], -1.0
    own = np.zeros((first[-1], len(models)), kernels.SEEN)
    own["at_s"] = -1.0
    return kernels.Tables(
        sites=_records(
            kernels.SITE,
            node=first[:-1],
            nodes=nodes,
            peer=np.concatenate([[0], np.cumsum(counts)[:-1]]),
            peers=counts,
        ),
        models=_records(
            kernels.MODEL,
            service_s=[services_s[name] for name in models],
            standin=[models.get(model.standin or "", -1) for model in fleet.models],
        ),
        nodes=_records(kernels.NODE, site=np.repeat(np.arange(len(places)), nodes)),
        peers=table,
        has_model=has_model,
        allowed=np.repeat(np.array(allowed, np.bool_), peers, axis=1),
        allowed_here=here,
        ends_s=np.zeros((first[-1], QUEUE_LEN_MAX + 2)),
        own=own,
        seen=seen,
        busy_s=np.zeros((len(places), LOAD_STEPS)),
        latency_s=np.zeros(len(trace)),
        tally=np.zeros(3, np.int64),
    )


def _records(kind: np.dtype[Any], **columns: Any) -> Any:
    """Return an array of records from columns of equal length; the rest is zero."""
    made = np.zeros(len(next(iter(columns.values()))), kind)
    for name, values in columns.items():
        made[name] = values
    return made


def _replayed(
    kernel: Callable[..., None],
    fleet: Fleet,
    trace: Trace,
    tables: kernels.Tables,
    seed: int,
    tell: Callable[[float], None],
) -> Replayed:
    drawn = chances(len(trace), seed)
    sites = [site.name for site in fleet.sites]
    models = [model.name for model in fleet.models]
    requests = _records(
        kernels.REQUEST,
        at_s=trace.arrival_s,
        site=np.array([sites.index(name) for name in trace.sites])[trace.site],
        model=np.array([models.index(name) for name in trace.models])[trace.model],
        data_class=trace.data_class,
        content_bytes=trace.content_bytes,
        spread=drawn.spread,
        jitter=drawn.jitter,
        draw=drawn.draw,
    )
    limits = kernels.Limits(
        queue_len_max=QUEUE_LEN_MAX,
        deadline_s=float(DEADLINE_S),
        lan_s=LAN_S,
        step_s=trace.span_s / LOAD_STEPS,
    )
    for begin in range(0, len(trace), BLOCK):
        end = min(begin + BLOCK, len(trace))
        kernel(requests, tables, limits, begin, end)
        tell(end / len(trace))
    refused = np.bincount((-tables.latency_s[tables.latency_s < 0]).astype(np.int64))
    return Replayed(
        latencies_ms=tables.latency_s[tables.latency_s >= 0] * MS_PER_SECOND,
        refused={decide.VERDICT_WORDS[v]: int(n) for v, n in enumerate(refused) if n},
        local=int(tables.tally[0]),
        standin=int(tables.tally[1]),
        upstream_bytes=int(tables.tally[2]),
        load={
            site.name: used_ratio(tables.busy_s[index], site, limits.step_s)
            for index, site in enumerate(fleet.sites)
        },
        span_s=trace.span_s,
    )
