"""What happens when a site, a region or the cloud is lost, tried on the simulator.

For each place the same trace is replayed with its machines gone: through the production
decisions, residency included, so that a class which may not leave its site is refused
and counted, not quietly moved. How long it takes to come back is arithmetic:

    hours = detect + (truck roll + repair where a spare is at hand, else the lead time)

Units:   ratios 0 to 1, hours, milliseconds.
Source:  `plan.replay`; objectives are the user's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from skerry.fleet.desired import policy_of
from skerry.plan.replay import replay
from skerry.plan.services import services_s
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet, Site
from skerry.trust.residency import ResidencyTable

HOURS_PER_DAY = 24.0
PLACES_MAX = 40
"""So many places are tried, those with the most requests first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One place lost: what its people still get, and what everybody else does."""

    place: str
    kind: str
    own_requests: int
    own_answered_ratio: float | None
    """Of the requests that people at the place send; None where nobody asks there."""
    all_answered_ratio: float
    latency_ms_p95: float | None
    refused: Mapping[str, int]
    back_hours: float
    back_hours_without_spare: float


def lose_each(
    fleet: Fleet,
    trace: Trace,
    *,
    back_hours: Callable[[Site], tuple[float, float]],
    service_ms: Mapping[str, float] | None = None,
    seed: int,
    tell: Callable[[float, str], None] = lambda share, what: None,
) -> tuple[Loss, ...]:
    """Replay the trace once for each place that has machines; `back_hours` is with, without."""
    services = services_s(fleet, service_ms)
    destinations = ResidencyTable(policy_of(fleet, generation=0)).destinations
    asked = np.bincount(trace.site, minlength=len(trace.sites))
    count = dict(zip(trace.sites, asked.tolist(), strict=True))
    places = sorted(
        (site for site in fleet.sites if site.nodes),
        key=lambda site: (-count.get(site.name, 0), site.name),
    )[:PLACES_MAX]
    found = []
    for index, lost in enumerate(places):
        tell(index / len(places), lost.name)
        without = _without(fleet, lost)
        both = replay(without, trace, services_s=services, destinations=destinations, seed=seed)
        own = None
        if count.get(lost.name):
            alone = replay(
                without,
                _only(trace, lost.name),
                services_s=services,
                destinations=destinations,
                seed=seed,
            )
            own = alone.answered / count[lost.name]
        hours, long_hours = back_hours(lost)
        found.append(
            Loss(
                place=lost.name,
                kind=lost.kind.value,
                own_requests=count.get(lost.name, 0),
                own_answered_ratio=own,
                all_answered_ratio=both.answered / len(trace),
                latency_ms_p95=(
                    float(np.percentile(both.latencies_ms, 95)) if both.answered else None
                ),
                refused=both.refused,
                back_hours=hours,
                back_hours_without_spare=long_hours,
            )
        )
    return tuple(found)


def back_hours(given: Mapping[str, float], *, lead_days: float) -> tuple[float, float]:
    """Return hours to be back with a spare at hand, and without one."""
    hands = given["detect_hours"] + given["truck_roll_hours"] + given["repair_hours"]
    return hands, hands + lead_days * HOURS_PER_DAY


def _without(fleet: Fleet, lost: Site) -> Fleet:
    sites = tuple(
        msgspec.structs.replace(site, nodes=0) if site.name == lost.name else site
        for site in fleet.sites
    )
    return msgspec.structs.replace(fleet, sites=sites)


def _only(trace: Trace, site: str) -> Trace:
    kept = trace.site == trace.sites.index(site)
    return replace(
        trace,
        arrival_s=trace.arrival_s[kept],
        site=trace.site[kept],
        model=trace.model[kept],
        data_class=trace.data_class[kept],
        content_bytes=trace.content_bytes[kept],
    )
