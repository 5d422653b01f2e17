"""Assumptions: the inputs of a plan that nobody measured, each with its range and source.

A plan carries every one it used into its report, so that a reader can see what a figure
rests on, and replace it by what they know.
"""

import msgspec

from skerry.schema.goal import Level


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """One input: a value, the range it may take, and where it comes from.

    `name` carries the unit in its last word, as a field's name does (`server_price_usd`);
    `unit` is the same in words. `low` and `high` bound a plausible range, both equal to
    `value` where the input is exact. `as_of` is the source's date, year first.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    level: Level
    source: str
    as_of: str
