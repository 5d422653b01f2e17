"""The story's record: everything a run from an empty folder to a verdict has shown.

`skerry demo` writes it as `story.json`; `skerry report story` makes the page from it, at
any later time and on any machine.
"""

import msgspec

from skerry.schema.drill import DrillRecord
from skerry.schema.goal import GoalRecord
from skerry.schema.pilot import Comparison

STORY_SCHEMA = "skerry.story/1"


class StoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the story, how long it took, and what it came to in a few words."""

    name: str
    duration_s: float
    text: str = ""
    ok: bool = True


class TierRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one tier served under the story's traffic, as the clients saw it."""

    tier: str
    requests: int
    failed: int
    local_ratio: float | None
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    latency_ms_p99: float | None
    offered_per_s: float
    accuracy_ratio: float | None


class LatencyPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The p95 of one stretch of traffic; `at_s` counts from the start of the traffic."""

    at_s: float
    latency_ms_p95: float


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A moment worth a line on the latency chart: a drill, a release, a revert."""

    at_s: float
    text: str


class ReleaseNote(msgspec.Struct, frozen=True, kw_only=True):
    """One signed change: what it was, what became of it, and in how long."""

    change: str
    outcome: str
    duration_s: float
    text: str = ""
    rings_reached: int = 0


class StoryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole story."""

    schema: str = STORY_SCHEMA
    fleet: str
    at_unix_s: float
    duration_s: float
    machine: str
    version: str
    seed: int
    steps: tuple[StoryStep, ...]
    tiers: tuple[TierRow, ...]
    goals: tuple[GoalRecord, ...]
    comparisons: tuple[Comparison, ...] = ()
    drills: tuple[DrillRecord, ...]
    releases: tuple[ReleaseNote, ...]
    latency: tuple[LatencyPoint, ...] = ()
    marks: tuple[Mark, ...] = ()
    facts: dict[str, str] = {}
    """Other figures worth a line, with their unit in the text: `agent memory` to `48 MB`."""
    limits: tuple[str, ...] = ()
    """What the figures cannot show, one sentence each."""
    processes_left: int
    verdict: str
    exit_code: int
    exit_reason: str
