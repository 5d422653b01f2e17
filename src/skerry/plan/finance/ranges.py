"""How sure a cost is: inputs drawn from their ranges, and what each of them moves.

Every input is drawn by itself from a PERT distribution over low, value and high:

    x = low + (high - low) * Beta(1 + 4 (value - low) / (high - low),
                                  1 + 4 (high - value) / (high - low))

whose mode is the value and whose mean is (low + 4 value + high) / 6. All tiers see the
same draws, so a difference between two of them is a difference of like with like.

Units:   as the inputs have them.
Shapes:  a drawn input is (draws, 1).
Source:  Malcolm et al., "Application of a technique for research and development program
         evaluation", Operations Research 1959.
Limits:  inputs are independent; a range is a judgement, so p10 and p90 are no more exact
         than the ranges they come from.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.plan.finance.cash_flow import Value
from skerry.schema.assumption import Assumption

Series = NDArray[np.float64]

QUANTILES: Final = (0.1, 0.5, 0.9)
STRONGEST: Final = 10
_PEAK: Final = 4
_MOVES_LEAST: Final = 1e-9


def pert(row: Assumption, draws: int, rng: np.random.Generator) -> Series:
    """Return draws of one input, (draws, 1)."""
    width = row.high - row.low
    if not width:
        return np.full((draws, 1), row.value)
    below = 1 + _PEAK * (row.value - row.low) / width
    above = 1 + _PEAK * (row.high - row.value) / width
    return row.low + width * rng.beta(below, above, size=(draws, 1))


def drawn(rows: Iterable[Assumption], *, draws: int, seed: int) -> dict[str, Value]:
    """Return every input as a column of draws; those without a range stay one number.

    Each input has a stream of its own, so that adding one leaves the others' draws alone.
    """
    found: dict[str, Value] = {}
    for row in rows:
        rng = np.random.default_rng([seed, *row.name.encode()])
        found[row.name] = row.value if row.high == row.low else pert(row, draws, rng)
    return found


def quantiles(values: Value) -> tuple[float, float, float]:
    """Return p10, p50 and p90; of one number, three times that."""
    found = np.quantile(np.atleast_1d(np.asarray(values)), QUANTILES, method="inverted_cdf")
    low, middle, high = (float(one) for one in found)
    return low, middle, high


def swings(
    rows: Iterable[Assumption], figure: Callable[[Mapping[str, Value]], float]
) -> tuple[tuple[str, float, float], ...]:
    """Return what each input alone moves a figure to, at its low and high end, widest first.

    Inputs that move nothing are left out; at most ten are returned.
    """
    known = {row.name: row for row in rows}
    base: dict[str, Value] = {name: row.value for name, row in known.items()}
    found = []
    for name, row in known.items():
        if row.low == row.high:
            continue
        at_low, at_high = figure({**base, name: row.low}), figure({**base, name: row.high})
        if not math.isclose(at_low, at_high, rel_tol=_MOVES_LEAST):
            found.append((name, at_low, at_high))
    found.sort(key=lambda one: -abs(one[2] - one[1]))
    return tuple(found[:STRONGEST])
