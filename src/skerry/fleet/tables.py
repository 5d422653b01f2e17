"""Tables that ship with skerry: grid carbon by country, machine types, country codes.

Every figure is *stated*, with its source in the table's own head. A fleet file may
override any of them.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from skerry.schema.fleet import Machine


@dataclass(frozen=True, slots=True)
class GridZone:
    """The yearly mean carbon intensity of one country's electricity, life cycle."""

    zone: str
    year: int
    g_per_kwh: float

    @property
    def source(self) -> str:
        """Where the figure comes from, as reports print it."""
        return f"stated: Our World in Data / Ember {self.year} via CodeCarbon"


def _rows(name: str) -> list[dict[str, str]]:
    text = files("skerry.fleet").joinpath("tables", name).read_text("utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def grid_zones() -> dict[str, GridZone]:
    """Return the built-in grid table, by zone (ISO 3166-1 alpha-2)."""
    return {
        row["zone"]: GridZone(row["zone"], int(row["year"]), float(row["g_per_kwh"]))
        for row in _rows("grid.csv")
    }


@cache
def machine_types() -> dict[str, Machine]:
    """Return the built-in machine types, by name."""
    return {
        row["name"]: Machine(
            name=row["name"],
            idle_w=float(row["idle_w"]),
            busy_w=float(row["busy_w"]),
            price_usd=float(row["price_usd"]),
            life_years=float(row["life_years"]),
            source=row["source"],
        )
        for row in _rows("machines.csv")
    }


def _countries() -> frozenset[str]:
    text = files("skerry.fleet").joinpath("tables", "countries.txt").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(code for line in lines for code in line.split())


COUNTRIES: frozenset[str] = _countries()
"""ISO 3166-1 alpha-2 codes in use."""
