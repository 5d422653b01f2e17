"""Grading a drill: what was seen, against what was promised.

A plain function of observations: the drill runner injects the fault and watches from
the clients' side; nothing here talks to a fleet. A promise that nobody looked at
(`seen` is None) is broken, so a drill cannot pass by not looking.

Units:   milliseconds, seconds, counts; ratios are 0 to 1; yes is 1 and no is 0.
Source:  the limits of DESIGN sections 5 and 8.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.schema.drill import DrillKind, DrillRecord, Promise

KILL_LATENCY_MS_P95 = 50.0
COLD_START_S = 3.0
BLACK_HOLE_FACTOR = 2.0
YES, NO = 1.0, 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOutcome:
    """One request as its client saw it, retries and hedges included."""

    client: str
    latency_ms: float
    ok: bool
    local: bool
    """Answered at the site it was sent to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillSeen:
    """Everything that was seen of one drill. None means that nobody looked."""

    kind: DrillKind
    target: str
    started_unix_s: float
    duration_s: float
    outcomes: tuple[ClientOutcome, ...] = ()
    """Requests while the fault was on."""
    healthy_ms: tuple[float, ...] = ()
    """Latencies of the same traffic just before the fault."""
    lost: int | None = None
    twice: int | None = None
    leaked: int | None = None
    reverted: bool | None = None
    rings_reached: int | None = None
    refused: bool | None = None
    """Refused, and by the name that this attack deserves."""
    changed: int | None = None
    """Things on the node that differ from before the attack."""
    first_answer_s: float | None = None
    others_alive: int | None = None
    """Processes of the fleet, beside the site's own, that were alive at the first answer."""
    followed: int | None = None
    """Nodes that are in sync with a central that was restored from its backup."""
    nodes: int | None = None
    timeline: tuple[str, ...] = ()


def grade(seen: DrillSeen) -> DrillRecord:
    """Return the record of a drill, each promise kept or broken."""
    promises = (*_always(seen), *_PROMISES[seen.kind](seen))
    answered = np.array([one.latency_ms for one in seen.outcomes if one.ok])
    p50, p95, p99 = (_percentile(answered, q) for q in (50, 95, 99))
    return DrillRecord(
        kind=seen.kind,
        target=seen.target,
        started_unix_s=seen.started_unix_s,
        duration_s=seen.duration_s,
        requests=len(seen.outcomes),
        failed=sum(not one.ok for one in seen.outcomes),
        lost=seen.lost or 0,
        twice=seen.twice or 0,
        leaked=seen.leaked or 0,
        latency_ms_p50=p50,
        latency_ms_p95=p95,
        latency_ms_p99=p99,
        promises=promises,
        passed=all(promise.kept for promise in promises),
        timeline=seen.timeline,
    )


def _always(seen: DrillSeen) -> tuple[Promise, ...]:
    """Return what every drill promises: traffic, and nothing failed, lost, doubled or leaked."""
    return (
        _at_least("requests sent", "requests", 1, len(seen.outcomes)),
        _at_most("failed", "requests", 0, sum(not one.ok for one in seen.outcomes)),
        _at_most("lost", "records", 0, seen.lost),
        _at_most("twice", "records", 0, seen.twice),
        _at_most("leaked", "requests", 0, seen.leaked),
    )


def _wan_cut(seen: DrillSeen) -> tuple[Promise, ...]:
    local = sum(one.ok and one.local for one in seen.outcomes)
    share = local / len(seen.outcomes) if seen.outcomes else None
    return (_at_least("answered locally", "ratio", 1.0, share),)


def _black_hole(seen: DrillSeen) -> tuple[Promise, ...]:
    healthy = np.array(seen.healthy_ms)
    healthy_p95, healthy_p99 = _percentile(healthy, 95), _percentile(healthy, 99)
    p99 = _percentile(np.array([one.latency_ms for one in seen.outcomes]), 99)
    if healthy_p95 is None or healthy_p99 is None or p99 is None:
        return (
            _at_most("p99 added", "ms", 0, None),
            _at_most("slow requests of the worst client", "requests", 1, None),
        )
    limit_ms = BLACK_HOLE_FACTOR * healthy_p95
    slow_ms = healthy_p99 + limit_ms
    slow = Counter(one.client for one in seen.outcomes if one.latency_ms > slow_ms)
    return (
        _at_most("p99 added", "ms", limit_ms, max(0.0, p99 - healthy_p99)),
        _at_most("slow requests of the worst client", "requests", 1, max(slow.values(), default=0)),
    )


def _node_kill(seen: DrillSeen) -> tuple[Promise, ...]:
    p95 = _percentile(np.array([one.latency_ms for one in seen.outcomes]), 95)
    return (_at_most("p95 of all requests", "ms", KILL_LATENCY_MS_P95, p95),)


def _upstream_down(_: DrillSeen) -> tuple[Promise, ...]:
    """Return nothing more: that records arrive afterwards is `lost` and `twice`."""
    return ()


def _bad_release(seen: DrillSeen) -> tuple[Promise, ...]:
    return (
        _at_least("reverted with no human", "yes", YES, _yes(seen.reverted)),
        _at_most("rings reached", "rings", 1, seen.rings_reached),
    )


def _forged_update(seen: DrillSeen) -> tuple[Promise, ...]:
    return (
        _at_least("refused by name", "yes", YES, _yes(seen.refused)),
        _at_most("things changed", "things", 0, seen.changed),
    )


def _cold_start(seen: DrillSeen) -> tuple[Promise, ...]:
    return (
        _at_most("first answer", "s", COLD_START_S, seen.first_answer_s),
        _at_most("others alive", "processes", 0, seen.others_alive),
    )


def _lose_central(seen: DrillSeen) -> tuple[Promise, ...]:
    return (
        _at_least(
            "nodes that follow the restored central", "nodes", seen.nodes or 1, seen.followed
        ),
    )


_PROMISES: dict[DrillKind, Callable[[DrillSeen], tuple[Promise, ...]]] = {
    DrillKind.WAN_CUT: _wan_cut,
    DrillKind.BLACK_HOLE: _black_hole,
    DrillKind.NODE_KILL: _node_kill,
    DrillKind.REGION_DOWN: _upstream_down,
    DrillKind.CENTRAL_DOWN: _upstream_down,
    DrillKind.BAD_RELEASE: _bad_release,
    DrillKind.FORGED_UPDATE: _forged_update,
    DrillKind.COLD_START: _cold_start,
    DrillKind.LOSE_CENTRAL: _lose_central,
}


def _at_most(name: str, unit: str, limit: float, seen: float | None) -> Promise:
    kept = seen is not None and seen <= limit
    return Promise(name=name, unit=unit, limit=limit, seen=seen, kept=kept)


def _at_least(name: str, unit: str, limit: float, seen: float | None) -> Promise:
    kept = seen is not None and seen >= limit
    return Promise(name=name, unit=unit, limit=limit, seen=seen, kept=kept, at_least=True)


def _yes(fact: bool | None) -> float | None:
    return None if fact is None else (YES if fact else NO)


def _percentile(values: NDArray[np.float64], q: float) -> float | None:
    """Return a percentile of what was seen: the nearest rank, never a value in between."""
    return float(np.percentile(values, q, method="inverted_cdf")) if len(values) else None
