"""Headroom for failures: how many servers keep the targets while some of them are away.

    n+1         one more than the least, so that any one may be away for as long as it likes
    lose-node   one is lost at the busiest time, its work begins again, it is mended later
    lose-site   the servers stand at some sites; one site is lost so, with all it has

The busiest time is the window, as long as the repair takes, in which most work arrives.

Units:   seconds.
Errors:  CapacityError, for a loss that leaves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.inputs import bounded
from skerry.plan.capacity.kernels_loss import waits_with_loss_s
from skerry.plan.capacity.least import Simulator, concurrent_max
from skerry.plan.capacity.target import Target
from skerry.plan.capacity.trace import Work

Series = NDArray[np.float64]


class Loss(StrEnum):
    """What may fail."""

    N_PLUS_1 = "n+1"
    NODE = "lose-node"
    SITE = "lose-site"


class Headroom(msgspec.Struct, frozen=True, kw_only=True):
    """Servers that keep the targets through a loss."""

    loss: Loss
    servers: int | None
    """None where no number does: work that begins again is late by itself."""
    lost: int
    """Servers away at once."""
    lost_at_s: float
    back_at_s: float
    sojourn_s_p99: float
    """Over the whole trace, the loss in it."""
    sojourn_s_p99_without: float | None
    """With the same loss and only the servers that are needed when nothing fails."""
    reason: str


def headroom(
    simulator: Simulator,
    targets: Sequence[Target],
    least: int,
    loss: Loss,
    *,
    sites: int,
    inputs: Assumptions,
) -> Headroom:
    """Return the least number, from `least` up, that keeps every target through a loss.

    `targets` are those that `least` keeps when nothing fails.
    """
    case = Case.of(simulator.work, loss, sites=sites, inputs=inputs)
    without = float(np.quantile(case.sojourns_s(least), 0.99, method="inverted_cdf"))
    holding = (
        servers
        for servers in range(least, max(least, case.enough()) + 1)
        if case.holds(servers, targets)
    )
    servers = next(holding, None)
    shown = servers or max(least, case.enough())
    return Headroom(
        loss=loss,
        servers=servers,
        lost=case.lost(shown),
        lost_at_s=case.lost_at_s,
        back_at_s=min(case.back_at_s, simulator.work.span_s),
        sojourn_s_p99=float(np.quantile(case.sojourns_s(shown), 0.99)),
        sojourn_s_p99_without=without if np.isfinite(without) else None,
        reason=_reason(loss, servers, least, case.lost(shown)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One loss in one trace: when, for how long, and of how many."""

    work: Work
    loss: Loss
    sites: int
    lost_at_s: float
    back_at_s: float

    @classmethod
    def of(cls, work: Work, loss: Loss, *, sites: int, inputs: Assumptions) -> "Case":
        """Return the loss at its worst time."""
        if loss is Loss.SITE and sites < 2:
            advice = "give --sites 2 or more"
            raise CapacityError("with one site, losing it leaves nothing", advice)
        begins_s, repair_s = 0.0, np.inf
        if loss is not Loss.N_PLUS_1:
            repair_s = bounded(inputs, "node_repair_s" if loss is Loss.NODE else "site_repair_s")
            begins_s = busiest_s(work, repair_s)
        return cls(
            work=work, loss=loss, sites=sites, lost_at_s=begins_s, back_at_s=begins_s + repair_s
        )

    def enough(self) -> int:
        """Return a number with which nobody waits: room for all work, once more, after the loss."""
        left = 2 * concurrent_max(self.work)
        return left + -(-left // (self.sites - 1)) + 1 if self.loss is Loss.SITE else left + 1

    def holds(self, servers: int, targets: Sequence[Target]) -> bool:
        """Tell whether so many servers keep every target through the loss."""
        found = self.sojourns_s(servers)
        return bool(np.isfinite(found[-1])) and all(target.holds(found) for target in targets)

    def lost(self, servers: int) -> int:
        """Return how many of the servers are away at once."""
        return -(-servers // self.sites) if self.loss is Loss.SITE else 1

    def sojourns_s(self, servers: int) -> Series:
        """Return wait plus service of every request; infinite where nobody is left for ever."""
        lost, work = self.lost(servers), self.work
        if lost >= servers and np.isinf(self.back_at_s):
            return np.full(len(work), np.inf)
        wait_s = waits_with_loss_s(
            work.arrival_s,
            work.service_s,
            servers,
            lost=lost,
            lost_at_s=self.lost_at_s,
            back_at_s=self.back_at_s,
        )
        return wait_s + work.service_s


def busiest_s(work: Work, window_s: float) -> float:
    """Return when the window begins in which most work arrives."""
    done = np.concatenate([[0.0], np.cumsum(work.service_s)])
    ends = np.searchsorted(work.arrival_s, work.arrival_s + window_s, side="left")
    return float(work.arrival_s[int(np.argmax(done[ends] - done[:-1]))])


def _reason(loss: Loss, servers: int | None, least: int, lost: int) -> str:
    what = {
        Loss.N_PLUS_1: "any one away for the whole time",
        Loss.NODE: "one lost at the busiest time",
        Loss.SITE: f"a site of {lost} lost at the busiest time",
    }[loss]
    if servers is None:
        return f"no number keeps the targets with {what}: what begins again is late by itself"
    if servers == least:
        return f"{least} are enough also with {what}"
    return f"{servers} keep the targets with {what}; {least} do when nothing fails"
