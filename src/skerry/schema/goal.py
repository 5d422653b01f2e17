"""Goal records: what was wanted, what was predicted, what was measured, and how sure we are.

One record type carries the goals of the fleet file through the whole house: `plan`
fills `predicted`, rollout gates and `status` fill `measured`, the pilot fills
`baseline` and `verdict`. A figure always says its level, source and age, so an
emulated baseline can never pass for a measured one.
"""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How a figure came about, strongest first."""

    MEASURED = "measured"
    ESTIMATE = "estimate"
    STATED = "stated"
    EMULATED = "emulated"


class Verdict(StrEnum):
    """What a goal came to. A verdict on emulated figures says so in its own word."""

    MET = "met"
    MISSED = "missed"
    UNKNOWN = "unknown"
    MET_EMULATED = "met (emulated)"
    MISSED_EMULATED = "missed (emulated)"


class GoalName(StrEnum):
    """The goals a fleet file can state; the suffix of each field below is its unit."""

    LATENCY_MS_P95 = "latency_ms_p95"
    LOCAL_RATIO = "local_ratio"
    COST_USD_PER_1K = "cost_usd_per_1k"
    ENERGY_WH_PER_1K = "energy_wh_per_1k"
    CARBON_G_PER_1K = "carbon_g_per_1k"
    AVAILABILITY_RATIO = "availability_ratio"
    UPSTREAM_BYTES_PER_1K = "upstream_bytes_per_1k"


AT_LEAST = frozenset({GoalName.LOCAL_RATIO, GoalName.AVAILABILITY_RATIO})
"""Goals that want a value no smaller than stated; the others want one no larger."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its interval, level, source and age.

    `low` and `high` bound the value with the stated `confidence` (0 to 1), or are the
    range over seeds for a prediction; both equal `value` where no interval is known.
    `at_unix_s` is when it was taken; a table's date for stated values.
    """

    value: float
    low: float
    high: float
    level: Level
    source: str
    at_unix_s: float
    confidence: float | None = None
    samples: int | None = None


class GoalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One goal, from the fleet file to the verdict."""

    name: GoalName
    goal: float | None
    predicted: Figure | None = None
    measured: Figure | None = None
    baseline: Figure | None = None
    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""
