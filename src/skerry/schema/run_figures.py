"""Measured figures of a run, which `skerry plan --from-run` puts in place of its tables."""

import msgspec

from skerry.schema.goal import GoalRecord

RUN_FIGURES_SCHEMA = "skerry.run-figures/1"


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one run measured: the mean time of one run per model, and goals."""

    schema: str = RUN_FIGURES_SCHEMA
    at_unix_s: float
    service_ms: dict[str, float] = {}
    goals: tuple[GoalRecord, ...] = ()
