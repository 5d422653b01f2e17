"""`skerry plan carbon`: one consumption, hour by hour, by every method that is asked for.

Units:   kg, kWh and g as names say; hourly arrays are (hours,).
Errors:  those of `energy.account` and `plan.signals`; ColumnError for a load file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_HOUR
from skerry.energy.account import Market, embodied_share_g, emitted_g, market, sci_g, upstream_g
from skerry.energy.site_cost import SECONDS_PER_YEAR
from skerry.plan.columns import Number, Time, read_columns
from skerry.plan.energy.instruments import Instruments
from skerry.plan.energy.signals import Series, Signal

KW_MAX: Final = 1e6
G_PER_KG: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The factors of one zone: either may be unknown, never both."""

    name: str
    direct: Series | None
    life_cycle: Series | None

    @property
    def scope2(self) -> Series:
        """The direct factor, or the life-cycle factor where no other is known."""
        found = self.direct if self.direct is not None else self.life_cycle
        if found is None:
            raise ValueError("a grid has at least one factor")
        return found

    @property
    def whole(self) -> Series:
        """The life-cycle factor, or the direct one where no other is known."""
        found = self.life_cycle if self.life_cycle is not None else self.direct
        if found is None:
            raise ValueError("a grid has at least one factor")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Embodied:
    """Machines that are reserved for the whole span."""

    machines: int
    machine_kg: float
    life_years: float
    housing_kg: float = 0.0
    """Racks and building, for the span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Grams by method and line; None where it cannot be known from what was given."""

    energy_kwh: float
    location_g: float
    market: Market
    upstream_g: float | None
    grid_loss_g: float
    network_kwh: float
    network_g: float
    embodied_g: float | None
    sci_g: float | None

    @property
    def total_location_g(self) -> float:
        """Every known line, scope 2 by location."""
        lines = (self.upstream_g, self.grid_loss_g, self.network_g, self.embodied_g)
        return self.location_g + sum(line or 0.0 for line in lines)


def account(
    kwh: Series,
    grid: Grid,
    *,
    instruments: Instruments,
    grid_loss_ratio: float,
    network_kwh: float,
    embodied: Embodied | None,
    requests: float | None,
) -> Account:
    """Return every line for an hourly consumption at the meter.

    SCI counts what the grid emits over the life cycle for the machines and the network, and
    embodied carbon; it takes no contract and no offset.
    """
    used_kwh = float(kwh.sum())
    location_g = emitted_g(kwh, grid.scope2)
    upstream = None
    if grid.direct is not None and grid.life_cycle is not None:
        upstream = upstream_g(kwh, direct=grid.direct, life_cycle=grid.life_cycle)
    whole_g = emitted_g(kwh, grid.whole)
    network_g = network_kwh * float(grid.whole.mean())
    embodied_g = None
    if embodied is not None:
        embodied_g = embodied.machines * embodied_share_g(
            embodied.machine_kg * G_PER_KG,
            reserved_s=len(kwh) * SECONDS_PER_HOUR,
            life_s=embodied.life_years * SECONDS_PER_YEAR,
        )
        embodied_g += embodied.housing_kg * G_PER_KG
    sci = None
    if requests is not None:
        sci = sci_g(whole_g + network_g, embodied_g or 0.0, functional_units=requests)
    return Account(
        energy_kwh=used_kwh,
        location_g=location_g,
        market=market(
            used_kwh,
            instruments.contracts,
            location_g_per_kwh=location_g / used_kwh if used_kwh else 0.0,
            residual_g_per_kwh=instruments.residual_g_per_kwh,
        ),
        upstream_g=upstream,
        # A share of what is fed in is lost: what arrives is 1 - loss of it.
        grid_loss_g=whole_g * grid_loss_ratio / (1 - grid_loss_ratio),
        network_kwh=network_kwh,
        network_g=network_g,
        embodied_g=embodied_g,
        sci_g=sci,
    )


def read_load(path: Path, signal: Signal) -> Series:
    """Read a load in kW, hour by hour, over exactly the signal's hours."""
    read = read_columns(
        path, {"hour_utc": Time(zone="UTC", ascending=True), "load_kw": Number(low=0, high=KW_MAX)}
    )
    hours = signal.start_unix_s + SECONDS_PER_HOUR * np.arange(signal.hours)
    found = read.numbers["hour_utc"]
    count = min(len(found), len(hours))
    wrong = found[:count] != hours[:count]
    if wrong.any() or len(found) != len(hours):
        row = int(wrong.argmax()) if wrong.any() else count - 1
        what = f"{len(found)} hours, this one {int(found[row] - hours[row])} s off the signal's"
        raise read.error(row, "hour_utc", what, f"the signal's {signal.hours} hours, one by one")
    return read.numbers["load_kw"]
