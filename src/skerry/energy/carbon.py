"""Energy to carbon, and totals to figures per 1,000 requests.

    carbon_g = energy_wh / 1000 * grid_g_per_kwh

Operational carbon only: what the grid emits for the energy used. Embodied carbon is
a line of its own and is not counted here.

Units:   watt-hours, grams CO2e, grams CO2e per kWh.
Errors:  CarbonError, for an energy or a grid intensity that cannot be.
Source:  GHG Protocol scope 2 guidance, location-based method.
"""

import math

from skerry.base.errors import Exit
from skerry.base.units import WH_PER_KWH
from skerry.energy.errors import EnergyError

REQUESTS_PER_1K = 1000


class CarbonError(EnergyError):
    """An energy or a grid intensity that cannot be: negative, infinite or not a number."""

    code = "E1502"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float) -> None:
        super().__init__(name, value)
        self.name, self.value = name, value

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted 0 or more"

    @property
    def hint(self) -> str:
        """Say where the value comes from."""
        return "the grid's intensity comes from the site's grid zone in the fleet file"


def carbon_g(energy_wh: float, *, grid_g_per_kwh: float) -> float:
    """Return what the grid emitted for an energy."""
    for name, value in (("energy_wh", energy_wh), ("grid_g_per_kwh", grid_g_per_kwh)):
        if not 0 <= value < math.inf:
            raise CarbonError(name, value)
    return energy_wh / WH_PER_KWH * grid_g_per_kwh


def per_1k(total: float, requests: int) -> float | None:
    """Return a total per 1,000 requests; None where there were none to share it."""
    return total / requests * REQUESTS_PER_1K if requests > 0 else None
