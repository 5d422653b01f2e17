"""`skerry plan shift`: what is saved when a job waits for cleaner hours, and whether it is much.

Jobs arrive at every hour of the signal in turn. Each runs at once, or in one piece at its
window's best hour, or in the best hours picked freely. The choice is made on a forecast and
paid at the actual values, so every saving here is a realised one. A saving below the
threshold, or in a zone whose signal hardly varies, counts as none: the answer is *no gain*,
and the true figure stands beside it.

    saving = (at once - shifted) / at once        means over all start hours

Units:   gCO2e per job at the load given; hours; ratios are fractions.
Errors:  ShiftError for a job that no hour can hold; those of `plan.signals`.
Source:  Sukprasert et al., "On the Limitations of Carbon-Aware Temporal and Spatial Workload
         Shifting in the Cloud", EuroSys 2024.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from skerry.base.errors import Exit
from skerry.plan.energy.shift_kernel import (
    at_once,
    in_one_piece,
    picked_freely,
    ranks_of,
    starts_of,
)
from skerry.plan.energy.signals import Series, Signal
from skerry.plan.errors import PlanError

JOB_HOURS: Final = (1, 6, 12, 24, 48, 96, 168)
SLACK_HOURS: Final = (24, 168, 480, 720, 8760)
"""The lengths and slacks of the study, 35 cells."""
FLAT_CV: Final = 0.03
"""Below this coefficient of variation a signal counts as flat: no shift can be told from noise."""


class ShiftError(PlanError):
    """A job that cannot be shifted over a signal: too long for it, or of no length."""

    code = "E0971"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say what bounds a job."""
        return "a job and its slack are whole hours, and the job fits into the signal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One zone, job length and slack: mean emissions over all starts, paid at actual values."""

    zone: str
    job_h: int
    slack_h: int
    starts: int
    baseline_g: float
    contiguous_g: float
    interruptible_g: float
    contiguous_perfect_g: float
    """What a perfect forecast would have reached; equal to `contiguous_g` where it was perfect."""
    interruptible_perfect_g: float
    variation_cv: float

    @property
    def flat(self) -> bool:
        """Whether the zone hardly varies."""
        return self.variation_cv < FLAT_CV

    def saved(self, shifted_g: float) -> float:
        """Return the share of the baseline that a shifted mean saves; negative where it adds."""
        return (self.baseline_g - shifted_g) / self.baseline_g if self.baseline_g else 0.0

    def gain(self, shifted_g: float, threshold: float) -> float:
        """Return the saving that counts: 0 below the threshold and in a flat zone."""
        saved = self.saved(shifted_g)
        return 0.0 if self.flat or saved < threshold else saved


def cell(
    zone: str, actual: Series, *, job_h: int, slack_h: int, forecast: Series | None = None
) -> Cell:
    """Shift one job length and slack over one zone; `forecast` is what the choice is made on.

    Grams are per job at 1 kW.
    """
    for name, value, least in (("job hours", job_h, 1), ("slack hours", slack_h, 0)):
        if value < least:
            raise ShiftError(name, value, f"{least} or more")
    starts = starts_of(len(actual), job_h=job_h, slack_h=slack_h)
    if starts < 1:
        raise ShiftError("job hours", job_h, f"less than the signal's {len(actual)} hours")
    seen = actual if forecast is None else forecast

    def means(believed: Series) -> tuple[float, float]:
        piece = in_one_piece(believed, actual, job_h, slack_h, starts)
        free = picked_freely(actual, ranks_of(believed), job_h, slack_h, starts)
        return float(piece.mean()), float(free.mean())

    contiguous_g, interruptible_g = means(seen)
    perfect = (contiguous_g, interruptible_g) if seen is actual else means(actual)
    mean = float(actual.mean())
    return Cell(
        zone=zone,
        job_h=job_h,
        slack_h=slack_h,
        starts=starts,
        baseline_g=float(at_once(actual, job_h, starts).mean()),
        contiguous_g=contiguous_g,
        interruptible_g=interruptible_g,
        contiguous_perfect_g=perfect[0],
        interruptible_perfect_g=perfect[1],
        variation_cv=float(actual.std()) / mean if mean else 0.0,
    )


def table(
    signal: Signal,
    *,
    zones: Sequence[str],
    jobs_h: Sequence[int] = JOB_HOURS,
    slacks_h: Sequence[int] = SLACK_HOURS,
    forecasts: Mapping[str, Series] | None = None,
    tell: Callable[[float], object] = lambda share: None,
) -> list[Cell]:
    """Return every cell of every zone, zone by zone."""
    cells = []
    for done, zone in enumerate(zones):
        tell(done / len(zones))
        cells += [
            cell(
                zone,
                signal.factor[zone],
                job_h=job_h,
                slack_h=slack_h,
                forecast=None if forecasts is None else forecasts[zone],
            )
            for job_h in jobs_h
            for slack_h in slacks_h
        ]
    return cells
