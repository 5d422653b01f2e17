"""`skerry plan move`: what is saved when loads move to cleaner zones, once or every hour.

One constant load sits in each zone of a group and may run anywhere in the group.

    at home   each load stays where it is
    fixed     all loads go to one zone, the one with the least mean, and stay
    hourly    all loads follow the hour's cleanest zone, whatever moving costs: the bound
    followed  the same, but a move is made only where it pays for its own energy: the least
              total of emissions and moves over all hours, by dynamic programming

Choices of `hourly` and `followed` are made on a forecast and paid at the actual values. A
move sends a load's state over the network; the energy of that and its egress price are
counted apart and taken off, and so is the traffic of users who stayed behind.

Units:   gCO2e per hour for 1 kW per zone inside; GB, kWh, USD where names say so.
Shapes:  factors are (zones, hours).
Errors:  MoveError for a group that has fewer than two zones, or one twice.
Source:  after Sukprasert et al., EuroSys 2024: most of the gain is one good fixed choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.plan.errors import PlanError

Matrix = NDArray[np.float64]
Path = NDArray[np.int64]


class MoveError(PlanError):
    """A group of zones between which nothing can move: fewer than two, or one twice."""

    code = "E0972"
    exit_code = Exit.WRONG_USE

    def __init__(self, zones: Sequence[str], why: str) -> None:
        super().__init__(tuple(zones), why)
        self.zones, self.why = tuple(zones), why

    def __str__(self) -> str:
        return f"zones {','.join(self.zones) or 'none'}: {self.why}"

    @property
    def hint(self) -> str:
        """Show how a group is written."""
        return "give two or more different zones, such as --zones DE,FR,PL"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveCosts:
    """What moving takes, for one load of `load_kw`."""

    load_kw: float
    state_gb: float
    """Sent once per move."""
    traffic_gb_per_h: float
    """Sent every hour that the load is away from its users."""
    network_kwh_per_gb: float
    egress_usd_per_gb: float

    @property
    def move_kwh(self) -> float:
        """Energy of one move."""
        return self.state_gb * self.network_kwh_per_gb

    @property
    def away_kw(self) -> float:
        """Power that the network draws for a load that is away."""
        return self.traffic_gb_per_h * self.network_kwh_per_gb


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one way of placing the loads emits over the whole signal, all loads together."""

    name: str
    compute_g: float
    network_g: float
    moves: int
    """Moves of one load, summed over loads."""
    network_kwh: float
    egress_usd: float

    @property
    def total_g(self) -> float:
        """Emissions with the network's own."""
        return self.compute_g + self.network_g


def at_home(actual: Matrix, costs: MoveCosts) -> Outcome:
    """Leave every load where it is."""
    return Outcome(
        name="at home",
        compute_g=float(actual.sum()) * costs.load_kw,
        network_g=0.0,
        moves=0,
        network_kwh=0.0,
        egress_usd=0.0,
    )


def along(name: str, place: Path, actual: Matrix, costs: MoveCosts) -> Outcome:
    """Run all loads in zone `place[h]` in hour h; each begins at home."""
    zones, hours = actual.shape
    here = actual[place, np.arange(hours)]
    moves = 0
    state_g = away_g = 0.0
    for home in range(zones):
        before = np.concatenate(([home], place[:-1]))
        moved = before != place
        moves += int(moved.sum())
        # The path draws power at both of its ends; their mean stands for what lies between.
        between = (actual[before, np.arange(hours)] + here) / 2
        state_g += float(between[moved].sum()) * costs.move_kwh
        away = place != home
        both = (actual[home] + here) / 2
        away_g += float(both[away].sum()) * costs.away_kw
    away_h = zones * hours - hours  # in each hour all loads but one are away
    sent_gb = moves * costs.state_gb + away_h * costs.traffic_gb_per_h
    return Outcome(
        name=name,
        compute_g=float(here.sum()) * zones * costs.load_kw,
        network_g=state_g + away_g,
        moves=moves,
        network_kwh=sent_gb * costs.network_kwh_per_gb,
        egress_usd=sent_gb * costs.egress_usd_per_gb,
    )


def fixed_path(zone: int, hours: int) -> Path:
    """Return the path that stays in one zone."""
    return np.full(hours, zone, dtype=np.int64)


def hourly_path(forecast: Matrix) -> Path:
    """Return the cleanest zone of each hour; ties stay with the first zone."""
    place: Path = forecast.argmin(axis=0).astype(np.int64)
    return place


def followed_path(forecast: Matrix, costs: MoveCosts) -> Path:
    """Return the path with the least total of emissions and moves, as the forecast sees them.

    A move costs its energy at the mean intensity of the hour, so that the least over all
    paths is found in O(hours * zones).
    """
    zones, hours = forecast.shape
    move_g = forecast.mean(axis=0) * costs.move_kwh / costs.load_kw
    came = np.empty((hours, zones), dtype=np.int64)
    least = forecast[:, 0].copy()
    own = np.arange(zones)
    came[0] = own
    for hour in range(1, hours):
        best = int(least.argmin())
        moved = least[best] + move_g[hour]
        stays = least <= moved
        came[hour] = np.where(stays, own, best)
        least = np.where(stays, least, moved) + forecast[:, hour]
    place = np.empty(hours, dtype=np.int64)
    place[-1] = int(least.argmin())
    for hour in range(hours - 1, 0, -1):
        place[hour - 1] = came[hour, place[hour]]
    return place
