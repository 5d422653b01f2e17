"""One step of a site with solar power and a battery: who feeds the load, what is left.

    surplus = solar - load; a surplus charges the battery and then goes to the grid;
    a deficit is taken from the battery and then from the grid

A plain function of numbers: `plan` compiles the same source for a year of many sites.

Units:   kWh per step throughout; `power_kwh` is the most that goes in or out in one step.
Errors:  BatteryError, for a battery that cannot be.
Limits:  no self-discharge and no ageing; the grid never charges the battery.
"""

import math
from dataclasses import dataclass

from skerry.base.errors import Exit
from skerry.energy.errors import EnergyError


class BatteryError(EnergyError):
    """A battery or an array that cannot be: a negative size, an efficiency outside 0 to 1."""

    code = "E1512"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Recall what each value means."""
        return "sizes are kWh and kW, 0 or more; an efficiency is what comes back of what went in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """A battery. `efficiency_ratio` is of a round trip; half of its loss falls on each way."""

    capacity_kwh: float
    power_kw: float = math.inf
    efficiency_ratio: float = 1.0
    start_ratio: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.capacity_kwh < math.inf:
            raise BatteryError("capacity_kwh", self.capacity_kwh, "0 or more")
        if not self.power_kw >= 0:
            raise BatteryError("power_kw", self.power_kw, "0 or more")
        if not 0 < self.efficiency_ratio <= 1:
            raise BatteryError("efficiency_ratio", self.efficiency_ratio, "above 0, up to 1")
        if not 0 <= self.start_ratio <= 1:
            raise BatteryError("start_ratio", self.start_ratio, "0 to 1")

    @property
    def way_ratio(self) -> float:
        """What is left of an energy after one way, in or out."""
        return math.sqrt(self.efficiency_ratio)


def battery_step(
    stored_kwh: float,
    surplus_kwh: float,
    capacity_kwh: float,
    power_kwh: float,
    way_ratio: float,
) -> tuple[float, float, float]:
    """Return what is stored after the step, what was exported and what was imported."""
    if surplus_kwh >= 0.0:
        room_kwh = max(capacity_kwh - stored_kwh, 0.0)
        taken_kwh = min(surplus_kwh, power_kwh, room_kwh / way_ratio)
        return min(stored_kwh + taken_kwh * way_ratio, capacity_kwh), surplus_kwh - taken_kwh, 0.0
    given_kwh = min(-surplus_kwh, power_kwh, stored_kwh * way_ratio)
    return max(stored_kwh - given_kwh / way_ratio, 0.0), 0.0, -surplus_kwh - given_kwh
