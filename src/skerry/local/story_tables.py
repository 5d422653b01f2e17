"""The story's outcomes as tables: a row per tier, and the p95 over time.

Units: milliseconds, requests per second, seconds since the first request.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from skerry.local.clients import FOLDER
from skerry.local.traffic import Outcome
from skerry.schema.fleet import Fleet
from skerry.schema.story import LatencyPoint, TierRow

LATENCY_POINT_S = 2.0
FOLDERS = "folders"
"""The row of clients that only watch a folder: their latency is that of looking into it."""


def tier_rows(fleet: Fleet, outcomes: Sequence[Outcome], offered_per_s: float) -> Iterator[TierRow]:
    """Yield a row per tier of the client's site, then one for the watched folders."""
    tier_of = {site.name: site.tier for site in fleet.sites}
    groups = {
        tier: [o for o in outcomes if tier_of[o.site] == tier and o.kind != FOLDER]
        for tier in tier_of.values()
    }
    groups[FOLDERS] = [o for o in outcomes if o.kind == FOLDER]
    for name, mine in groups.items():
        if mine:
            yield _row(name, mine, offered_per_s * len(mine) / len(outcomes))


def _row(tier: str, outcomes: Sequence[Outcome], offered_per_s: float) -> TierRow:
    answered = [one for one in outcomes if one.answer is not None]
    latencies = np.array([one.latency_ms for one in answered])
    p50, p95, p99 = (
        np.percentile(latencies, (50, 95, 99), method="inverted_cdf")
        if answered
        else (None, None, None)
    )
    return TierRow(
        tier=tier,
        requests=len(outcomes),
        failed=len(outcomes) - len(answered),
        local_ratio=sum(one.local for one in answered) / len(answered) if answered else None,
        latency_ms_p50=_or_none(p50),
        latency_ms_p95=_or_none(p95),
        latency_ms_p99=_or_none(p99),
        offered_per_s=offered_per_s,
        accuracy_ratio=sum(one.right for one in answered) / len(answered) if answered else None,
    )


def _or_none(value: Any) -> float | None:
    return None if value is None else float(value)


def first_s(outcomes: Sequence[Outcome]) -> float:
    """Return when the first request was due, in seconds since 1970; 0 without any."""
    return min((one.due_unix_s for one in outcomes), default=0.0)


def latency_points(outcomes: Sequence[Outcome]) -> Iterator[LatencyPoint]:
    """Yield the p95 of the people's sites over time."""
    began_s = first_s(outcomes)
    spans: dict[int, list[float]] = {}
    for one in outcomes:
        if one.answer is not None and one.kind != FOLDER:
            spans.setdefault(int((one.due_unix_s - began_s) / LATENCY_POINT_S), []).append(
                one.latency_ms
            )
    for span in sorted(spans):
        p95 = float(np.percentile(spans[span], 95, method="inverted_cdf"))
        yield LatencyPoint(at_s=span * LATENCY_POINT_S, latency_ms_p95=p95)
