"""What a site draws over a span of time: its nodes, by load, and what cooling adds.

`plan` asks it before anything runs and `proof` asks it where no meter is read, so
both estimate alike; a figure from here is always level *estimate*.

    energy_wh = nodes * power_w(u) * PUE * hours

Units:   watts, watt-hours, seconds; utilisation is a fraction, 0 to 1; PUE is a ratio.
Shapes:  utilisation is (steps,), at least one.
Errors:  CurveError, for a rating or a utilisation that cannot be used.
Source:  the bend of 1.4 is the fit of Fan, Weber, Barroso (ISCA 2007) and is *stated*
         for machines that nobody has measured.
"""

from skerry.energy.power_curve import PowerCurve, Series, energy_wh
from skerry.schema.fleet import Machine, Tier

BEND_STATED = 1.4


def curve_of(machine: Machine) -> PowerCurve:
    """Return a machine's power curve, with the stated bend."""
    return PowerCurve(idle_w=machine.idle_w, busy_w=machine.busy_w, bend=BEND_STATED)


def site_energy_wh(tier: Tier, *, nodes: int, utilisation: Series, span_s: float) -> float:
    """Return what one site's nodes and their cooling use in a span.

    `utilisation` is the nodes' mean load, one value per equal step of the span.
    """
    power_w = curve_of(tier.machine).power_w(utilisation)
    return nodes * energy_wh(power_w, step_s=span_s / len(utilisation)) * tier.pue_ratio
