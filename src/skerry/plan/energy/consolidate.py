"""`skerry plan consolidate`: which machines may rest off-peak, and what that really saves.

A rule for each step of the day is made from the first half of a trace's days: as many
machines as the busiest of those days needed, and spare ones. It is judged on the second
half, where a step that turns out too small wakes everybody. Only that is called a saving.

Units:   Wh per day; loads in busy machines; steps of a fixed length.
Errors:  ReplicaError; those of the trace.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_DAY
from skerry.energy.power_curve import Series
from skerry.energy.replicas import Counts, ReplicaError, Replicas
from skerry.plan.capacity.trace import Work

SPARES: Final = (0, 1, 2)
DAYS_MIN: Final = 2
"""A rule needs a day to be made on and another to be judged on."""
QUIET_S_MAX: Final = 2 * 3600.0
"""A trace ends with its last request: so long before midnight the rest of the day is quiet."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Days:
    """A trace as whole days of loads, (days, steps of a day)."""

    load: Series
    step_s: float

    @property
    def days(self) -> int:
        """How many whole days."""
        return len(self.load)

    def part(self, first: int, last: int) -> "Days":
        """Return some of the days."""
        return Days(load=self.load[first:last], step_s=self.step_s)


def days_of(work: Work, *, first_s: float, step_s: float) -> Days:
    """Return the load of each step of each whole day; a trace of less is one short day.

    `first_s` is the first request's time: on the trace's own clock, whose days begin at 0,
    or as a timestamp, whose days begin at midnight UTC. A request's work is booked where it
    arrives. A day counts as whole where requests came within two hours of its ends; a trace
    with a clock of its own begins with a whole day.
    """
    per_day = round(SECONDS_PER_DAY / step_s)
    if abs(per_day * step_s - SECONDS_PER_DAY) > 1e-6:
        raise ReplicaError("step_s", step_s, "a whole part of a day")
    lead_s = first_s % SECONDS_PER_DAY
    place = ((work.arrival_s + lead_s) // step_s).astype(np.int64)
    first = 0 if lead_s <= QUIET_S_MAX or work.start_unix_s is None else 1
    end_s = lead_s + work.span_s
    days = int((end_s + QUIET_S_MAX) // SECONDS_PER_DAY)
    busy = np.bincount(place, weights=work.service_s, minlength=days * per_day) / step_s
    if days - first < 1:
        return Days(load=busy[np.newaxis, :], step_s=step_s)
    whole = busy[first * per_day : days * per_day]
    return Days(load=whole.reshape(-1, per_day), step_s=step_s)


def rule(seen: Days, replicas: Replicas, *, spare: int) -> Counts:
    """Return how many machines each step of a day keeps on."""
    needed = np.array([replicas.needed(day) for day in seen.load]).max(axis=0)
    counts: Counts = np.minimum(needed + spare, replicas.machines)
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one way of resting machines came to."""

    name: str
    wh_per_day: float
    steps_short: int
    """Steps in which more were needed than the rule had on, so that everybody was woken."""


def judge(name: str, on: Counts | None, days: Days, replicas: Replicas) -> Kept:
    """Return what a rule comes to on some days; None knows each step's need beforehand."""
    load = days.load.reshape(-1)
    if on is None:
        counts, short = replicas.needed(load), 0
    else:
        asked = np.tile(on, days.days)
        counts = replicas.served(asked, load)
        short = int((counts != asked).sum())
    energy_wh = replicas.energy_wh(counts, load, step_s=days.step_s)
    return Kept(name=name, wh_per_day=energy_wh / _span_days(days), steps_short=short)


def _span_days(days: Days) -> float:
    return days.load.size * days.step_s / SECONDS_PER_DAY
