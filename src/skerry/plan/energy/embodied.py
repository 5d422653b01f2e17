"""Embodied carbon of machines: makers' own figures from a table, or a sum over parts.

The table has one row per product, as Boavizta publishes it: the maker's total over the
product's life, the parts of it by stage, and the life that the maker assumed. What is
embodied is manufacturing, transport and end of life; use is counted where it happens.

Units:   kgCO2e, years.
Errors:  ColumnError with row and column.
Source:  Boavizta environmental-footprint-data (ODbL 1.0); parts: Microsoft GreenSKU (ISCA
         2024), NVIDIA's product carbon footprints, Chien et al. 2023.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from skerry.plan.columns import Number, Text, read_columns
from skerry.plan.errors import ColumnError

KG_MAX: Final = 1e6
PARTS: Final = {
    "memory_gb": "memory_kg_per_gb",
    "ssd_tb": "ssd_kg_per_tb",
    "gpus": "gpu_with_host_kg",
}
"""A part of a server to the input that holds its carbon."""
RACKS: Final = "racks"
_STAGES: Final = ("gwp_manufacturing_ratio", "gwp_transport_ratio", "gwp_eol_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One product as its maker states it; None where the maker does not say."""

    maker: str
    name: str
    kind: str
    total_kg: float
    manufacturing_kg: float | None
    embodied_kg: float | None
    """Manufacturing, transport and end of life, where at least the first is stated."""
    life_years: float | None
    source: str


def read_products(path: Path, *, kind: str | None = None) -> tuple[Product, ...]:
    """Read a table of products; `kind` keeps the rows of one subcategory, such as Server."""
    ratio = Number(low=0, high=1, may_be_empty=True)
    read = read_columns(
        path,
        {
            "manufacturer": Text(),
            "name": Text(),
            "subcategory": Text(),
            "gwp_total": Number(low=0, high=KG_MAX),
            **dict.fromkeys(_STAGES, ratio),
            "lifetime": Number(low=0, high=100, may_be_empty=True),
        },
        optional={"sources": Text(may_be_empty=True)},
    )
    total = read.numbers["gwp_total"]
    stages = np.array([read.numbers[name] for name in _STAGES])
    above = np.nansum(stages, axis=0) > 1 + 1e-6
    if above.any():
        row = int(above.argmax())
        found = f"stages that add up to {np.nansum(stages[:, row]):g}"
        raise read.error(row, _STAGES[0], found, "parts of a whole, at most 1 together")
    known = ~np.isnan(stages[0])
    embodied = total * np.nansum(stages, axis=0)
    made = total * stages[0]
    sources = read.texts.get("sources", [""] * len(read))
    found_products = tuple(
        Product(
            maker=read.texts["manufacturer"][row],
            name=read.texts["name"][row],
            kind=read.texts["subcategory"][row],
            total_kg=float(total[row]),
            manufacturing_kg=float(made[row]) if known[row] else None,
            embodied_kg=float(embodied[row]) if known[row] else None,
            life_years=_or_none(float(read.numbers["lifetime"][row])),
            source=sources[row],
        )
        for row in range(len(read))
        if kind is None or read.texts["subcategory"][row] == kind
    )
    if not found_products:
        raise ColumnError(str(path), 0, "subcategory", f"no {kind}", "at least one product of it")
    return found_products


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What a table of products says about one of them that is not in it."""

    products: int
    with_split: int
    total_kg_median: float
    manufacturing_kg_median: float
    embodied_kg_low: float
    embodied_kg_median: float
    embodied_kg_high: float
    """Low and high are the 10th and the 90th percentile."""


def spread(products: Sequence[Product]) -> Spread:
    """Return medians and the range of products; those without a split count in totals only."""
    made = [p.manufacturing_kg for p in products if p.manufacturing_kg is not None]
    embodied = [p.embodied_kg for p in products if p.embodied_kg is not None]
    low, middle, high = np.percentile(embodied, [10, 50, 90]) if embodied else (0.0, 0.0, 0.0)
    return Spread(
        products=len(products),
        with_split=len(made),
        total_kg_median=median(p.total_kg for p in products),
        manufacturing_kg_median=median(made) if made else 0.0,
        embodied_kg_low=float(low),
        embodied_kg_median=float(middle),
        embodied_kg_high=float(high),
    )


def built_kg(parts: Mapping[str, float], inputs: Mapping[str, float]) -> float:
    """Return a server's embodied carbon as a sum: the bare machine, memory, disks, accelerators."""
    return inputs["server_bare_kg"] + sum(
        count * inputs[PARTS[part]] for part, count in parts.items() if part in PARTS
    )


def housing_kg(racks: float, inputs: Mapping[str, float], *, years: float) -> float:
    """Return the share of racks and of the building around them that some years bear."""
    rack_kg = inputs["rack_kg"] / inputs["server_life_years"]
    return racks * (rack_kg + inputs["building_kg_per_rack_year"]) * years


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
