"""OR-Library's files of facility location, as siting problems.

`cap` (capacitated warehouse location): `m n`, then m lines `capacity fixed_cost`, then for
each customer its demand and the m costs of serving ALL of it. In the large files the word
`capacity` stands where a number should be: the caller gives it.

`pmed` (p-median): `n edges p`, then edges `i j cost`; a repeated edge takes its last cost.
Each vertex is a demand of 1 and a possible site; the cost of a pair is the shortest path.

Source:  J. E. Beasley, OR-Library; EJOR 33 (1988) 314-325 and EJOR 21 (1985) 270-273.
Errors:  SiteFileError, with the number of the word that cannot be used.
"""

import math
from pathlib import Path
from typing import Final

import numpy as np

from skerry.base.units import BYTES_PER_MIB
from skerry.plan.site.errors import SiteFileError
from skerry.plan.site.problem import Floats, Problem

FILE_BYTES_MAX: Final = 256 * BYTES_PER_MIB
SITES_MAX: Final = 5000


class _Words:
    """The words of a file in turn; an error says which word it was."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, 0
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise self.error("a larger file", f"at most {FILE_BYTES_MAX} bytes")
            self._words = path.read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise SiteFileError(str(path), "", str(error), "a file of OR-Library") from error
        if not self._words:
            raise SiteFileError(str(path), "", "an empty file", "a file of OR-Library")

    def error(self, found: str, wanted: str) -> SiteFileError:
        return SiteFileError(str(self.path), f"word {self._at}", found, wanted)

    def next(self, what: str) -> str:
        self._at += 1
        if self._at > len(self._words):
            raise self.error("the file ends", what)
        return self._words[self._at - 1]

    def number(self, what: str) -> float:
        word = self.next(what)
        try:
            value = float(word)
        except ValueError:
            raise self.error(repr(word[:40]), what) from None
        if not 0 <= value < math.inf:
            raise self.error(word[:40], f"{what}, 0 or more")
        return value

    def whole(self, what: str, *, low: int, high: int) -> int:
        value = self.number(what)
        if value != int(value) or not low <= value <= high:
            raise self.error(f"{value:g}", f"{what}, a whole number from {low} to {high}")
        return int(value)

    def end(self) -> None:
        if self._at < len(self._words):
            self._at += 1
            raise self.error(f"more words ({self._words[self._at - 1][:40]!r})", "the end")


def read_cap(path: Path, *, capacity: float | None, split: bool) -> Problem:
    """Read a file of warehouses; `capacity` takes the place of the word in the large ones."""
    words = _Words(path)
    sites = words.whole("the number of warehouses", low=1, high=SITES_MAX)
    demands = words.whole("the number of customers", low=1, high=1_000_000)
    capacities, fixed = np.empty(sites), np.empty(sites)
    named = False
    for site in range(sites):
        what = f"the capacity of warehouse {site + 1}"
        if words.next(what) == "capacity":
            named = True
            if capacity is None:
                raise words.error("the word 'capacity'", "--capacity with a number for it")
            capacities[site] = capacity
        else:
            words._at -= 1
            capacities[site] = words.number(what)
        fixed[site] = words.number(f"the fixed cost of warehouse {site + 1}")
    if capacity is not None and not named:
        raise SiteFileError(
            str(path), "", "--capacity, but the file states each capacity", "no --capacity"
        )
    demand, cost = np.empty(demands), np.empty((sites, demands))
    for customer in range(demands):
        demand[customer] = words.number(f"the demand of customer {customer + 1}")
        for site in range(sites):
            cost[site, customer] = words.number(f"a cost of customer {customer + 1}")
    words.end()
    return Problem(fixed=fixed, capacity=capacities, demand=demand, cost=cost, split=split)


def read_pmed(path: Path, *, split: bool) -> Problem:
    """Read a file of a p-median; the graph must be connected."""
    words = _Words(path)
    size = words.whole("the number of vertices", low=1, high=SITES_MAX)
    edges = words.whole("the number of edges", low=0, high=10_000_000)
    count = words.whole("the number of medians", low=1, high=size)
    length = np.full((size, size), np.inf)
    np.fill_diagonal(length, 0.0)
    for edge in range(edges):
        one = words.whole(f"an end of edge {edge + 1}", low=1, high=size) - 1
        other = words.whole(f"an end of edge {edge + 1}", low=1, high=size) - 1
        cost = words.number(f"the cost of edge {edge + 1}")
        if one != other:
            length[one, other] = length[other, one] = cost
    words.end()
    return Problem(
        fixed=np.zeros(size),
        capacity=np.full(size, np.inf),
        demand=np.ones(size),
        cost=shortest_paths(length),
        count=count,
        split=split,
    )


def shortest_paths(length: Floats) -> Floats:
    """Return the lengths of all shortest paths (Floyd and Warshall); infinite where none is."""
    paths = length.copy()
    for middle in range(len(paths)):
        np.minimum(paths, paths[:, middle, None] + paths[None, middle, :], out=paths)
    return paths
