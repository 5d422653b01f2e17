"""What a trace says of a year: each site's rate, its mix of requests, the week's shape.

`arrival_s` counts from Monday 00:00 of the sites' own clock. A trace of a week or more
gives every hour of the week its weight, one of a day or more every hour of the day; a
shorter one gives a rate alone, which then holds at every hour.

Units:   requests per day; weights have the mean 1 over a week.
Errors:  NothingToPlanError, for a trace in which none of the fleet's asking sites asks.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_DAY, SECONDS_PER_HOUR
from skerry.plan.errors import NothingToPlanError
from skerry.plan.simulate.fleet_arrays import FleetArrays, Floats
from skerry.plan.simulate.world import WEEK_H, normal
from skerry.plan.trace import Trace

_NEAR_WHOLE: Final = 0.98
"""A day's last request comes a little before its end."""


def asked_by(fleet: FleetArrays, trace: Trace) -> tuple[FleetArrays, Floats, str]:
    """Return the fleet with a trace's load, the week's weights, and a note of how."""
    sites = {name: index for index, name in enumerate(fleet.site_names)}
    flows = {pair: index for index, pair in enumerate(fleet.flow_names)}
    site = np.array([sites.get(name, -1) for name in trace.sites])[trace.site]
    pairs = [
        [flows.get((model, name), -1) for name in trace.data_classes] for model in trace.models
    ]
    flow = np.array(pairs)[trace.model, trace.data_class]
    known = (site >= 0) & (flow >= 0)
    if not known.any():
        raise NothingToPlanError(fleet.name, "no request of the trace is from an asking site")
    counts = np.zeros((fleet.sites, len(fleet.flow_names)))
    np.add.at(counts, (site[known], flow[known]), 1.0)
    sizes = np.zeros(len(fleet.flow_names))
    np.add.at(sizes, flow[known], trace.content_bytes[known].astype(np.float64))
    by_flow = counts.sum(axis=0)
    asked = counts.sum(axis=1)
    days = max(trace.span_s, 1.0) / SECONDS_PER_DAY
    if days >= _NEAR_WHOLE:
        days = max(round(days), 1) if days % 1 > _NEAR_WHOLE else days
    mix = np.where(
        asked[:, None] > 0, counts / np.maximum(asked, 1.0)[:, None], by_flow / by_flow.sum()
    )
    hour = (trace.arrival_s[known] / SECONDS_PER_HOUR).astype(np.int64)
    if days >= 7 * _NEAR_WHOLE:
        weights = normal(np.bincount(hour % WEEK_H, minlength=WEEK_H).astype(np.float64))
        shape = "its hours of the week"
    elif days >= _NEAR_WHOLE:
        weights = normal(np.tile(np.bincount(hour % 24, minlength=24).astype(np.float64), 7))
        shape = "its hours of the day, every day alike"
    else:
        weights, shape = np.ones(WEEK_H), "its mean rate at every hour, as it is under a day long"
    loaded = replace(
        fleet,
        requests_per_day=asked / days,
        flow_share=mix,
        content_bytes=np.where(by_flow > 0, sizes / np.maximum(by_flow, 1.0), fleet.content_bytes),
    )
    left = int((~known).sum())
    said = f"{trace.source}: {len(trace)} requests, {shape}"
    if left:
        said += f"; {left} of them, not from an asking site or of no class of their model, left out"
    return loaded, weights, said
