"""What a shadow showed: how often two models agree, and how much slower one is.

Agreement is a share with Wilson's interval. Latency is compared request by request: the
median of the differences with its exact interval (that of the sign test), so that slow
and quick requests weigh alike; the tails are compared as two quantiles.

Units:   milliseconds; shares are 0 to 1.
Errors:  none: what was not seen has no figure.
Limits:  requests are taken as independent. A candidate that was measured under other
         load than the primary is compared with that load in it.
"""

from collections.abc import Sequence
from itertools import accumulate

import msgspec
import numpy as np

from skerry.proof.intervals import Interval, median, quantile_difference, ratio, samples_min
from skerry.schema.shadow import DIFFERENCE_EDGES, ShadowRecord

AGREEMENT_SCHEMA = "skerry.agreement/1"
TAIL = 0.95
MEASURED = "measured"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A value, the range that holds the truth, and how sure that is."""

    value: float
    low: float
    high: float
    confidence: float
    samples: int
    level: str = MEASURED


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate beside one primary. A figure is None where too little was seen."""

    schema: str = AGREEMENT_SCHEMA
    model: str
    candidate: str
    version: str
    to: str
    share: float
    requests: int
    sampled: int
    compared: int
    not_compared: dict[str, int]
    """Drawn and not compared, by reason."""
    unlike: int
    same: Figure | None
    """Share of the compared where both gave the same answer."""
    within: Figure | None
    """Share of the compared where every number was within the tolerance."""
    answered: Figure | None
    """Share of the copies sent that the candidate answered."""
    latency_ms_median_difference: Figure | None
    """Candidate minus primary, request by request: below 0 the candidate is quicker."""
    latency_ms_p95_difference: Figure | None
    latency_ms_p50_primary: float | None
    latency_ms_p50_candidate: float | None
    abs_difference_max: float
    rel_difference_max: float
    abs_difference_p50: float | None
    """Half of the answers differ by at most this, from the sketch: an upper bound."""
    abs_difference_p99: float | None
    examples_kept: int
    started_unix_ms: int
    updated_unix_ms: int


def agreement(record: ShadowRecord, *, seed: int = 0) -> Agreement:
    """Return the figures of one record; `seed` is that of the tail's bootstrap."""
    failed = sum(record.failed.values())
    primary = np.array([pair.primary_ms for pair in record.pairs])
    candidate = np.array([pair.candidate_ms for pair in record.pairs])
    tails = len(record.pairs) >= samples_min(TAIL)
    rng = np.random.default_rng(seed)
    return Agreement(
        model=record.model,
        candidate=record.candidate,
        version=record.version,
        to=record.to,
        share=record.share,
        requests=record.requests,
        sampled=record.sampled,
        compared=record.compared,
        not_compared=_not_compared(record),
        unlike=record.unlike,
        same=_share(record.same, record.compared),
        within=_share(record.within, record.compared),
        answered=_share(record.compared, record.compared + failed),
        latency_ms_median_difference=_figure(median(candidate - primary)) if len(primary) else None,
        latency_ms_p95_difference=_figure(quantile_difference(candidate, primary, TAIL, rng=rng))
        if tails
        else None,
        latency_ms_p50_primary=float(np.median(primary)) if len(primary) else None,
        latency_ms_p50_candidate=float(np.median(candidate)) if len(candidate) else None,
        abs_difference_max=record.abs_difference_max,
        rel_difference_max=record.rel_difference_max,
        abs_difference_p50=_bound(record.differences, 0.5, record.abs_difference_max),
        abs_difference_p99=_bound(record.differences, 0.99, record.abs_difference_max),
        examples_kept=record.examples_kept,
        started_unix_ms=record.started_unix_ms,
        updated_unix_ms=record.updated_unix_ms,
    )


def _not_compared(record: ShadowRecord) -> dict[str, int]:
    counts = {
        "queue full": record.dropped,
        "candidate stopped answering": record.paused,
        "part of a sequence, or streamed": record.skipped,
        **{f"may not go there: {why}": count for why, count in record.refused.items()},
        **{f"failed: {code}": count for code, count in record.failed.items()},
    }
    return {why: count for why, count in counts.items() if count}


def _share(hits: int, total: int) -> Figure | None:
    return _figure(ratio(hits, total)) if total else None


def _figure(interval: Interval) -> Figure:
    return Figure(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        confidence=interval.confidence,
        samples=interval.samples,
    )


def _bound(counts: Sequence[int], share: float, largest: float) -> float | None:
    """Return the upper edge of the bucket that a share of the answers lies up to."""
    total = sum(counts)
    if not total:
        return None
    for seen, edge in zip(accumulate(counts), DIFFERENCE_EDGES, strict=False):  # the last: above
        if seen >= share * total:
            return min(edge, largest)
    return largest
