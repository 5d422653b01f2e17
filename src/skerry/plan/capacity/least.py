"""How many servers a trace needs: the least that keep each target, found by simulation.

First-in-first-out queues are monotone: with one server more, no request of the same trace
waits longer (Kiefer and Wolfowitz). So a bisection finds the least number exactly, and one
less is simulated beside it to show that it fails. With as many servers as there are ever
requests at once nobody waits at all; what breaks a target even then is service time alone,
and no number of servers helps.

Units:   seconds.
Errors:  CapacityError, for a range that cannot be.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.units import BYTES_PER_MIB
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.kernels_fifo import waits_s
from skerry.plan.capacity.target import Figures, Target, figures
from skerry.plan.capacity.trace import Work

Series = NDArray[np.float64]

SERVERS_MAX: Final = 100_000
RUNS_BYTES_MAX: Final = 512 * BYTES_PER_MIB
"""Of runs that are kept, as targets share them."""
RANGE_MAX: Final = 2000
"""Rows of a table of server numbers."""
FLIP_STEP: Final = 0.01
FLIP_MAX: Final = 10.0
"""Where the search for the load that flips an advice ends: eleven times as fast."""


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """A target and the least number of servers that keeps it; None where no number does."""

    target: str
    metric: str
    limit_s: float
    servers_least: int | None
    impossible: bool
    reason: str
    value_s: float
    """The target's figure with that number; where impossible, with nobody waiting."""
    value_s_one_less: float | None
    """The same with one server less: above the limit. None where one server is enough."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulator:
    """One trace, simulated with any number of servers; a run is kept, as targets share them."""

    work: Work
    runs: dict[int, Series]

    @classmethod
    def of(cls, work: Work) -> "Simulator":
        """Return a simulator of a trace."""
        return cls(work=work, runs={})

    def waits_s(self, servers: int) -> Series:
        """Return the wait of every request."""
        if servers not in self.runs:
            if len(self.runs) > RUNS_BYTES_MAX // (8 * len(self.work)):
                self.runs.pop(next(iter(self.runs)))
            self.runs[servers] = waits_s(self.work.arrival_s, self.work.service_s, servers)
        return self.runs[servers]

    def sojourns_s(self, servers: int) -> Series:
        """Return wait plus service of every request."""
        return self.waits_s(servers) + self.work.service_s

    def figures(self, servers: int) -> Figures:
        """Return the figures of one number of servers."""
        wait_s = self.waits_s(servers)
        return figures(servers, self.work.load_erlang, wait_s, self.work.service_s)


def concurrent_max(work: Work) -> int:
    """Return how many requests are in service at once at most, if nobody waits."""
    ends_s = np.sort(work.arrival_s + work.service_s)
    # Whoever ends at the moment another arrives has made room for it.
    gone = np.searchsorted(ends_s, work.arrival_s, side="right")
    return max(1, int((np.arange(1, len(work) + 1) - gone).max()))


def size(simulator: Simulator, target: Target) -> Sized:
    """Return the least number of servers that keeps a target, checked at one less."""
    work = simulator.work
    return size_by(target, simulator.sojourns_s, work.service_s, concurrent_max(work))


def size_by(
    target: Target,
    sojourns_s: Callable[[int], Series],
    alone_s: Series,
    enough: int,
    *,
    alone: str = "service alone, without a wait,",
) -> Sized:
    """Return the least number that keeps a target, where `sojourns_s` simulates a number.

    `alone_s` are the sojourns of requests that nobody is in the way of, and `enough` is a
    number that comes to the same; `alone` says what that is.
    """
    fastest_s = target.value_s(alone_s)
    if fastest_s > target.limit_s:
        return Sized(
            target=target.name,
            metric=target.metric,
            limit_s=target.limit_s,
            servers_least=None,
            impossible=True,
            reason=(
                f"impossible with any number of servers: {alone} has a {target.metric} of "
                f"{fastest_s:.4g} s"
            ),
            value_s=fastest_s,
            value_s_one_less=None,
        )
    least = least_holding(lambda servers: target.holds(sojourns_s(servers)), enough)
    value_s = target.value_s(sojourns_s(least))
    less_s = target.value_s(sojourns_s(least - 1)) if least > 1 else None
    return Sized(
        target=target.name,
        metric=target.metric,
        limit_s=target.limit_s,
        servers_least=least,
        impossible=False,
        reason=_reason(target, least, value_s, less_s),
        value_s=value_s,
        value_s_one_less=less_s,
    )


def least_holding(holds: Callable[[int], bool], enough: int) -> int:
    """Return the least count from 1 to `enough` that holds; `enough` does, and all above it."""
    low, high = 0, enough
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def load_to_flip(fails: Callable[[float], bool], *, step: float = FLIP_STEP) -> float | None:
    """Return how much faster requests would have to come for a choice to fail; 0.05 is 5 %.

    `fails` is asked for a share more load. The first failing point on a grid, then halved
    down to it: on a plain queue more load never waits less, but on a fleet it may, so this is
    where it first becomes too hard. None where it is not below `FLIP_MAX`.
    """
    low, high = 0.0, step
    while not fails(high):
        low, high = high, high + step * (1 + int(high / step) // 10)
        if high > FLIP_MAX:
            return None
    while high - low > step / 64:
        middle = (low + high) / 2
        low, high = (low, middle) if fails(middle) else (middle, high)
    return high


def too_much(work: Work, targets: Sequence[Target], servers: int, more: float) -> bool:
    """Tell whether a number of servers fails a target once requests come faster by a share."""
    faster = Simulator.of(work.faster(1 + more))
    return not all(target.holds(faster.sojourns_s(servers)) for target in targets)


def parse_range(text: str) -> range:
    """Return the numbers that `LOW..HIGH` (or one number) names."""
    low, dots, high = text.partition("..")
    try:
        first, last = int(low), int(high if dots else low)
    except ValueError:
        first = last = 0
    if not 1 <= first <= last <= SERVERS_MAX or last - first >= RANGE_MAX:
        what = f"--servers is {text[:40]!r}, wanted LOW..HIGH from 1 to {SERVERS_MAX}"
        raise CapacityError(what, f"at most {RANGE_MAX} numbers, such as --servers 3..40")
    return range(first, last + 1)


def worst(sized: Iterable[Sized]) -> int | None:
    """Return the number that keeps every target that can be kept; None where there is none."""
    return max((one.servers_least for one in sized if one.servers_least is not None), default=None)


def _reason(target: Target, least: int, value_s: float, less_s: float | None) -> str:
    kept = f"{least} {'keeps' if least == 1 else 'keep'} {target.metric} at {value_s:.4g} s"
    return kept if less_s is None else f"{kept}; {least - 1} would have {less_s:.4g} s"
