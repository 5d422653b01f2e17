"""Goals from summaries: what `skerry status` shows beside what the fleet file wanted.

Summaries hold counts and latency buckets, so a p95 is known to one bucket (19 % wide)
and its interval is that bucket. Energy is not metered here: the power curve turns the
time that answers took into load. That time includes waiting, so it is the most load
there can have been; the least is none; the figure says *estimate* and its interval is
that range. Carbon and cost follow from it with the fleet file's own tables.

Units:   milliseconds, seconds, watt-hours, grams, USD, bytes; per 1,000 answered.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from skerry.base.units import US_PER_SECOND
from skerry.energy.carbon import carbon_g, per_1k
from skerry.energy.site_cost import site_cost
from skerry.energy.site_energy import site_energy_wh
from skerry.proof.intervals import CONFIDENCE, ratio
from skerry.proof.verdicts import judged_record
from skerry.schema.fleet import Fleet
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.records import LATENCY_EDGES_US, Outcome, Summary

_US_PER_MS = 1000
OWN_FAULT = frozenset({"down", "breaker-open", "deadline", "queue-full", "no-model"})
"""Refusals that cost availability, in the router's words. A refusal by residency or for
malformed input is right and does not."""


@dataclass(slots=True)
class Seen:
    """Summaries, added up. Requests count once: where they were received."""

    answered: int = 0
    local: int = 0
    failed: int = 0
    upstream_bytes: int = 0
    latency_us_sum: int = 0
    buckets: Counter[int] = field(default_factory=Counter)
    busy_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Site to seconds that answers took there, for itself and for others."""


def measured_goals(
    summaries: Iterable[Summary],
    fleet: Fleet,
    *,
    duration_s: float,
    at_unix_s: float,
    level: Level = Level.MEASURED,
    predicted: Mapping[GoalName, Figure] | None = None,
) -> list[GoalRecord]:
    """Return every goal with what was measured over the last `duration_s`.

    `level` is *emulated* for a fleet whose links are. With no answer at all, every
    goal's figure is absent and its verdict *unknown*.
    """
    seen = add_up(summaries)
    figures = _figures(seen, fleet, duration_s=duration_s, at_unix_s=at_unix_s, level=level)
    return [
        judged_record(
            name,
            fleet.goals.get(name),
            measured=figures.get(name),
            predicted=(predicted or {}).get(name),
            emulated=level is Level.EMULATED,
        )
        for name in GoalName
    ]


def add_up(summaries: Iterable[Summary]) -> Seen:
    """Return the sums of like summaries."""
    seen = Seen()
    for one in summaries:
        if one.outcome is Outcome.OK and one.site == one.served_site:
            seen.busy_s[one.site] += one.latency_us_sum / US_PER_SECOND
        if one.forwarded:
            continue  # the site that forwarded them counts them
        if one.outcome is Outcome.OK:
            seen.answered += one.count
            seen.local += one.count * (one.site == one.served_site)
            seen.latency_us_sum += one.latency_us_sum
            seen.buckets.update(one.latency_counts)
        elif one.outcome is Outcome.FAILED or one.reason in OWN_FAULT:
            seen.failed += one.count
        seen.upstream_bytes += one.bytes_upstream
    return seen


def latency_ms(seen: Seen, q: float) -> tuple[float, float, float] | None:
    """Return a latency quantile as value, low and high: the bucket that holds it."""
    total = sum(seen.buckets.values())
    if not total:
        return None
    rank, below = max(1.0, q * total), 0
    for index in sorted(seen.buckets):
        count = seen.buckets[index]
        if below + count >= rank:
            break
        below += count
    low_us = LATENCY_EDGES_US[index - 1] if index else 0
    # The last bucket has no upper edge; no single answer took longer than all together.
    slower = index >= len(LATENCY_EDGES_US)
    high_us = max(seen.latency_us_sum, low_us) if slower else LATENCY_EDGES_US[index]
    part = (rank - below) / count
    value_us = low_us + part * (high_us - low_us)
    return value_us / _US_PER_MS, low_us / _US_PER_MS, high_us / _US_PER_MS


def within(seen: Seen, limit_ms: float | None) -> int:
    """Return how many answers surely met a latency limit; all of them without one."""
    if limit_ms is None:
        return seen.answered
    edges = (*LATENCY_EDGES_US, float("inf"))
    return sum(n for index, n in seen.buckets.items() if edges[index] <= limit_ms * _US_PER_MS)


def _figures(
    seen: Seen, fleet: Fleet, *, duration_s: float, at_unix_s: float, level: Level
) -> dict[GoalName, Figure]:
    figures: dict[GoalName, Figure] = {}

    def note(
        name: GoalName,
        values: tuple[float, float, float] | None,
        how: Level,
        source: str,
        confidence: float | None = None,
    ) -> None:
        if values is not None:
            value, low, high = values
            figures[name] = Figure(
                value=value,
                low=low,
                high=high,
                level=how,
                source=source,
                at_unix_s=at_unix_s,
                confidence=confidence,
                samples=seen.answered,
            )

    sent = seen.answered + seen.failed
    if sent:
        found = ratio(seen.answered, sent)
        values = (found.value, found.low, found.high)
        note(GoalName.AVAILABILITY_RATIO, values, level, "summaries", CONFIDENCE)
    if not seen.answered:
        return figures
    note(GoalName.LATENCY_MS_P95, latency_ms(seen, 0.95), level, "summaries, to one bucket")
    found = ratio(seen.local, seen.answered)
    values = (found.value, found.low, found.high)
    note(GoalName.LOCAL_RATIO, values, level, "summaries", CONFIDENCE)
    upstream = seen.upstream_bytes * 1000 / seen.answered
    note(GoalName.UPSTREAM_BYTES_PER_1K, (upstream, upstream, upstream), level, "summaries")

    least, most = (_use(seen, fleet, duration_s, busy=busy) for busy in (False, True))
    curve = "power curve over answer times"
    energy = _per_1k(least.energy_wh, most.energy_wh, seen.answered)
    note(GoalName.ENERGY_WH_PER_1K, energy, Level.ESTIMATE, curve)
    carbon = _per_1k(least.carbon_g, most.carbon_g, seen.answered)
    note(GoalName.CARBON_G_PER_1K, carbon, Level.ESTIMATE, f"{curve}; grid table")
    met = within(seen, fleet.goals.get(GoalName.LATENCY_MS_P95))
    cost = _per_1k(least.cost_usd, most.cost_usd, met)
    note(GoalName.COST_USD_PER_1K, cost, Level.ESTIMATE, f"{curve}; stated prices")
    return figures


@dataclass(frozen=True, slots=True)
class _Use:
    energy_wh: float
    carbon_g: float
    cost_usd: float


def _use(seen: Seen, fleet: Fleet, duration_s: float, *, busy: bool) -> _Use:
    """Return what the whole fleet used, at its most or at its least possible load."""
    energy_wh = grams = usd = 0.0
    for site in fleet.sites:
        if not site.nodes:
            continue
        tier = fleet.tiers[site.tier]
        load = min(1.0, seen.busy_s[site.name] / (site.nodes * duration_s)) if busy else 0.0
        used = site_energy_wh(
            tier, nodes=site.nodes, utilisation=np.array([load]), span_s=duration_s
        )
        energy_wh += used
        grams += carbon_g(used, grid_g_per_kwh=site.grid_g_per_kwh)
        usd += site_cost(tier, nodes=site.nodes, energy_wh=used, span_s=duration_s).total_usd
    return _Use(energy_wh, grams, usd)


def _per_1k(least: float, most: float, requests: int) -> tuple[float, float, float] | None:
    low, high = per_1k(least, requests), per_1k(most, requests)
    return None if low is None or high is None else (high, low, high)
