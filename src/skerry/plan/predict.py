"""Every goal, predicted: for this fleet, and for a central cloud alone.

One replay per seed; the figure is the median over seeds and its range is theirs. In each
goal record `predicted` is this fleet and `baseline` is the cloud alone; both are level
*estimate*, and no verdict is given before something was measured.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from skerry.energy.carbon import per_1k
from skerry.fleet.desired import policy_of
from skerry.plan import replay as plain
from skerry.plan.bill import SHORT_BILL, Bill, bill, cost_usd_per_1k
from skerry.plan.replay import Replayed
from skerry.plan.services import services_s
from skerry.plan.trace import Trace
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.goal import AT_LEAST, Figure, GoalName, GoalRecord, Level
from skerry.trust.residency import ResidencyTable

Quantiles = tuple[tuple[float, float], ...]
"""Pairs of a percentile, 0 to 100, and the milliseconds that so many answers took at most."""

SEEDS = 5
COMPILED_FROM = 400_000
"""Requests, over all seeds, from which the compiled replay makes up even for compiling it."""
_PERCENTILES = (0, 5, 10, 25, 50, 75, 90, 95, 97, 99, 99.9, 100)
_ALL_KINDS = frozenset(Kind)
_CLOUD = frozenset({Kind.CLOUD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A plan's outcome."""

    goals: tuple[GoalRecord, ...]
    requests: int
    seeds: tuple[int, ...]
    trace: str
    refused: dict[str, int]
    """Requests of the first seed that this fleet would not answer, by reason."""
    standin: int
    bill: Bill
    cloud_bill: Bill | None
    latencies_ms: Quantiles
    """Of the first seed, for this fleet; and for the cloud alone."""
    cloud_latencies_ms: Quantiles
    load: Mapping[str, tuple[float, ...]]
    """Site to mean utilisation of its nodes over the trace, of the first seed."""
    span_s: float
    notes: tuple[str, ...]


def predict(
    fleet: Fleet,
    traces: Callable[[int], Trace],
    *,
    seeds: Sequence[int],
    service_ms: Mapping[str, float] | None = None,
    clock: Callable[[], float] = time.time,
) -> Prediction:
    """Replay a trace per seed and return every goal's prediction.

    `traces` gives the trace of a seed: a file's is the same for each.
    """
    services = services_s(fleet, service_ms)
    destinations = ResidencyTable(policy_of(fleet, generation=0)).destinations
    limit_ms = fleet.goals.get(GoalName.LATENCY_MS_P95)
    has_cloud = any(site.kind is Kind.CLOUD and site.nodes for site in fleet.sites)
    ours: list[dict[GoalName, float]] = []
    cloud: list[dict[GoalName, float]] = []
    first: tuple[Trace, Replayed, Bill] | None = None
    cloud_bill: Bill | None = None
    cloud_quantiles: Quantiles = ()
    for seed in seeds:
        trace = traces(seed)
        engine = engine_for(len(trace) * len(seeds))
        run = engine.replay(fleet, trace, services_s=services, destinations=destinations, seed=seed)
        used = bill(fleet, run.load, span_s=run.span_s, kinds=_ALL_KINDS)
        ours.append(_values(run, used, limit_ms))
        first = first or (trace, run, used)
        if has_cloud:
            alone = engine.replay_cloud_only(fleet, trace, services_s=services, seed=seed)
            used = bill(fleet, alone.load, span_s=alone.span_s, kinds=_CLOUD)
            cloud_bill = cloud_bill or used
            cloud_quantiles = cloud_quantiles or _quantiles(alone)
            cloud.append(_values(alone, used, limit_ms))
    if first is None:
        raise ValueError("a prediction needs at least one seed")
    trace, run, used = first
    now_s = clock()
    how = "measured" if service_ms else "stated"
    source = f"replay of {len(seeds)} seeds; {how} service times; stated prices and round trips"
    return Prediction(
        goals=tuple(
            GoalRecord(
                name=name,
                goal=fleet.goals.get(name),
                predicted=_figure(name, ours, source, now_s, len(trace)),
                baseline=_figure(name, cloud, source, now_s, len(trace)),
                reason="predicted, not measured",
            )
            for name in GoalName
        ),
        requests=len(trace),
        seeds=tuple(seeds),
        trace=trace.source,
        refused=run.refused,
        standin=run.standin,
        bill=used,
        cloud_bill=cloud_bill,
        latencies_ms=_quantiles(run),
        cloud_latencies_ms=cloud_quantiles,
        load={site: tuple(steps.tolist()) for site, steps in run.load.items()},
        span_s=run.span_s,
        notes=(
            *_notes(run, has_cloud=has_cloud),
            *_cost_notes(ours, cloud, used, cloud_bill),
            SHORT_BILL,
        ),
    )


def meets(name: GoalName, goal: float | None, figure: Figure | None) -> bool | None:
    """Tell whether a whole range meets a goal; None where it reaches to both sides of it."""
    if goal is None or figure is None:
        return None
    good, bad = (
        (figure.low >= goal, figure.high < goal)
        if name in AT_LEAST
        else (figure.high <= goal, figure.low > goal)
    )
    return True if good else False if bad else None


def prediction_errors(
    predicted: Sequence[GoalRecord], measured: Sequence[GoalRecord]
) -> dict[GoalName, float]:
    """Return predicted over measured, minus 1, for each goal that both know."""
    seen = {one.name: one.measured for one in measured if one.measured is not None}
    errors = {}
    for one in predicted:
        truth = seen.get(one.name)
        if one.predicted is not None and truth is not None and truth.value:
            errors[one.name] = one.predicted.value / truth.value - 1
    return errors


def engine_for(requests: int) -> ModuleType:
    """Return the module that replays: both give the same figures, to the last bit."""
    if requests < COMPILED_FROM:
        return plain
    from skerry.plan import replay_compiled

    return replay_compiled


def _values(run: Replayed, used: Bill, limit_ms: float | None) -> dict[GoalName, float]:
    answered, sent = run.answered, run.answered + sum(run.refused.values())
    if not answered:
        return {GoalName.AVAILABILITY_RATIO: 0.0} if sent else {}
    latencies = run.latencies_ms
    in_time = answered if limit_ms is None else int((latencies <= limit_ms).sum())
    found = {
        GoalName.LATENCY_MS_P95: float(np.percentile(latencies, 95, method="inverted_cdf")),
        GoalName.LOCAL_RATIO: run.local / answered,
        GoalName.AVAILABILITY_RATIO: answered / sent,
        GoalName.ENERGY_WH_PER_1K: per_1k(used.energy_wh, answered),
        GoalName.CARBON_G_PER_1K: per_1k(used.carbon_g, answered),
        GoalName.COST_USD_PER_1K: cost_usd_per_1k(used, in_time),
        GoalName.UPSTREAM_BYTES_PER_1K: per_1k(run.upstream_bytes, answered),
    }
    return {name: value for name, value in found.items() if value is not None}


def _quantiles(run: Replayed) -> Quantiles:
    if not run.answered:
        return ()
    values = np.percentile(run.latencies_ms, _PERCENTILES, method="inverted_cdf")
    return tuple(zip(map(float, _PERCENTILES), values.tolist(), strict=True))


def _figure(
    name: GoalName,
    runs: Sequence[Mapping[GoalName, float]],
    source: str,
    now_s: float,
    requests: int,
) -> Figure | None:
    values = [run[name] for run in runs if name in run]
    if not values:
        return None
    return Figure(
        value=statistics.median(values),
        low=min(values),
        high=max(values),
        level=Level.ESTIMATE,
        source=source,
        at_unix_s=now_s,
        samples=requests,
    )


def _cost_notes(
    ours: Sequence[Mapping[GoalName, float]],
    cloud: Sequence[Mapping[GoalName, float]],
    our_bill: Bill,
    cloud_bill: Bill | None,
) -> list[str]:
    """Say where nobody was answered in time, so that a cost per request does not exist."""
    notes = []
    for name, runs, one in (("this fleet", ours, our_bill), ("cloud only", cloud, cloud_bill)):
        answered = any(GoalName.LATENCY_MS_P95 in run for run in runs)
        if one and answered and not any(GoalName.COST_USD_PER_1K in run for run in runs):
            whole = f"it costs {one.total_usd:.2f} USD in all"
            notes.append(f"{name}: no answer met the latency goal, so none has a cost; {whole}")
    return notes


def _notes(run: Replayed, *, has_cloud: bool) -> tuple[str, ...]:
    notes = []
    if not run.answered:
        notes.append("no request was answered, so nothing can be said per 1,000")
    if not has_cloud:
        notes.append("the fleet has no cloud node, so there is no baseline")
    notes.extend(
        f"{count} of the first seed's requests refused: {reason}"
        for reason, count in sorted(run.refused.items())
    )
    return tuple(notes)
