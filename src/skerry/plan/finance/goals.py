"""The goals that a cost plan predicts: cost and energy per 1,000, with the cloud beside them.

Units:   USD and Wh per 1,000 requests, as the goals' names say.
"""

import math
from typing import Final

from skerry.plan.finance.found import Found, Range, one
from skerry.plan.finance.tiers import FLEET
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.run_figures import RunFigures

_CONFIDENCE: Final = 0.8
"""Share of draws between p10 and p90."""


def goals_of(facts: Found, run: RunFigures | None, now_s: float) -> tuple[GoalRecord, ...]:
    """Return each goal as the fleet as it stands would meet it; the cloud is the baseline."""
    measured = {goal.name: goal.measured for goal in run.goals} if run else {}
    found = {
        GoalName.COST_USD_PER_1K: _cost,
        GoalName.ENERGY_WH_PER_1K: _energy,
    }
    cloud = facts.against.cloud
    return tuple(
        GoalRecord(
            name=name,
            goal=facts.case.fleet.goals.get(name),
            predicted=figure(facts, FLEET, now_s),
            measured=measured.get(name),
            baseline=figure(facts, cloud, now_s) if cloud else None,
            reason="predicted, not measured",
        )
        for name, figure in found.items()
    )


def _cost(facts: Found, name: str, now_s: float) -> Figure | None:
    source = f"cash-flow rows; p10 to p90 of {facts.draws} PERT draws"
    return _figure(facts.usd_per_1k[name], source, now_s, draws=facts.draws)


def _energy(facts: Found, name: str, now_s: float) -> Figure | None:
    used_wh = one(facts.base[name].energy_wh_per_1k())
    return _figure((used_wh, used_wh, used_wh), "power and PUE curves", now_s)


def _figure(values: Range, source: str, now_s: float, *, draws: int | None = None) -> Figure | None:
    low, middle, high = values
    if not math.isfinite(high):
        return None
    return Figure(
        value=middle,
        low=low,
        high=high,
        level=Level.ESTIMATE,
        source=source,
        at_unix_s=now_s,
        confidence=_CONFIDENCE if draws else None,
        samples=draws,
    )
