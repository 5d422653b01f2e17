"""A pilot: the same requests to a fleet and to a baseline, and a verdict per goal.

Latency, local answers and availability come from the requests themselves, with
intervals; energy, carbon and cost come in as figures that already say their level and
range; bytes upstream are counted. Where a link or machine of either arm was emulated,
no verdict of the pilot is better than *emulated*. Two runs of the same arm (A/A) say
*no difference*, and `test_pilot.py` counts how often they do not.

Units:   milliseconds, bytes, watt-hours, grams, USD; per 1,000 requests answered.
Errors:  SampleError, for an arm that answered nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skerry.proof import intervals
from skerry.proof.errors import SampleError
from skerry.proof.verdicts import judged_record
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level, Verdict
from skerry.schema.pilot import ArmSummary, Comparison, PilotRecord

Series = npt.NDArray[np.float64]

METHOD = (
    "p95: nearest rank with a bootstrap interval of 2,000 resamples; ratios: Wilson; "
    "differences: bootstrap and Newcombe; energy, carbon and cost: stated ranges; 95 % confidence"
)
_LIMITS = (
    "requests are taken as independent; bursts make true intervals wider",
    "one run on one day cannot show weeks or seasons",
)
_TABLE_GOALS = (GoalName.ENERGY_WH_PER_1K, GoalName.CARBON_G_PER_1K, GoalName.COST_USD_PER_1K)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PilotArm:
    """What one arm did. `level` is *emulated* where any link or machine of it was."""

    name: str
    level: Level
    source: str
    at_unix_s: float
    latencies_ms: Series
    """One value per answered request."""
    failed: int
    local: int
    """Answered requests that were served at the site they were sent to."""
    upstream_bytes: int
    figures: Mapping[GoalName, Figure]
    """Energy, carbon and cost per 1,000, each with its own level and range."""

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return len(self.latencies_ms)


def judge(
    arm: PilotArm,
    baseline: PilotArm,
    goals: Mapping[GoalName, float],
    *,
    fleet: str,
    seed: int,
    predicted: Mapping[GoalName, Figure] | None = None,
    exclusions: tuple[str, ...] = (),
) -> PilotRecord:
    """Return the pilot's record: figures of both arms, differences and verdicts."""
    rng = np.random.default_rng(seed)
    ours, theirs = _figures(arm, rng), _figures(baseline, rng)
    emulated = Level.EMULATED in (arm.level, baseline.level)
    records = tuple(
        judged_record(
            name,
            goals.get(name),
            measured=ours.get(name),
            baseline=theirs.get(name),
            predicted=(predicted or {}).get(name),
            emulated=emulated,
        )
        for name in GoalName
    )
    records = tuple(_with_enough_samples(record) for record in records)
    return PilotRecord(
        fleet=fleet,
        at_unix_s=arm.at_unix_s,
        arm=_summary(arm),
        baseline=_summary(baseline),
        goals=records,
        comparisons=tuple(_comparisons(arm, baseline, ours, theirs, rng)),
        verdict=_sentence(records, emulated=emulated),
        seed=seed,
        method=METHOD,
        exclusions=exclusions,
        limits=_LIMITS,
    )


def _figures(arm: PilotArm, rng: np.random.Generator) -> dict[GoalName, Figure]:
    if not arm.answered:
        raise SampleError(f"arm {arm.name} answered none of its requests", "at least one answer")
    sent = arm.answered + arm.failed
    upstream = arm.upstream_bytes * 1000 / arm.answered
    figures = {
        GoalName.LATENCY_MS_P95: _figure(arm, intervals.quantile(arm.latencies_ms, 0.95, rng=rng)),
        GoalName.LOCAL_RATIO: _figure(arm, intervals.ratio(arm.local, arm.answered)),
        GoalName.AVAILABILITY_RATIO: _figure(arm, intervals.ratio(arm.answered, sent)),
        GoalName.UPSTREAM_BYTES_PER_1K: Figure(
            value=upstream,
            low=upstream,
            high=upstream,
            level=arm.level,
            source=arm.source,
            at_unix_s=arm.at_unix_s,
            samples=arm.answered,
        ),
    }
    for name in _TABLE_GOALS:
        if name in arm.figures:
            figures[name] = arm.figures[name]
    return figures


def _figure(arm: PilotArm, found: intervals.Interval) -> Figure:
    return Figure(
        value=found.value,
        low=found.low,
        high=found.high,
        level=arm.level,
        source=arm.source,
        at_unix_s=arm.at_unix_s,
        confidence=found.confidence,
        samples=found.samples,
    )


def _with_enough_samples(record: GoalRecord) -> GoalRecord:
    """Take a p95's verdict back where too few requests stand behind its upper end."""
    figure = record.measured
    wanted = intervals.samples_min(0.95)
    if record.name is not GoalName.LATENCY_MS_P95 or figure is None or figure.samples is None:
        return record
    if figure.samples >= wanted:
        return record
    return GoalRecord(
        name=record.name,
        goal=record.goal,
        predicted=record.predicted,
        measured=figure,
        baseline=record.baseline,
        verdict=Verdict.UNKNOWN,
        reason=f"{figure.samples} requests are too few for a p95, wanted {wanted}",
    )


def _comparisons(
    arm: PilotArm,
    baseline: PilotArm,
    ours: Mapping[GoalName, Figure],
    theirs: Mapping[GoalName, Figure],
    rng: np.random.Generator,
) -> list[Comparison]:
    sampled = {
        GoalName.LATENCY_MS_P95: intervals.quantile_difference(
            arm.latencies_ms, baseline.latencies_ms, 0.95, rng=rng
        ),
        GoalName.LOCAL_RATIO: intervals.ratio_difference(
            intervals.ratio(arm.local, arm.answered),
            intervals.ratio(baseline.local, baseline.answered),
        ),
        GoalName.AVAILABILITY_RATIO: intervals.ratio_difference(
            intervals.ratio(arm.answered, arm.answered + arm.failed),
            intervals.ratio(baseline.answered, baseline.answered + baseline.failed),
        ),
    }
    rows = []
    for name in GoalName:
        if name in sampled:
            found = sampled[name]
            rows.append(_compared(name, found.value, found.low, found.high, found.confidence))
        elif name in ours and name in theirs:
            mine, other = ours[name], theirs[name]
            rows.append(
                _compared(
                    name,
                    mine.value - other.value,
                    mine.low - other.high,
                    mine.high - other.low,
                    None,
                )
            )
    return rows


def _compared(
    name: GoalName, value: float, low: float, high: float, confidence: float | None
) -> Comparison:
    word = "lower" if high < 0 else "higher" if low > 0 else "no difference"
    return Comparison(
        name=name, difference=value, low=low, high=high, confidence=confidence, word=word
    )


def _summary(arm: PilotArm) -> ArmSummary:
    p50, p95, p99 = np.percentile(arm.latencies_ms, [50, 95, 99], method="inverted_cdf")
    return ArmSummary(
        name=arm.name,
        level=arm.level,
        requests=arm.answered + arm.failed,
        failed=arm.failed,
        local=arm.local,
        latency_ms_p50=float(p50),
        latency_ms_p95=float(p95),
        latency_ms_p99=float(p99),
        upstream_bytes=arm.upstream_bytes,
    )


def _sentence(records: tuple[GoalRecord, ...], *, emulated: bool) -> str:
    stated = [record for record in records if record.goal is not None]
    met = [r for r in stated if r.verdict in (Verdict.MET, Verdict.MET_EMULATED)]
    missed = [r for r in stated if r.verdict in (Verdict.MISSED, Verdict.MISSED_EMULATED)]
    if not stated:
        return "No verdict: the fleet file states no goal."
    parts = [f"{len(met)} of {len(stated)} goals met"]
    if missed:
        parts.append("missed: " + ", ".join(record.name.value for record in missed))
    unknown = len(stated) - len(met) - len(missed)
    if unknown:
        parts.append(f"{unknown} unknown")
    tail = " (emulated: links were emulated, so nothing here is a measured verdict)"
    return "; ".join(parts) + (tail if emulated else "") + "."
