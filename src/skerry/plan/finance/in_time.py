"""The share of answers in time: what a replay found, carried over to other loads and inputs.

    ratio * replay / formula                        where the replay found fewer in time
    1 - (1 - ratio) * (1 - replay) / (1 - formula)  where it found more

Either scales the part that is wrong (answers in time, or late ones) by a factor of at most
1. So at the load replayed the result is the replay's own share, elsewhere it moves with the
formula, and it stays from 0 to 1 however small the formula's share is.

Units:   shares are fractions of the requests sent; milliseconds.
"""

from dataclasses import dataclass

import numpy as np

from skerry.plan.finance.cash_flow import Series


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """One tier's share of answers in time at one load, by both ways."""

    formula_ratio: float
    replay_ratio: float
    replay_ms: Series
    """What each request waits for in the replay; infinite where it is refused."""

    @property
    def replay_ms_p95(self) -> float:
        """The latency that 95 % of requests keep in the replay."""
        return float(np.quantile(self.replay_ms, 0.95, method="inverted_cdf"))

    def corrected(self, ratio: Series) -> Series:
        """Return the formula's share at any load, corrected by what the replay found."""
        if self.replay_ratio < self.formula_ratio:
            return ratio * (self.replay_ratio / self.formula_ratio)
        if self.replay_ratio > self.formula_ratio:
            return 1 - (1 - ratio) * ((1 - self.replay_ratio) / (1 - self.formula_ratio))
        return np.asarray(ratio)
