"""Targets of a capacity plan, and the figures of one simulated run they are judged by.

Units:   seconds. *Sojourn* is wait plus service: from arrival to answer.
Shapes:  waits and services are (requests,).
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.base.quantity import QuantityError, format_quantity, parse_quantity
from skerry.plan.capacity.errors import TargetError

Series = NDArray[np.float64]

SHARES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
METRICS: Final = ("mean", *SHARES)
_TEXT: Final = re.compile(r"\s*([a-z]+\d*)\s*(?:<=|=)\s*(\S.*?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit on the sojourn time: its mean, or the time that a share of requests keep."""

    metric: str
    limit_s: float

    @property
    def name(self) -> str:
        """Return the target as it would be typed."""
        return f"{self.metric}={format_quantity(self.limit_s, 's').replace(' ', '')}"

    @property
    def late_ratio(self) -> float:
        """Return the share of requests that may be later than the limit; the mean has none."""
        return 1.0 - SHARES[self.metric] if self.metric in SHARES else 0.0

    def value_s(self, sojourn_s: Series) -> float:
        """Return the figure that the limit is about."""
        if self.metric == "mean":
            return float(sojourn_s.mean())
        return float(np.quantile(sojourn_s, SHARES[self.metric]))

    def holds(self, sojourn_s: Series) -> bool:
        """Tell whether the limit is kept."""
        return self.value_s(sojourn_s) <= self.limit_s


def parse_target(text: str) -> Target:
    """Return the target that `METRIC=DURATION` names."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise TargetError(text, "is not METRIC=DURATION")
    if match[1] not in METRICS:
        raise TargetError(text, f"names {match[1]!r}, which is not a metric")
    try:
        limit_s = parse_quantity(match[2], "s")
    except QuantityError as error:
        raise TargetError(text, f"has no duration: {error}") from error
    if not limit_s > 0:
        raise TargetError(text, f"has a limit of {limit_s:g} s, wanted more than 0")
    return Target(metric=match[1], limit_s=limit_s)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to."""

    servers: int
    used_ratio: float | None
    """Offered load over servers; above 1 the queue grows for as long as the trace lasts.

    None where all requests come at once, so that there is no rate.
    """
    wait_s_mean: float
    waited_ratio: float
    sojourn_s_mean: float
    sojourn_s_p50: float
    sojourn_s_p95: float
    sojourn_s_p99: float

    @property
    def row(self) -> tuple[int | float | None, ...]:
        """Return the figures in the order of a table."""
        return msgspec.structs.astuple(self)


def figures(servers: int, load_erlang: float, wait_s: Series, service_s: Series) -> Figures:
    """Return the figures of a run; quantiles interpolate between neighbours."""
    sojourn_s = wait_s + service_s
    p50, p95, p99 = np.quantile(sojourn_s, list(SHARES.values()))
    return Figures(
        servers=servers,
        used_ratio=load_erlang / servers if np.isfinite(load_erlang) else None,
        wait_s_mean=float(wait_s.mean()),
        waited_ratio=float(np.count_nonzero(wait_s) / len(wait_s)),
        sojourn_s_mean=float(sojourn_s.mean()),
        sojourn_s_p50=float(p50),
        sojourn_s_p95=float(p95),
        sojourn_s_p99=float(p99),
    )


def counted(count: int, what: str) -> str:
    """Return a number with what it counts: `1 server`, `2 servers`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
