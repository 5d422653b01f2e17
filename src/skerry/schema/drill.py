"""Drill records: a fault on purpose, what was promised, what was seen."""

from enum import StrEnum

import msgspec

DRILL_SCHEMA = "skerry.drill/1"


class DrillKind(StrEnum):
    """The faults that can be asked for."""

    WAN_CUT = "wan-cut"
    BLACK_HOLE = "black-hole"
    NODE_KILL = "node-kill"
    REGION_DOWN = "region-down"
    CENTRAL_DOWN = "central-down"
    BAD_RELEASE = "bad-release"
    FORGED_UPDATE = "forged-update"
    COLD_START = "cold-start"
    LOSE_CENTRAL = "lose-central"


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that had to hold, with what was seen. `limit` and `seen` share a unit."""

    name: str
    unit: str
    limit: float
    seen: float | None
    kept: bool
    at_least: bool = False


class DrillRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One drill, graded: passed means that every promise was kept."""

    schema: str = DRILL_SCHEMA
    kind: DrillKind
    target: str
    started_unix_s: float
    duration_s: float
    requests: int
    failed: int
    lost: int
    """*Must keep* records that a node had on disk and central never got."""
    twice: int
    """Records that central counted more than once."""
    leaked: int
    """Requests served where their data class may not go."""
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    latency_ms_p99: float | None
    promises: tuple[Promise, ...]
    passed: bool
    timeline: tuple[str, ...] = ()
