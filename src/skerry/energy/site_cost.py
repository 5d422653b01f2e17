"""What a site costs over a span: its machines, its energy, and the room around them.

    machine_usd = nodes * price / life * span
    energy_usd  = energy_kwh * price per kWh      (the energy holds the PUE already)
    room_usd    = monthly cost * span

Units:   USD, watt-hours, seconds; a month is a twelfth of 365.25 days.
Errors:  CostError, for a life, a price or a span that cannot be.
Limits:  straight-line, at no cost of capital and no resale; prices are *stated*.
"""

import math
from dataclasses import dataclass

from skerry.base.errors import Exit
from skerry.base.units import SECONDS_PER_DAY, WH_PER_KWH
from skerry.energy.errors import EnergyError
from skerry.schema.fleet import Tier

SECONDS_PER_YEAR = 365.25 * SECONDS_PER_DAY
SECONDS_PER_MONTH = SECONDS_PER_YEAR / 12


class CostError(EnergyError):
    """A value that no cost can be made from, such as a machine with a life of 0 years."""

    code = "E1503"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say where the value comes from."""
        return "prices and lives come from the tier and its machine in the fleet file"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCost:
    """One site's cost over a span, line by line."""

    machine_usd: float
    energy_usd: float
    room_usd: float

    @property
    def total_usd(self) -> float:
        """All lines together."""
        return self.machine_usd + self.energy_usd + self.room_usd


def site_cost(tier: Tier, *, nodes: int, energy_wh: float, span_s: float) -> SiteCost:
    """Return what one site costs in a span in which it used an energy."""
    if not 0 < tier.machine.life_years < math.inf:
        raise CostError(f"{tier.machine.name}: life_years", tier.machine.life_years, "above 0")
    for name, value in (
        ("energy_wh", energy_wh),
        ("span_s", span_s),
        (f"{tier.machine.name}: price_usd", tier.machine.price_usd),
        (f"{tier.name}: energy_usd_per_kwh", tier.energy_usd_per_kwh),
        (f"{tier.name}: usd_per_month", tier.usd_per_month),
    ):
        if not 0 <= value < math.inf:
            raise CostError(name, value, "0 or more")
    life_s = tier.machine.life_years * SECONDS_PER_YEAR
    return SiteCost(
        machine_usd=nodes * tier.machine.price_usd * span_s / life_s,
        energy_usd=energy_wh / WH_PER_KWH * tier.energy_usd_per_kwh,
        room_usd=tier.usd_per_month * span_s / SECONDS_PER_MONTH,
    )
