"""Batching: how much energy a token costs, and how long it takes, by how many share a step.

Between measured batch sizes both run in straight lines over logarithms; outside of them
nothing is known, and the nearest measured size stands in. A batch is only as full as the
load fills it:

    requests under way = arrivals per second * tokens per request * seconds per token

which is solved for the batch that a load settles at, up to the limit.

Units:   joules and milliseconds per token; the accelerator alone, without host or cooling.
Errors:  BatchError, for a curve that is no curve.
Source:  Little's law; figures from measurement, such as the ML.ENERGY benchmark.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.base.units import MS_PER_SECOND
from skerry.energy.errors import EnergyError

Series = NDArray[np.float64]


class BatchError(EnergyError):
    """A batching curve with fewer than two sizes, or sizes that do not ascend."""

    code = "E1513"
    exit_code = Exit.FILE_INVALID

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"

    @property
    def hint(self) -> str:
        """Say what a curve needs."""
        return "give two or more batch sizes, ascending, each with joules and ms per token above 0"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchCurve:
    """What was measured, one value per batch size."""

    name: str
    batch: Series
    j_per_token: Series
    inter_token_ms: Series

    def __post_init__(self) -> None:
        if len(self.batch) < 2 or (np.diff(self.batch) <= 0).any() or self.batch[0] < 1:
            raise BatchError(self.name, "batch sizes are too few or do not ascend from 1")
        for values in (self.j_per_token, self.inter_token_ms):
            if not ((values > 0) & np.isfinite(values)).all():
                raise BatchError(self.name, "a size lacks its joules or its ms per token")

    def j_at(self, batch: float) -> float:
        """Return the energy of a token at a batch size."""
        return self._at(batch, self.j_per_token)

    def ms_at(self, batch: float) -> float:
        """Return the time of a token at a batch size."""
        return self._at(batch, self.inter_token_ms)

    def _at(self, batch: float, values: Series) -> float:
        return math.exp(float(np.interp(math.log(batch), np.log(self.batch), np.log(values))))

    def largest_within(self, limit_ms: float) -> int | None:
        """Return the largest whole batch whose tokens keep to a time; None if none does."""
        limit_ms *= 1 + 1e-12  # a measured size is itself, whatever its logarithm rounds to
        if self.inter_token_ms[0] > limit_ms:
            return None
        low, high = int(self.batch[0]), int(self.batch[-1])
        while low < high:  # tokens get no faster in a larger batch, so halving finds the end
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.ms_at(middle) <= limit_ms else (low, middle - 1)
        return low

    def settles_at(self, tokens_per_s: float, limit: int) -> float:
        """Return the batch that a load keeps filled, from the smallest size to a limit.

        At the smallest size the real batch may be smaller still, and a token dearer.
        """
        low, high = float(self.batch[0]), float(limit)

        def filled(batch: float) -> float:
            return tokens_per_s * self.ms_at(batch) / MS_PER_SECOND - batch

        if filled(low) <= 0:
            return low
        if filled(high) >= 0:
            return high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if filled(middle) > 0 else (low, middle)
        return (low + high) / 2

    def tokens_per_s_max(self, limit: int) -> float:
        """Return what one accelerator makes with a full batch."""
        return limit * MS_PER_SECOND / self.ms_at(limit)
