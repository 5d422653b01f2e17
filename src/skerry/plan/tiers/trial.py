"""One tier on trial: a trace replayed with models placed on that tier and nowhere else.

Three levels can answer a site: the site itself, its region, a cloud; their order is
production's (`fleet.place.tier_order`). A trial asks what each would do if it might, so the
replay lets every class travel; how many requests residency would really let go there is
counted beside it, by the production table. Nothing but the placement differs from the
fleet file.

Units:   ms, USD, Wh, g CO2e, bytes; ratios are shares of the requests sent.
Source:  `plan.replay` (admission, routing, queues), `plan.finance` (power, prices).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.fleet.desired import policy_of
from skerry.fleet.place import fallbacks, tiers_of
from skerry.plan.bill import Bill, bill
from skerry.plan.predict import engine_for
from skerry.plan.replay import Replayed
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet, Kind, Site
from skerry.trust.residency import ResidencyTable


class Level(StrEnum):
    """Who answers a request, nearest first."""

    LOCAL = "on site"
    REGION = "regional"
    CLOUD = "cloud"


LEVEL_OF: Final = {
    Kind.EDGE: Level.LOCAL,
    Kind.ONPREM: Level.LOCAL,
    Kind.REGIONAL: Level.REGION,
    Kind.CLOUD: Level.CLOUD,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """What a level did with a trace: what no price, policy or goal could change."""

    level: Level
    tiers: tuple[str, ...]
    trace: Trace
    run: Replayed

    @property
    def sent(self) -> int:
        """Requests of the trace."""
        return len(self.trace)

    @property
    def answered_ratio(self) -> float:
        """Share of the requests that got an answer."""
        return self.run.answered / max(self.sent, 1)

    def latency_ms(self, percent: float) -> float:
        """Return a percentile of the latency of answered requests; NaN where there is none."""
        if not self.run.answered:
            return math.nan
        return float(np.percentile(self.run.latencies_ms, percent, method="inverted_cdf"))

    def in_time(self, limit_ms: float | None) -> int:
        """Return how many requests were answered within a limit."""
        if limit_ms is None:
            return self.run.answered
        return int((self.run.latencies_ms <= limit_ms).sum())

    def peak_load(self, fleet: Fleet) -> float:
        """Return the busiest step's load of the busiest site of these tiers, 0 to 1."""
        loads = [
            float(self.run.load[site.name].max())
            for site in fleet.sites
            if site.tier in self.tiers and site.nodes
        ]
        return max(loads, default=0.0)


class Journeys(NamedTuple):
    """Where a level's answers come from, in requests."""

    allowed: int
    """Those that residency lets this level answer."""
    at_home: int
    """Those answered in the jurisdiction they were asked in."""
    barred: tuple[str, ...]
    """The data classes that residency keeps from it."""


def levels_of(fleet: Fleet, trace: Trace) -> dict[Level, tuple[str, ...]]:
    """Return the levels that can answer the trace's sites, and the tiers of each."""
    found: dict[Level, list[str]] = {}
    beside = fallbacks(fleet)
    for name in asked_at(trace):
        site = fleet.site(name)
        for tier in tiers_of((site, *beside[name])):
            kept = found.setdefault(LEVEL_OF[fleet.tiers[tier].kind], [])
            if tier not in kept:
                kept.append(tier)
    return {level: tuple(found[level]) for level in Level if level in found}


def asked_at(trace: Trace) -> tuple[str, ...]:
    """Return the sites that the trace's requests come from."""
    return tuple(trace.sites[place] for place in np.unique(trace.site))


def place_from(fleet: Fleet, trace: Trace, model: str, level: Level) -> tuple[str, ...]:
    """Return the tiers that a model goes on so that a level answers: its own, then its fallbacks'.

    A fallback is kept where residency lets some of the model's classes go; the gate refuses
    the others request by request.
    """
    destinations = ResidencyTable(policy_of(fleet, generation=0)).destinations
    classes = next(one.data_classes for one in fleet.models if one.name == model)
    order, beside = list(Level), fallbacks(fleet)
    kept: list[str] = []
    for later in order[order.index(level) :]:
        for name in asked_at(trace):
            server = answers(fleet.site(name), beside[name], later)
            if server is None or server.tier in kept:
                continue
            if later is level or any(server.name in destinations(one, name) for one in classes):
                kept.append(server.tier)
    return tuple(kept)


def try_level(
    fleet: Fleet,
    trace: Trace,
    level: Level,
    tiers: tuple[str, ...],
    *,
    services_s: Mapping[str, float],
    seed: int,
) -> Trial:
    """Replay a trace with the models that it asks for on some tiers only, without stand-ins."""
    asked = {trace.models[place] for place in np.unique(trace.model)}
    models = tuple(
        msgspec.structs.replace(model, tiers=tiers, standin=None)
        for model in fleet.models
        if model.name in asked
    )
    alone = msgspec.structs.replace(fleet, models=models)
    everyone = frozenset(site.name for site in fleet.sites)
    engine = engine_for(len(trace) * len(Level))
    run = engine.replay(
        alone, trace, services_s=services_s, destinations=lambda *_: everyone, seed=seed
    )
    return Trial(level=level, tiers=tiers, trace=trace, run=run)


def bill_of(fleet: Fleet, trials: Iterable[Trial]) -> Bill:
    """Return what the tiers of trials cost together, each tier once, at the loads of all.

    Every site of a tier is paid for in full, however little it did.
    """
    load: dict[str, NDArray[np.float64]] = {}
    tiers: set[str] = set()
    span_s = 0.0
    for trial in trials:
        tiers.update(trial.tiers)
        span_s = trial.run.span_s
        for site, one in trial.run.load.items():
            load[site] = np.minimum(load[site] + one, 1.0) if site in load else one
    sites = tuple(site for site in fleet.sites if site.tier in tiers)
    kept = msgspec.structs.replace(fleet, sites=sites)
    return bill(kept, load, span_s=span_s, kinds=frozenset(Kind))


def journeys(fleet: Fleet, trial: Trial) -> Journeys:
    """Count what may go where a level answers; residency is asked once per site and class."""
    trace = trial.trace
    destinations = ResidencyTable(policy_of(fleet, generation=0)).destinations
    beside = fallbacks(fleet)
    pairs, counts = np.unique(np.stack([trace.site, trace.data_class]), axis=1, return_counts=True)
    allowed = at_home = 0
    barred: dict[str, None] = {}
    for (site, data_class), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        origin = fleet.site(trace.sites[site])
        server = answers(origin, beside[origin.name], trial.level)
        if server is None:
            continue
        if server.name in destinations(trace.data_classes[data_class], origin.name):
            allowed += count
        else:
            barred[trace.data_classes[data_class]] = None
        at_home += count * (server.jurisdiction == origin.jurisdiction)
    return Journeys(allowed, at_home, tuple(barred))


def answers(origin: Site, beside: tuple[Site, ...], level: Level) -> Site | None:
    """Return the site that answers for an origin on a level: the first in production's order."""
    return next((one for one in (origin, *beside) if LEVEL_OF[one.kind] is level), None)


def of_model(trace: Trace, model: str) -> Trace:
    """Return the requests to one model."""
    return _part(trace, trace.model == trace.models.index(model), 0.0, trace.span_s)


def halves(trace: Trace) -> tuple[Trace, Trace]:
    """Return the first and the second half of a trace by time, each from 0 s."""
    middle = trace.span_s / 2
    early = trace.arrival_s < middle
    return _part(trace, early, 0.0, middle), _part(trace, ~early, middle, trace.span_s - middle)


def _part(trace: Trace, kept: NDArray[np.bool_], begins_s: float, span_s: float) -> Trace:
    return Trace(
        source=trace.source,
        span_s=span_s,
        sites=trace.sites,
        models=trace.models,
        data_classes=trace.data_classes,
        arrival_s=trace.arrival_s[kept] - begins_s,
        site=trace.site[kept],
        model=trace.model[kept],
        data_class=trace.data_class[kept],
        content_bytes=trace.content_bytes[kept],
    )
