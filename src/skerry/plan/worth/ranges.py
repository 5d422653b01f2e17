"""Ranges of `skerry worth`: draws over all inputs, swings of one, and the break-even.

Half of the draws of an input lie on each side of its value, denser towards it. A swing moves
one input from its low to its high end, the others at their values. The break-even is the
multiple of today's load from which own sites stay cheaper.

Units:   USD a month; multiples of today's load.
Shapes:  inputs are (draws, 1); results (draws,).
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.plan.worth.costs import Costs, Inputs, costs
from skerry.plan.worth.demand import Demand
from skerry.schema.assumption import Assumption

Series = NDArray[np.float64]
Rows = Mapping[str, Assumption]
SCAN_DRAWS: Final = 120
LOADS: Final = np.geomspace(1e-3, 1e5, 161)
"""Multiples of today's load among which the break-even is looked for."""
LOW, HIGH = 5, 95
SHARE: Final = (HIGH - LOW) / 100
NOT_SWUNG: Final = frozenset({"usd_per_bill_unit"})


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """The median over draws, and the range that holds 90 % of them."""

    value: float
    low: float
    high: float


class Swing(msgspec.Struct, frozen=True, kw_only=True):
    """What one input moves the monthly saving to, over its range, the others at their values."""

    name: str
    low: float
    high: float
    unit: str
    saving_usd_at_low: float
    saving_usd_at_high: float
    swing_usd_per_month: float
    measure: str


def input_columns(rows: Rows, changed: Mapping[str, Series]) -> Inputs:
    """Return the inputs at their values, with some of them as a column of other values."""
    count = max((len(one) for one in changed.values()), default=1)
    return {
        name: np.reshape(changed.get(name, np.full(count, row.value)), (-1, 1))
        for name, row in rows.items()
    }


def drawn_inputs(rows: Rows, count: int, seed: int) -> Inputs:
    """Draw every input between its ends; half of the draws lie on each side of its value."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, row in rows.items():
        uniform = rng.random((count, 1))  # drawn always, so that one fixed input moves no other
        below = row.low + (row.value - row.low) * np.sqrt(np.minimum(2 * uniform, 1))
        above = row.high - (row.high - row.value) * np.sqrt(np.minimum(2 - 2 * uniform, 1))
        found[name] = np.where(uniform < 0.5, below, above)
    return found


def percentiles(values: Series) -> tuple[float, float]:
    """Return the ends between which 90 % of draws lie."""
    low, high = np.percentile(values, [LOW, HIGH])
    return float(low), float(high)


def spread_of(drawn: Series) -> Spread:
    """Return the median of draws and the range that holds 90 % of them."""
    low, high = percentiles(drawn)
    return Spread(value=float(np.median(drawn)), low=low, high=high)


def break_even_load(demand: Demand, rows: Rows, scaled: Costs, seed: int) -> Spread | None:
    """Return the load, over today's, from which own sites cost less; None where there is none.

    The value is at the inputs' values; its range is over draws, and one without a break-even
    counts as the end that it lies beyond.
    """
    found = _crossing(scaled.saving_usd)
    if found is None:
        return None
    drawn = drawn_inputs(rows, SCAN_DRAWS, seed)
    repeated = {name: np.repeat(one, len(LOADS), axis=0) for name, one in drawn.items()}
    repeated["traffic_ratio"] = repeated["traffic_ratio"] * np.tile(LOADS, SCAN_DRAWS)[:, None]
    savings = costs(demand, repeated).saving_usd.reshape(SCAN_DRAWS, len(LOADS))
    loads = [_crossing(one) or float(LOADS[0 if one[-1] > 0 else -1]) for one in savings]
    low, high = percentiles(np.array(loads))
    return Spread(value=found, low=min(low, found), high=max(high, found))


def _crossing(saving: Series) -> float | None:
    """Return the load above which the saving stays positive; None where it never does, or always.

    Machines come in whole numbers, so savings jump; the last crossing is the safe one.
    """
    if saving[-1] <= 0 or (saving > 0).all():
        return None
    last = int(np.flatnonzero(saving <= 0)[-1])
    low, high = saving[last], saving[last + 1]
    share = -low / (high - low)
    return float(LOADS[last] * (LOADS[last + 1] / LOADS[last]) ** share)


def swings_of(demand: Demand, rows: Rows) -> tuple[Swing, ...]:
    """Return what each input moves the saving by, widest first."""
    names = [name for name, row in rows.items() if row.high > row.low and name not in NOT_SWUNG]
    if not names:
        return ()
    count = 2 * len(names)
    inputs = {name: np.full((count, 1), row.value) for name, row in rows.items()}
    for place, name in enumerate(names):
        inputs[name][2 * place, 0] = rows[name].low
        inputs[name][2 * place + 1, 0] = rows[name].high
    saving = costs(demand, inputs).saving_usd.reshape(-1, 2).tolist()
    found = [
        Swing(
            name=name,
            low=rows[name].low,
            high=rows[name].high,
            unit=rows[name].unit,
            saving_usd_at_low=low,
            saving_usd_at_high=high,
            swing_usd_per_month=abs(high - low),
            measure=how_to_measure()[name],
        )
        for name, (low, high) in zip(names, saving, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: -one.swing_usd_per_month))


@cache
def how_to_measure() -> dict[str, str]:
    """Return for each input how one finds its value, in a sentence."""
    text = files("skerry.plan").joinpath("tables", "worth_measure.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["name"]: row["how"] for row in rows}
