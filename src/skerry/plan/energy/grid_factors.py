"""Yearly emission factors by country and US state, for where no hourly signal is at hand.

Source: `tables/grid_yearly.csv`, with its own sources and licences in its head.
Errors: ZoneError, for a place that the table does not have.
"""

import csv
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from skerry.plan.energy.signals import ZoneError

TABLE: Final = "grid_yearly.csv"
DIRECT_BASIS: Final = "direct"


@dataclass(frozen=True, slots=True, kw_only=True)
class YearlyFactor:
    """One place's yearly mean; `basis` is `life cycle` or `direct`."""

    place: str
    name: str
    year: int
    basis: str
    g_per_kwh: float

    @property
    def source(self) -> str:
        """Where the figure is from, in words."""
        origin = "US EPA eGRID" if self.basis == DIRECT_BASIS else "Our World in Data and Ember"
        return f"{self.name}, {self.year}, {self.basis}: {origin}, through CodeCarbon"


def yearly_factor(place: str) -> YearlyFactor:
    """Return a country's (ISO 3166-1 alpha-3) or a US state's (`US-CA`) yearly factor."""
    text = files("skerry.plan").joinpath("tables", TABLE).read_text("utf-8")
    known = []
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        known.append(row["place"])
        if row["place"] == place:
            return YearlyFactor(
                place=place,
                name=row["name"],
                year=int(row["year"]),
                basis=row["basis"],
                g_per_kwh=float(row["g_per_kwh"]),
            )
    raise ZoneError(TABLE, place, known)
