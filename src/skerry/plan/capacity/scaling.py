"""Servers that come and go: a schedule by the hour, and an autoscaler with its start-up delay.

A schedule gives each hour of the day its own number (each hour of the trace, where it has
seconds and no time of day). Servers of the next hour are started ahead, so that they are
ready when it begins; that time is paid for. Every hour keeps the targets by itself, for the
requests that arrive in it; an hour whose service alone breaks a limit is held to
`SPARE_RATIO` above that.

The autoscaler is the rule in `kernels_scaled`, warm when the trace begins; the highest use
that keeps the targets over the whole trace is searched, as the higher the use, the fewer
server-hours.

Units:   seconds; server-hours.
Errors:  CapacityError, for a trace in seconds that is longer than a week.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.units import SECONDS_PER_HOUR
from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.inputs import bounded
from skerry.plan.capacity.kernels_scaled import BY_RULE, wait_scaled
from skerry.plan.capacity.least import Simulator, concurrent_max
from skerry.plan.capacity.target import Target
from skerry.plan.capacity.trace import Work

Series = NDArray[np.float64]
Ints = NDArray[np.int64]

SPARE_RATIO: Final = 0.05
HOURS_MAX: Final = 168
USES: Final = tuple(round(0.95 - 0.05 * k, 2) for k in range(17))
"""Uses an autoscaler may aim at, from the thriftiest on: 0.95 to 0.15."""


class HourRow(msgspec.Struct, frozen=True, kw_only=True):
    """One hour of the schedule."""

    hour: str
    servers: int
    requests: int
    load_erlang: float
    sojourn_s_p99: float | None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, and what it saves against the least fixed number."""

    hours: tuple[HourRow, ...]
    server_hours: float
    server_hours_fixed: float
    saved_ratio: float
    time_of_day: bool


class Autoscaled(msgspec.Struct, frozen=True, kw_only=True):
    """What an autoscaler comes to at the highest use that keeps the targets; None where none."""

    used_ratio: float | None
    startup_s: float
    servers_mean: float | None
    servers_most: int | None
    changes: int | None
    server_hours: float | None
    server_hours_fixed: float
    saved_ratio: float | None
    sojourn_s_p99: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hours:
    """The clock hours of a trace: the slot each one is in, and where each request falls."""

    names: tuple[str, ...]
    """Of slots."""
    slot: Ints
    """(hours,)"""
    first_s: float
    """When the second hour begins; the first may be cut short."""
    of: Ints
    """(requests,): the slot of each."""
    seconds: Series
    """(slots,): how long each slot lasted in the trace."""


def hours_of(work: Work, zone: str | None) -> Hours:
    """Return a trace's hours: by the clock in `zone` (UTC by default), or from its start."""
    if work.start_unix_s is None:
        into_s, count = 0.0, int(work.span_s // SECONDS_PER_HOUR) + 1
        if count > HOURS_MAX:
            advice = "give --arrival a column of timestamps"
            raise CapacityError(f"{count} hours without a time of day", advice)
        slots = list(range(count))
        names = tuple(f"hour {k}" for k in range(count))
    else:
        clock = ZoneInfo(zone) if zone else UTC
        begin = datetime.fromtimestamp(work.start_unix_s, clock)
        into_s = begin.minute * 60 + begin.second + begin.microsecond / 1e6
        count = int((into_s + work.span_s) // SECONDS_PER_HOUR) + 1
        starts = work.start_unix_s - into_s + SECONDS_PER_HOUR * np.arange(count)
        slots = [datetime.fromtimestamp(at, clock).hour for at in starts.tolist()]
        names = tuple(f"{hour:02}:00" for hour in range(24))
    slot = np.array(slots, np.int64)
    step = np.minimum((work.arrival_s + into_s) // SECONDS_PER_HOUR, count - 1).astype(np.int64)
    seconds = np.full(count, float(SECONDS_PER_HOUR))
    seconds[0] -= into_s
    seconds[-1] = (
        into_s + work.span_s - SECONDS_PER_HOUR * (count - 1) - (into_s if count == 1 else 0)
    )
    return Hours(
        names=names,
        slot=slot,
        first_s=SECONDS_PER_HOUR - into_s,
        of=slot[step],
        seconds=np.bincount(slot, weights=seconds, minlength=len(names)).astype(np.float64),
    )


def profile(
    simulator: Simulator,
    targets: Sequence[Target],
    fixed: int,
    *,
    zone: str | None,
    inputs: Assumptions,
) -> Profile:
    """Return the least schedule by the hour that keeps every target in every hour.

    `fixed` is the least number that keeps them over the whole trace, for comparison.
    """
    work = simulator.work
    hours = hours_of(work, zone)
    present = np.unique(hours.of)
    alone = {
        (slot, target.name): target.value_s(work.service_s[hours.of == slot])
        for slot in present
        for target in targets
    }

    def failing(counts: Ints) -> tuple[list[int], Series]:
        sojourn_s = scheduled_waits_s(work, hours, counts)[0] + work.service_s
        missed = [
            int(slot)
            for slot in present
            if any(
                target.value_s(sojourn_s[hours.of == slot])
                > max(target.limit_s, alone[slot, target.name] * (1 + SPARE_RATIO))
                for target in targets
            )
        ]
        return missed, sojourn_s

    work_s = np.bincount(hours.of, weights=work.service_s, minlength=len(hours.names))
    load = work_s / np.maximum(hours.seconds, 1e-9)
    counts = np.maximum(1, np.minimum(np.ceil(load), concurrent_max(work))).astype(np.int64)
    missed, sojourn_s = failing(counts)
    while missed:
        full = concurrent_max(work)
        raised = [slot for slot in missed if counts[slot] < full] or range(len(counts))
        for slot in raised:
            counts[slot] += max(1, counts[slot] // 50)
        missed, sojourn_s = failing(counts)
    for slot in sorted(present, key=lambda slot: -int(counts[slot])):
        while counts[slot] > 1:
            counts[slot] -= 1
            missed, tried_s = failing(counts)
            if missed:
                counts[slot] += 1
                break
            sojourn_s = tried_s
    paid_s = scheduled_waits_s(work, hours, counts)[1] + bounded(inputs, "startup_s") * _started(
        counts[hours.slot]
    )
    fixed_s = fixed_paid_s(work, fixed)
    return Profile(
        hours=tuple(
            HourRow(
                hour=hours.names[slot],
                servers=int(counts[slot]),
                requests=int((hours.of == slot).sum()),
                load_erlang=float(load[slot]),
                sojourn_s_p99=float(np.quantile(sojourn_s[hours.of == slot], 0.99)),
            )
            for slot in present
        ),
        server_hours=paid_s / SECONDS_PER_HOUR,
        server_hours_fixed=fixed_s / SECONDS_PER_HOUR,
        saved_ratio=1 - paid_s / fixed_s,
        time_of_day=work.start_unix_s is not None,
    )


def scheduled_waits_s(work: Work, hours: Hours, counts: Ints) -> tuple[Series, float]:
    """Return waits under a schedule whose servers are ready in time, and server-seconds."""
    schedule = counts[hours.slot]
    out = np.empty(len(work))
    paid_s, _, _ = wait_scaled(
        work.arrival_s,
        work.service_s,
        schedule[1:] if len(schedule) > 1 else schedule,
        hours.first_s if len(schedule) > 1 else np.inf,
        float(SECONDS_PER_HOUR),
        0.0,
        1.0,
        1.0,
        0.0,
        int(schedule[0]),
        1,
        int(schedule.max()),
        out,
    )
    return out, paid_s


def fixed_paid_s(work: Work, servers: int) -> float:
    """Return server-seconds of a fixed number, each paid until its last work ends."""
    whole = Hours(
        names=("",),
        slot=np.zeros(1, np.int64),
        first_s=np.inf,
        of=np.zeros(len(work), np.int64),
        seconds=np.zeros(1),
    )
    return scheduled_waits_s(work, whole, np.array([servers]))[1]


def autoscale(
    simulator: Simulator, targets: Sequence[Target], fixed: int, inputs: Assumptions
) -> Autoscaled:
    """Return the autoscaler at the highest use that keeps every target."""
    work = simulator.work
    startup_s = bounded(inputs, "startup_s")
    every_s, window_s = bounded(inputs, "decide_every_s"), bounded(inputs, "decide_window_s")
    fixed_h = fixed_paid_s(work, fixed) / SECONDS_PER_HOUR
    high = 2 * concurrent_max(work)
    wait_s = np.empty(len(work))
    for used in USES:
        paid_s, most, changes = wait_scaled(
            work.arrival_s,
            work.service_s,
            BY_RULE,
            every_s,
            every_s,
            startup_s,
            window_s,
            used,
            bounded(inputs, "scale_down_after_s"),
            min(high, max(1, round(work.load_erlang / used))),
            1,
            high,
            wait_s,
        )
        sojourn_s = wait_s + work.service_s
        if all(target.holds(sojourn_s) for target in targets):
            paid_h = paid_s / SECONDS_PER_HOUR
            return Autoscaled(
                used_ratio=used,
                startup_s=startup_s,
                servers_mean=paid_s / work.span_s,
                servers_most=most,
                changes=changes,
                server_hours=paid_h,
                server_hours_fixed=fixed_h,
                saved_ratio=1 - paid_h / fixed_h,
                sojourn_s_p99=float(np.quantile(sojourn_s, 0.99)),
                reason=_autoscaled_reason(used),
            )
    return Autoscaled(
        used_ratio=None,
        startup_s=startup_s,
        servers_mean=None,
        servers_most=None,
        changes=None,
        server_hours=None,
        server_hours_fixed=fixed_h,
        saved_ratio=None,
        sojourn_s_p99=None,
        reason=(
            f"no use down to {USES[-1]:.0%} keeps the targets: a start-up of {startup_s:g} s "
            "is too slow for the bursts of this trace"
        ),
    )


def _autoscaled_reason(used: float) -> str:
    if used == USES[0]:
        return f"aiming at {used:.0%} use keeps the targets; no higher one was tried"
    higher = USES[USES.index(used) - 1]
    return f"aiming at {used:.0%} use keeps the targets; {higher:.0%} does not"


def _started(schedule: Ints) -> int:
    """Return how many servers a schedule starts after its first hour."""
    return int(np.maximum(np.diff(schedule), 0).sum())
