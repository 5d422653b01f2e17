"""What a request's work draws, by whose machine does it.

    dedicated   bought for this work: idle power counts around the clock
    there       on anyway for other work: only what the load adds counts
    shared      one of many machines filled to `fill`: work * power(fill) / fill

Units:   watt-hours; utilisation and fill are fractions, 0 to 1.
Shapes:  utilisation is (steps,), the mean of a site's nodes over equal steps of the span.
Errors:  CurveError, for a utilisation or a fill that cannot be.
"""

from enum import StrEnum

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR
from skerry.energy.power_curve import CurveError, PowerCurve, Series


class Use(StrEnum):
    """Whose machine does the work."""

    DEDICATED = "dedicated"
    THERE = "there"
    SHARED = "shared"


def machine_wh(
    curve: PowerCurve,
    use: Use,
    *,
    nodes: int,
    utilisation: Series,
    span_s: float,
    fill: float = 1.0,
) -> float:
    """Return what some nodes draw for a load over a span, without cooling."""
    hours = nodes * span_s / SECONDS_PER_HOUR
    if use is Use.SHARED:
        if not 0 < fill <= 1:
            raise CurveError("fill", fill, "above 0, up to 1")
        full_w = float(curve.power_w(np.array([fill]))[0])
        return float(utilisation.mean()) * hours * full_w / fill
    mean_w = float(curve.power_w(utilisation).mean())
    return hours * (mean_w if use is Use.DEDICATED else mean_w - curve.idle_w)
