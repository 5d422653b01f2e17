"""Replicas at rest: how many machines a load needs, and what resting the others saves.

    needed  = load / utilisation allowed, rounded up, at least `keep`, at most all
    energy  = on * power(load / on) + resting * standby + wakes * idle * wake time

Loads are in machines kept busy (erlangs), one value per step. A machine that is on shares
the load evenly with the others that are on.

Units:   watts, watt-hours, seconds; utilisation is a fraction, 0 to 1.
Shapes:  loads and counts are (steps,).
Errors:  ReplicaError, for a setting that cannot be.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.base.units import SECONDS_PER_HOUR
from skerry.energy.errors import EnergyError
from skerry.energy.power_curve import PowerCurve, Series

Counts = NDArray[np.int64]


class ReplicaError(EnergyError):
    """A setting of replicas that cannot be, such as keeping more than there are."""

    code = "E1514"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Recall what each setting is."""
        return "machines are whole numbers; standby draws less than idle; utilisation is 0 to 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Machines that can answer for each other, and rest when they are not needed."""

    machines: int
    curve: PowerCurve
    standby_w: float
    wake_s: float
    """How long a waking machine draws idle power before it serves."""
    utilisation_max: float
    keep: int = 1

    def __post_init__(self) -> None:
        if self.machines < 1:
            raise ReplicaError("machines", self.machines, "1 or more")
        if not 1 <= self.keep <= self.machines:
            raise ReplicaError("keep", self.keep, f"1 to {self.machines}")
        if not 0 <= self.standby_w <= self.curve.idle_w:
            raise ReplicaError("standby_w", self.standby_w, f"0 to {self.curve.idle_w:g}")
        if not 0 < self.utilisation_max <= 1:
            raise ReplicaError("utilisation_max", self.utilisation_max, "above 0, up to 1")
        if not self.wake_s >= 0:
            raise ReplicaError("wake_s", self.wake_s, "0 or more")

    def needed(self, load: Series) -> Counts:
        """Return how many machines each step needs."""
        wanted = np.ceil(load / self.utilisation_max - 1e-9)
        counts: Counts = np.clip(wanted, self.keep, self.machines).astype(np.int64)
        return counts

    def all_on(self, steps: int) -> Counts:
        """Return the counts of a site where nothing rests."""
        return np.full(steps, self.machines, dtype=np.int64)

    def served(self, on: Counts, load: Series) -> Counts:
        """Return the counts with every machine woken in steps that `on` is too few for."""
        counts: Counts = np.where(on < self.needed(load), self.machines, on)
        return counts

    def energy_wh(self, on: Counts, load: Series, *, step_s: float) -> float:
        """Return the energy of all machines over the span; load above all of them waits."""
        share = np.minimum(load / on, 1.0)
        running_w = on * self.curve.power_w(share)
        resting_w = (self.machines - on) * self.standby_w
        wakes = int(np.maximum(np.diff(on), 0).sum())
        waking_wh = wakes * self.curve.idle_w * self.wake_s / SECONDS_PER_HOUR
        return float((running_w + resting_w).sum()) * step_s / SECONDS_PER_HOUR + waking_wh
