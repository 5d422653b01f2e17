"""How many answers a tier gives in time when the trace itself is replayed on it.

The formula in `finance.work` takes traffic for smooth within each step; a replay does
not. Where the trace's own load fits the machines of the fleet file, the replay's share
takes the place of the formula's (`finance.in_time`), and the report shows both.

Units:   milliseconds; shares are fractions of the requests sent.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from skerry.base.units import MS_PER_SECOND
from skerry.plan.finance.cash_flow import Series, Value
from skerry.plan.finance.demand import demand_of
from skerry.plan.finance.in_time import Check
from skerry.plan.finance.tiers import Case
from skerry.plan.finance.work import is_by_request
from skerry.plan.replay import replay
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet

REPLAY_MAX: Final = 100_000
SAME_LOAD: Final = 0.05
"""A trace is replayed where its own load is within this share of the load asked about."""


def checks_of(
    case: Case,
    trace: Trace,
    inputs: Mapping[str, Value],
    *,
    services_s: Mapping[str, float],
    seed: int,
) -> dict[str, Check]:
    """Replay the trace on every tier alone; those that need more machines are left out.

    Nothing is replayed where no latency is asked for, or where the trace's own load is not
    the one that is asked about.
    """
    load = demand_of(trace, services_s=services_s).requests_per_month
    alike = math.isclose(load, case.demand.requests_per_month, rel_tol=SAME_LOAD)
    if not alike or math.isinf(case.target_s) or len(trace) > REPLAY_MAX:
        return {}
    found = {}
    for name, places in case.alone.items():
        cost = case.cost(name, inputs)
        if is_by_request(places.tier, inputs):
            continue
        if float(cost.work.machines) > float((places.nodes * places.count).sum()) + 1e-9:
            continue
        latencies_ms = replayed_ms(
            case.fleet,
            trace,
            name,
            asking=frozenset(places.demand.sites),
            services_s=services_s,
            seed=seed,
        )
        found[name] = Check(
            formula_ratio=float(np.asarray(cost.in_time_ratio())),
            replay_ratio=float((latencies_ms <= case.target_s * MS_PER_SECOND).mean()),
            replay_ms=latencies_ms,
        )
    return found


def corrected(case: Case, checks: Mapping[str, Check]) -> Case:
    """Return a case whose answers in time are those of the replay, at the load replayed."""
    return replace(case, checks=checks)


def at_goal(case: Case, inputs: Mapping[str, Value], target_s: float) -> Case:
    """Return the case under another latency goal, its replays judged by that one."""
    other = replace(case, target_s=target_s, checks={})
    checks = {
        name: replace(
            check,
            formula_ratio=float(np.asarray(other.cost(name, inputs).in_time_ratio())),
            replay_ratio=float((check.replay_ms <= target_s * MS_PER_SECOND).mean()),
        )
        for name, check in case.checks.items()
    }
    return replace(other, checks=checks)


def replayed_ms(
    fleet: Fleet,
    trace: Trace,
    tier: str,
    *,
    asking: frozenset[str],
    services_s: Mapping[str, float],
    seed: int,
) -> Series:
    """Return what every request waits for when one tier alone answers; refused ones for ever.

    Residency is not asked: the question is what the tier could do, not what it may.
    """
    sites = tuple(
        site if site.tier == tier else msgspec.structs.replace(site, nodes=0)
        for site in fleet.sites
    )
    everywhere = frozenset(site.name for site in fleet.sites)
    run = replay(
        msgspec.structs.replace(fleet, sites=sites),
        _asked_by(trace, asking),
        services_s=services_s,
        destinations=lambda _class, _site: everywhere,
        seed=seed,
    )
    return np.append(run.latencies_ms, np.full(sum(run.refused.values()), np.inf))


def _asked_by(trace: Trace, sites: frozenset[str]) -> Trace:
    """Return the rows of some sites."""
    kept = np.isin(trace.site, [i for i, name in enumerate(trace.sites) if name in sites])
    return replace(
        trace,
        arrival_s=trace.arrival_s[kept],
        site=trace.site[kept],
        model=trace.model[kept],
        data_class=trace.data_class[kept],
        content_bytes=trace.content_bytes[kept],
    )
