"""Pilot records: the same requests to two arms, what each did, and the verdict per goal."""

import msgspec

from skerry.schema.goal import GoalName, GoalRecord, Level

PILOT_SCHEMA = "skerry.pilot/1"


class ArmSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of a pilot. `level` is *emulated* where any link or machine of it was."""

    name: str
    level: Level
    requests: int
    failed: int
    local: int
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    latency_ms_p99: float | None
    upstream_bytes: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Fleet minus baseline for one goal, in the goal's unit, with its interval.

    `word` is `lower`, `higher`, `no difference` or `unknown`; `confidence` is None where
    the interval is a stated range and no sampling stands behind it.
    """

    name: GoalName
    difference: float
    low: float
    high: float
    confidence: float | None
    word: str


class PilotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One pilot, from its arms to its verdict in a sentence."""

    schema: str = PILOT_SCHEMA
    fleet: str
    at_unix_s: float
    arm: ArmSummary
    baseline: ArmSummary
    goals: tuple[GoalRecord, ...]
    comparisons: tuple[Comparison, ...]
    verdict: str
    seed: int
    method: str
    exclusions: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
