"""Rules that a site can follow without a forecast: a fixed hour, or waiting while it is dirty.

Each rule is chosen on the first half of the signal and judged on the second, where only
hindsight knows the best one.

Units:   gCO2e per job at 1 kW, gCO2e/kWh for the limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.plan.energy.shift_kernel import starts_of, while_above
from skerry.plan.energy.signals import Series, Signal
from skerry.plan.regret import regret
from skerry.schema.plan_report import Advice

DAY_H: Final = 24
DAYS_MIN: Final = 14
"""Fewer days than this are no basis for a rule and its judgement."""
PERCENTILES: Final = tuple(range(5, 100, 5))
AT_ONCE: Final = "starting at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRule:
    """Wait while the grid is above a limit; `saved` is realised on the half not seen."""

    limit_g_per_kwh: float
    saved: float
    advice: Advice


def fixed_hour(signal: Signal, zone: str, job_h: int, slack_h: int, *, ready_hour: int) -> Advice:
    """Advise one start hour for a job that is ready at the same hour of every day."""
    actual = signal.factor[zone]
    first_hour = int(signal.start_unix_s // 3600) % DAY_H
    waits = range(min(slack_h, DAY_H - 1) + 1)
    ready = np.arange((ready_hour - first_hour) % DAY_H, len(actual), DAY_H)
    ready = ready[ready + waits[-1] + job_h <= len(actual)]
    if len(ready) < DAYS_MIN:
        return Advice(
            choice="wait for the forecast's best hour",
            reason="every job's window is searched on its own",
            no_regret=f"the signal has fewer than {DAYS_MIN} whole days to choose and judge on",
        )
    sums = np.concatenate(([0.0], np.cumsum(actual)))
    half = len(ready) // 2

    def costs(days: NDArray[np.int64]) -> dict[str, float]:
        return {
            f"{(ready_hour + wait) % DAY_H:02d}:00 UTC": float(
                (sums[days + wait + job_h] - sums[days + wait]).mean()
            )
            for wait in waits
        }

    seen, unseen = costs(ready[:half]), costs(ready[half:])
    ranked = sorted(seen, key=seen.__getitem__)
    choice, runner_up = ranked[0], ranked[1] if len(ranked) > 1 else ""
    dates = signal.span(int(ready[half]), int(ready[-1] - ready[half]) + 1)
    gap = seen[runner_up] / seen[choice] - 1 if runner_up and seen[choice] else 0.0
    at_once = next(iter(unseen.values()))  # a wait of 0 comes first
    return Advice(
        choice=f"a start at {choice} every day",
        reason=(
            f"of a fixed start hour for a job that is ready at {ready_hour:02d}:00 UTC, this one "
            f"emitted least on the first half of the signal; on the second it saves "
            f"{_saved(unseen[choice], at_once):.2%} against a start at once"
        ),
        runner_up=runner_up,
        flip=f"the hours after {choice} get {gap:.2%} dirtier" if runner_up else "",
        regret=regret(seen, unseen, unit="g per kW", on=f"{dates} of {signal.path}"),
    )


def waiting_rule(signal: Signal, zone: str, job_h: int, slack_h: int) -> WaitingRule | None:
    """Advise a limit above which a job waits; None where no limit beat starting at once.

    Limits are the seen half's own percentiles. A job that never meets one starts at its
    deadline.
    """
    half = signal.hours // 2
    if half < DAYS_MIN * DAY_H or half <= job_h:
        return None
    seen, unseen = signal.factor[zone][:half], signal.factor[zone][half:]
    limits = {
        f"waiting while above {limit:.4g} g/kWh": limit
        for limit in np.percentile(seen, PERCENTILES).tolist()
    }
    limits = {AT_ONCE: float("inf"), **limits}
    before, after = (_costs(part, limits, job_h, slack_h) for part in (seen, unseen))
    judged = regret(before, after, unit="g per kW", on=f"{signal.span(half)} of {signal.path}")
    if judged.chosen == AT_ONCE:
        return None
    ranked = sorted(before, key=before.__getitem__)
    saved = _saved(after[judged.chosen], after[AT_ONCE])
    return WaitingRule(
        limit_g_per_kwh=limits[judged.chosen],
        saved=saved,
        advice=Advice(
            choice=judged.chosen,
            reason=(
                f"it needs no forecast, and was the best limit of the first half; on the second "
                f"it saves {saved:.2%} against a start at once, for jobs that come at any hour"
            ),
            runner_up=ranked[1],
            flip="the grid gets cleaner or dirtier as a whole: a limit is of its year",
            regret=judged,
        ),
    )


def _costs(part: Series, limits: Mapping[str, float], job_h: int, slack_h: int) -> dict[str, float]:
    starts = starts_of(len(part), job_h=job_h, slack_h=slack_h)
    return {
        name: float(while_above(part, job_h, slack_h, starts, limit).mean())
        for name, limit in limits.items()
    }


def _saved(cost: float, at_once: float) -> float:
    return 1 - cost / at_once if at_once else 0.0
