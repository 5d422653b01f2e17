"""Carbon by the book: scope 2 twice, scope 3 category 3, embodied carbon, SCI: a line each.

    location  sum over hours of kWh * direct factor
    market    contracts first, never more than was used; then the residual mix; where there
              is none, the location factor, and the statement says so
    upstream  sum over hours of kWh * (life-cycle factor - direct factor): scope 3 category 3
    embodied  machine's grams * (time reserved / life) * (share reserved)
    SCI       (energy * intensity + embodied) / requests; no offsets, no contracts

Units:   kWh per hour, gCO2e/kWh, grams; seconds; shares are fractions.
Shapes:  hourly arrays are (hours,).
Errors:  AccountError, for a value that no account can hold.
Source:  GHG Protocol scope 2 guidance (2015) and scope 3 standard; ISO/IEC 21031 (SCI).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.energy.errors import EnergyError

Series = NDArray[np.float64]
TOLERANCE_KWH = 1e-9


class AccountError(EnergyError):
    """A value that a carbon account cannot hold: negative, not finite, or shares above 1."""

    code = "E1510"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Recall the units."""
        return "energies are kWh, factors gCO2e/kWh, lives seconds, and shares 0 to 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Energy under a contractual instrument: a PPA, a certificate, a supplier's tariff."""

    name: str
    kwh: float
    g_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketLine:
    """What one instrument, the residual mix or the location factor stands for."""

    name: str
    kwh: float
    grams: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Scope 2 by the market-based method, line by line."""

    lines: tuple[MarketLine, ...]
    unused_kwh: float
    """Contracted beyond what was used: no credit is given for it."""
    fell_back: bool
    """Whether the location factor had to stand in for a residual mix."""

    @property
    def grams(self) -> float:
        """All lines together."""
        return sum(line.grams for line in self.lines)


def emitted_g(kwh: Series, factor: Series) -> float:
    """Return the emissions of an hourly consumption at an hourly factor."""
    for name, series in (("kWh", kwh), ("factor", factor)):
        fits = (series >= 0) & np.isfinite(series)
        if not fits.all():
            hour = int(fits.argmin())
            raise AccountError(f"{name}[{hour}]", float(series[hour]), "0 or more")
    return float(kwh @ factor)


def upstream_g(kwh: Series, *, direct: Series, life_cycle: Series) -> float:
    """Return scope 3 category 3: what making and bringing the fuel emits."""
    return emitted_g(kwh, life_cycle) - emitted_g(kwh, direct)


def market(
    used_kwh: float,
    contracts: Iterable[Contract],
    *,
    location_g_per_kwh: float,
    residual_g_per_kwh: float | None,
) -> Market:
    """Return scope 2 by the market-based method; contracts count in the order given."""
    _check("used_kwh", used_kwh)
    _check("location_g_per_kwh", location_g_per_kwh)
    left, unused = used_kwh, 0.0
    lines = []
    for contract in contracts:
        _check(f"{contract.name}: kwh", contract.kwh)
        _check(f"{contract.name}: g_per_kwh", contract.g_per_kwh)
        taken = min(contract.kwh, left)
        left, unused = left - taken, unused + contract.kwh - taken
        lines.append(MarketLine(name=contract.name, kwh=taken, grams=taken * contract.g_per_kwh))
    fell_back = False
    if left > TOLERANCE_KWH:
        if residual_g_per_kwh is None:
            fell_back = True
            name, factor = "location factor (no residual mix known)", location_g_per_kwh
        else:
            _check("residual_g_per_kwh", residual_g_per_kwh)
            name, factor = "residual mix", residual_g_per_kwh
        lines.append(MarketLine(name=name, kwh=left, grams=left * factor))
    return Market(lines=tuple(lines), unused_kwh=unused, fell_back=fell_back)


def embodied_share_g(
    machine_g: float, *, reserved_s: float, life_s: float, resource_share: float = 1.0
) -> float:
    """Return the part of a machine's embodied carbon that a span of use bears."""
    _check("machine_g", machine_g)
    _check("reserved_s", reserved_s)
    if not 0 < life_s < math.inf:
        raise AccountError("life_s", life_s, "above 0")
    if not 0 <= resource_share <= 1:
        raise AccountError("resource_share", resource_share, "0 to 1")
    return machine_g * (reserved_s / life_s) * resource_share


def sci_g(operational_g: float, embodied_g: float, *, functional_units: float) -> float:
    """Return grams per functional unit, such as one inference."""
    _check("operational_g", operational_g)
    _check("embodied_g", embodied_g)
    if not 0 < functional_units < math.inf:
        raise AccountError("functional_units", functional_units, "above 0")
    return (operational_g + embodied_g) / functional_units


def _check(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise AccountError(name, value, "0 or more")
