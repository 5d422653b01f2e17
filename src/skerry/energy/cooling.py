"""What a site draws around its machines: losses and cooling, by load and by outside air.

    site = IT + fixed + loss * IT + (fans + pumps) * IT + heat that needs a compressor / COP

Heat leaves freely while the air outside is cool: all of it below `free_c`, none above
`full_c`, in a straight line between. Heat in liquid stays warm, so it leaves freely almost
always. Fixed power does not shrink with load: PUE rises as machines go idle.

Units:   kW, degrees Celsius outside; ratios are fractions of IT power.
Shapes:  loads and temperatures are (steps,), or one broadcasts to the other.
Errors:  CoolingError, for a plant, a load or a temperature that cannot be.
Limits:  no humidity, no storage of cold, no evaporation.
Source:  the split into fixed and proportional losses follows Schneider Electric WP 113.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.energy.errors import EnergyError

Series = NDArray[np.float64]

RATED_C = 35.0
"""Outside air at which a COP is stated."""
COP_SPAN = (0.5, 2.5)
"""A compressor's COP stays within these multiples of the stated one."""


class CoolingError(EnergyError):
    """A cooling plant, a load or a temperature that cannot be."""

    code = "E1515"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Recall the units."""
        return "loads are kW of IT, temperatures degrees Celsius outside, ratios 0 to 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One way heat leaves: freely below a temperature, by compressor above another."""

    free_c: float
    full_c: float
    cop: float
    cop_per_k: float

    def __post_init__(self) -> None:
        if not self.free_c < self.full_c:
            raise CoolingError("free_c", self.free_c, f"below full_c={self.full_c:g}")
        if not self.cop > 0:
            raise CoolingError("cop", self.cop, "above 0")

    def power_per_heat(self, air_c: Series) -> Series:
        """Return the compressor's power per heat at each outside temperature."""
        driven = np.clip((air_c - self.free_c) / (self.full_c - self.free_c), 0.0, 1.0)
        factor = np.clip(1 + self.cop_per_k * (RATED_C - air_c), *COP_SPAN)
        power: Series = driven / (self.cop * factor)
        return power


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A site's losses and its cooling, sized for a rated IT load."""

    name: str
    rated_kw: float
    fixed_ratio: float
    loss_ratio: float
    fan_ratio: float
    air: Loop
    liquid_ratio: float = 0.0
    liquid: Loop | None = None

    def __post_init__(self) -> None:
        if not self.rated_kw > 0:
            raise CoolingError("rated_kw", self.rated_kw, "above 0")
        for name, value in (
            ("fixed_ratio", self.fixed_ratio),
            ("loss_ratio", self.loss_ratio),
            ("fan_ratio", self.fan_ratio),
            ("liquid_ratio", self.liquid_ratio),
        ):
            if not 0 <= value <= 1:
                raise CoolingError(name, value, "0 to 1")

    @property
    def fixed_kw(self) -> float:
        """What is drawn at any load."""
        return self.fixed_ratio * self.rated_kw

    def per_it(self, air_c: Series) -> Series:
        """Return the site's power per IT power, fixed power left out."""
        by_air = (1 - self.liquid_ratio) * self.air.power_per_heat(air_c)
        by_liquid = (
            self.liquid_ratio * self.liquid.power_per_heat(air_c)
            if self.liquid is not None
            else 0.0
        )
        return 1 + self.loss_ratio + self.fan_ratio + by_air + by_liquid

    def site_kw(self, it_kw: Series, air_c: Series) -> Series:
        """Return what the site draws at each step."""
        for name, values, low, high in (
            ("it_kw", it_kw, 0.0, self.rated_kw),
            ("air_c", air_c, -90.0, 60.0),
        ):
            fits = (values >= low) & (values <= high)
            if not fits.all():
                step = int(fits.argmin())
                wanted = f"{low:g} to {high:g}"
                raise CoolingError(f"{name}[{step}]", float(values[step]), wanted)
        return self.fixed_kw + it_kw * self.per_it(air_c)

    def it_kw_max(self, feed_kw: float, air_c_max: float) -> float:
        """Return the most IT load that a feed carries at a temperature."""
        left_kw = feed_kw - self.fixed_kw
        most = left_kw / float(self.per_it(np.array([air_c_max]))[0])
        return min(max(most, 0.0), self.rated_kw)


def pue_ratio(site_kwh: float, it_kwh: float) -> float | None:
    """Return energy of the site over energy of its machines; None where they used none."""
    return site_kwh / it_kwh if it_kwh > 0 else None
