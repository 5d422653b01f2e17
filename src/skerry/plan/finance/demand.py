"""Who asks how much, when: the demand that a month's costs are made from.

A trace gives the shape (which site asks in which 24th of its span, which mix of models,
how many bytes); its own rate, or a stated number of requests a month, gives the size.

Units:   requests a month (a twelfth of 365.25 days); seconds; bytes.
Shapes:  `share` is (sites, steps) and adds up to 1 over both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.plan.trace import Trace

STEPS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """A month of requests."""

    requests_per_month: float
    sites: tuple[str, ...]
    share: NDArray[np.float64]
    service_s: float
    """Mean time of one run over the mix of models."""
    content_bytes: float
    source: str

    def of(self, sites: frozenset[str]) -> "Demand":
        """Return the part of the demand that some sites ask; its shape adds up to 1 again."""
        kept = [index for index, name in enumerate(self.sites) if name in sites]
        part = self.share[kept]
        whole = float(part.sum())
        return Demand(
            requests_per_month=self.requests_per_month * whole,
            sites=tuple(self.sites[index] for index in kept),
            share=part / whole if whole else part,
            service_s=self.service_s,
            content_bytes=self.content_bytes,
            source=self.source,
        )


NOBODY: Final = Demand(
    requests_per_month=0.0,
    sites=(),
    share=np.zeros((0, STEPS)),
    service_s=0.0,
    content_bytes=0.0,
    source="nobody asks",
)


def demand_of(
    trace: Trace, *, services_s: Mapping[str, float], requests_per_month: float | None = None
) -> Demand:
    """Return a trace's demand; its size is its own rate unless a number of requests is given."""
    step = np.minimum((trace.arrival_s / trace.span_s * STEPS).astype(np.int64), STEPS - 1)
    counts = np.zeros((len(trace.sites), STEPS))
    np.add.at(counts, (trace.site, step), 1.0)
    asked = counts.sum(axis=1) > 0
    runs_s = np.array([services_s[name] for name in trace.models])
    return Demand(
        requests_per_month=(
            len(trace) * SECONDS_PER_MONTH / trace.span_s
            if requests_per_month is None
            else requests_per_month
        ),
        sites=tuple(name for name, asks in zip(trace.sites, asked, strict=True) if asks),
        share=counts[asked] / len(trace),
        service_s=float(runs_s[trace.model].mean()),
        content_bytes=float(trace.content_bytes.mean()),
        source=trace.source,
    )
