"""Node power from utilisation: the curve that turns load into watts.

`plan` sizes feeds with it before anything is bought; `proof` asks with it
whether a meter reading is plausible for the load a node reported.

    power_w = idle_w + (busy_w - idle_w) * (2 * u - u ** bend)

Units:   watts, watt-hours, seconds; u is the used fraction of capacity, 0 to 1.
Shapes:  every array is (steps,), one value per fixed time step.
Errors:  CurveError, for a rating, a step or a trace value that cannot be used.
Source:  Fan, Weber, Barroso: "Power Provisioning for a Warehouse-sized
         Computer", ISCA 2007; bend is fitted per machine type, not assumed.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.base.units import SECONDS_PER_HOUR
from skerry.energy.errors import EnergyError

Series = NDArray[np.float64]
Load = TypeVar("Load", float, Series)


class CurveError(EnergyError):
    """A value the power curve cannot use: a rating, a step or one value of a trace.

    Utilisation is a fraction from 0 to 1; a percentage (85 for 0.85) is the usual slip.
    """

    code = "E1501"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)  # args stay whole, so it pickles
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Name the slip that is most often behind it."""
        return "watts come from the machine's row in the fleet file; utilisation is a fraction"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCurve:
    """A node's measured draw at idle and at full load, and the bend between."""

    idle_w: float
    busy_w: float
    bend: float

    def __post_init__(self) -> None:
        if not 0 <= self.idle_w <= self.busy_w < math.inf:
            raise CurveError("idle_w", self.idle_w, f"0 to busy_w={self.busy_w:g}")
        if not 1 <= self.bend <= 2:  # beyond 2, power would fall as load rises
            raise CurveError("bend", self.bend, "1 to 2")

    def power_w(self, utilisation: Series) -> Series:
        """Return the draw at each step."""
        # NaN fails both comparisons, so a gap in a trace stops here, not in a total.
        usable = (utilisation >= 0) & (utilisation <= 1)
        if not usable.all():
            step = int(usable.argmin())
            raise CurveError(f"utilisation[{step}]", float(utilisation[step]), "0 to 1")
        return draw_w(utilisation, self.idle_w, self.busy_w, self.bend)


def draw_w(utilisation: Load, idle_w: float, busy_w: float, bend: float) -> Load:
    """Return the curve's draw, unchecked: plain numbers, so that a plan's kernels call it too."""
    drawn: Load = idle_w + (busy_w - idle_w) * (2 * utilisation - utilisation**bend)
    return drawn


def energy_wh(power_w: Series, *, step_s: float) -> float:
    """Return the energy of a draw held constant over each step."""
    if not 0 < step_s < math.inf:
        raise CurveError("step_s", step_s, "a positive duration")
    return float(power_w.sum()) * step_s / SECONDS_PER_HOUR
