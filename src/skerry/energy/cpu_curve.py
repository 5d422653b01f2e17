"""Energy of a shared CPU from its rated power, where nobody measured the machine.

    energy_kwh = TDP * share_of_TDP(u) * seconds / 3,600,000 * vcpus / vcpus of the machine

`share_of_TDP` runs in straight lines through four measured points. A machine whose idle and
busy draw are known uses `power_curve` instead.

Units:   watts, seconds, kWh; utilisation is a fraction, 0 to 1.
Errors:  CurveError, for a value that the curve cannot use.
Source:  Teads engineering, power curve of AWS EC2 instances, as used by the Green Software
         Foundation's Impact Framework: 0.12, 0.32, 0.75, 1.02 of TDP at 0, 10, 50, 100 %.
"""

from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR, WH_PER_KWH
from skerry.energy.power_curve import CurveError

UTILISATIONS: Final = (0.0, 0.1, 0.5, 1.0)
TDP_SHARES: Final = (0.12, 0.32, 0.75, 1.02)


def cpu_energy_kwh(
    *, tdp_w: float, utilisation: float, seconds: float, vcpus: float = 1, vcpus_total: float = 1
) -> float:
    """Return the energy of a part of a CPU at a constant utilisation."""
    for name, value in (("tdp_w", tdp_w), ("seconds", seconds)):
        if not 0 <= value < float("inf"):
            raise CurveError(name, value, "0 or more")
    if not 0 <= utilisation <= 1:
        raise CurveError("utilisation", utilisation, "0 to 1")
    if not 0 < vcpus <= vcpus_total:
        raise CurveError("vcpus", vcpus, f"above 0, up to vcpus_total={vcpus_total:g}")
    share = float(np.interp(utilisation, UTILISATIONS, TDP_SHARES))
    return tdp_w * share * seconds / SECONDS_PER_HOUR / WH_PER_KWH * vcpus / vcpus_total
