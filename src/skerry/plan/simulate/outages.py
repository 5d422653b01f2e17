"""When machines, sites and links are down: drawn from a seed, and put there by a scenario.

Things break at a constant rate and stay down for a time that is exponential. The rates of
a scenario are a factor on the assumed ones, drawn so that a larger factor keeps every
outage of a smaller one and adds more: with the same seed, more failures are never fewer.

Units:   seconds from the simulation's start; rates are per year.
Shapes:  a *change* is one row of `at_s`, `nodes`, `down`, `cut`, by place in
         `first[p]` up to `first[p + 1]`, sorted by time within it. The running sums are
         the nodes lost, how many reasons the whole place is down for, and its cuts.
Limits:  two faults of one site at the same time count as two nodes, as if never the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import SECONDS_PER_DAY, SECONDS_PER_HOUR
from skerry.plan.simulate.fleet_arrays import FleetArrays, Floats, Ints

Steps = NDArray[np.int8]
_YEAR_S: Final = 365.0 * SECONDS_PER_DAY
NODE, SITE, LINK = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spells:
    """Outages: one row per spell of one place, of one kind (NODE, SITE or LINK)."""

    place: Ints
    kind: Ints
    begins_s: Floats
    ends_s: Floats


class Changes(NamedTuple):
    """The same as steps in time, in the form that kernels read."""

    first: Ints
    at_s: Floats
    nodes: Steps
    down: Steps
    cut: Steps


def drawn(
    fleet: FleetArrays, assumed: Mapping[str, float], *, factor: float, span_s: float, seed: int
) -> list[Spells]:
    """Draw what breaks by itself; rooms and clouds have no link of their own here."""
    places = np.arange(len(fleet.nodes))
    sites, above = places[: fleet.sites], places[fleet.sites :]
    nodes = np.repeat(places, fleet.nodes)
    hour = SECONDS_PER_HOUR
    ups_s = fleet.ups_s
    kinds = (
        (NODE, nodes, assumed["node_failures_per_year"], assumed["node_repair_h"] * hour),
        (SITE, sites, assumed["power_cuts_per_year"], assumed["power_cut_h"] * hour),
        (LINK, sites, assumed["wan_cuts_per_year"], assumed["wan_cut_h"] * hour),
        (SITE, above, assumed["room_losses_per_year"], assumed["room_loss_h"] * hour),
    )
    found = []
    for number, (kind, who, per_year, mean_s) in enumerate(kinds):
        spells = _poisson(kind, who, per_year, mean_s, factor, span_s, (seed, number))
        if kind == SITE:  # a supply without interruption bridges the first minutes
            begins_s = spells.begins_s + ups_s[spells.place]
            kept = begins_s < spells.ends_s
            spells = Spells(
                place=spells.place[kept],
                kind=spells.kind[kept],
                begins_s=begins_s[kept],
                ends_s=spells.ends_s[kept],
            )
        found.append(spells)
    return found


def _poisson(
    kind: int,
    who: Ints,
    per_year: float,
    mean_s: float,
    factor: float,
    span_s: float,
    seed: tuple[int, int],
) -> Spells:
    """Draw one stream per whole factor; the last is thinned, so a larger factor only adds."""
    places, begins, ends = [], [], []
    for layer in range(int(np.ceil(factor))):
        rng = np.random.default_rng((*seed, layer))
        count = int(rng.poisson(len(who) * per_year * span_s / _YEAR_S))
        place = who[rng.integers(0, len(who), count)] if len(who) else who[:0]
        begins_s = rng.random(count) * span_s
        ends_s = begins_s + rng.exponential(mean_s, count)
        kept = rng.random(count) < factor - layer
        places.append(place[kept[: len(place)]])
        begins.append(begins_s[kept])
        ends.append(ends_s[kept])
    place = np.concatenate([*places, np.empty(0, np.int64)])
    return Spells(
        place=place,
        kind=np.full(len(place), kind, dtype=np.int64),
        begins_s=np.concatenate([*begins, np.empty(0)]),
        ends_s=np.concatenate([*ends, np.empty(0)]),
    )


def on_purpose(places: Ints, kind: int, begins_s: float, lasts_s: float) -> Spells:
    """Return one spell for each of some places."""
    return Spells(
        place=places,
        kind=np.full(len(places), kind, dtype=np.int64),
        begins_s=np.full(len(places), begins_s),
        ends_s=np.full(len(places), begins_s + lasts_s),
    )


def changes_of(spells: list[Spells], places: int) -> Changes:
    """Return spells of any order as the steps that kernels walk through."""
    place = np.concatenate([*(one.place for one in spells)] * 2)
    kind = np.concatenate([*(one.kind for one in spells)] * 2)
    at_s = np.concatenate([*(s.begins_s for s in spells), *(s.ends_s for s in spells)])
    step = np.repeat(np.array([1, -1], dtype=np.int8), len(place) // 2)
    order = np.lexsort((at_s, place))
    place, kind, step = place[order], kind[order], step[order]
    return Changes(
        first=np.searchsorted(place, np.arange(places + 1)),
        at_s=at_s[order],
        nodes=np.where(kind == NODE, step, 0).astype(np.int8),
        down=np.where(kind == SITE, step, 0).astype(np.int8),
        cut=np.where(kind == LINK, step, 0).astype(np.int8),
    )
