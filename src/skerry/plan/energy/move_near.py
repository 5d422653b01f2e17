"""Loads between regions that are near enough: the least carbon under a latency limit and room.

Each region has the same room and the same load, a share of it. A load may run in any region
within a round trip of its own, as long as there is room; where it runs is fixed for the
whole signal. A linear program finds the least mean intensity, so no order of regions
decides who gets the clean places.

Units:   ms (round trips), gCO2e/kWh; loads and rooms in the same unit, a region's room is 1.
Shapes:  factors are (regions,); shares are (regions, regions), from home to host.
Errors:  ColumnError for a file; MoveError where fewer than two regions have a signal.
Source:  the question is that of Sukprasert et al., EuroSys 2024, who place greedily.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import highspy
import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.plan.columns import Number, Text, read_columns
from skerry.plan.energy.move import MoveError
from skerry.plan.energy.signals import Series
from skerry.plan.errors import ColumnError
from skerry.plan.site.highs import QuietHighs

Matrix = NDArray[np.float64]
MS_MAX: Final = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Near:
    """Regions with their zones, and round trips between them; NaN where none was measured."""

    regions: tuple[str, ...]
    zones: tuple[str, ...]
    round_trip_ms: Matrix
    left_out: tuple[str, ...]
    """Regions whose grid zone has no series in the signal."""


def read_near(pairs_path: Path, zones_path: Path, *, known: Sequence[str]) -> Near:
    """Read round trips between regions and the grid zone of each; `known` are the signal's."""
    zone_of = read_zones(zones_path)
    regions = tuple(name for name, zone in zone_of.items() if zone in known)
    if len(regions) < 2:
        raise MoveError(regions, "fewer than two regions have a grid zone in the signal")
    read = read_columns(
        pairs_path,
        {
            "sending_region": Text(),
            "receiving_region": Text(),
            "milliseconds": Number(low=0, high=MS_MAX),
        },
    )
    place = {name: at for at, name in enumerate(regions)}
    found = np.full((len(regions), len(regions)), np.nan)
    np.fill_diagonal(found, 0.0)
    named: set[tuple[str, str]] = set()
    for row, pair in enumerate(
        zip(read.texts["sending_region"], read.texts["receiving_region"], strict=True)
    ):
        if pair in named:
            raise read.error(row, "receiving_region", " to ".join(pair), "each pair once")
        named.add(pair)
        if pair[0] in place and pair[1] in place and pair[0] != pair[1]:
            found[place[pair[0]], place[pair[1]]] = read.numbers["milliseconds"][row]
    return Near(
        regions=regions,
        zones=tuple(zone_of[name] for name in regions),
        round_trip_ms=found,
        left_out=tuple(name for name in zone_of if name not in place),
    )


def read_zones(path: Path) -> dict[str, str]:
    """Read a region's grid zone: JSON `{region: zone}`, or columns `region` and `zone`."""
    if path.suffix.lower() == ".json":
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except msgspec.ValidationError:
            pass  # a table of records, as every other file may be
        except (OSError, msgspec.DecodeError) as error:
            wanted = "a JSON object of region to zone, or columns region and zone"
            raise ColumnError(str(path), 0, "", str(error), wanted) from error
    read = read_columns(path, {"region": Text(), "zone": Text()})
    found: dict[str, str] = {}
    for row, name in enumerate(read.texts["region"]):
        if name in found:
            raise read.error(row, "region", repr(name), "each region once")
        found[name] = read.texts["zone"][row]
    return found


def place_near(near: Near, factor: Series, *, limit_ms: float, load_ratio: float) -> Matrix:
    """Return where each region's load runs: (home, host), rows of it adding up to the load."""
    home, host = np.nonzero(near.round_trip_ms <= limit_ms)
    regions, pairs = len(near.regions), len(home)
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = pairs, 2 * regions
    program.col_cost_ = factor[host]
    program.col_lower_, program.col_upper_ = np.zeros(pairs), np.full(pairs, highspy.kHighsInf)
    program.row_lower_ = np.concatenate([np.full(regions, load_ratio), np.zeros(regions)])
    program.row_upper_ = np.concatenate([np.full(regions, load_ratio), np.ones(regions)])
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.arange(0, 2 * pairs + 1, 2).astype(np.int32)
    rows = np.stack([home, regions + host], axis=1).reshape(-1)
    program.a_matrix_.index_ = rows.astype(np.int32)
    program.a_matrix_.value_ = np.ones(2 * pairs)
    solver = QuietHighs()
    solver.passModel(program)
    solver.run()
    shares = np.zeros((regions, regions))
    shares[home, host] = np.maximum(np.array(solver.getSolution().col_value), 0.0)
    return shares


def mean_g(shares: Matrix, factor: Series) -> float:
    """Return the mean intensity of all loads where they run."""
    return float(shares.sum(axis=0) @ factor / shares.sum())


def broken(near: Near, shares: Matrix, *, limit_ms: float, load_ratio: float) -> list[str]:
    """Check a placement without its maker: name every load, room and limit that it breaks."""
    found = []
    for at, name in enumerate(near.regions):
        if abs(shares[at].sum() - load_ratio) > 1e-6:
            found.append(f"{name}: {shares[at].sum():g} of its load {load_ratio:g} is placed")
        if shares[:, at].sum() > 1 + 1e-6:
            found.append(f"{name}: {shares[:, at].sum():g} in a room of 1")
    for home, host in zip(*np.nonzero(shares > 1e-9), strict=True):
        if not near.round_trip_ms[home, host] <= limit_ms:
            found.append(f"{near.regions[home]} to {near.regions[host]}: above {limit_ms:g} ms")
    return found


def year_means(near: Near, factors: Mapping[str, Series], first: int, last: int) -> Series:
    """Return each region's mean factor over some hours."""
    return np.array([factors[zone][first:last].mean() for zone in near.zones])
