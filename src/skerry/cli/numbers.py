"""Numbers given as options: finite, within bounds, and named by their option where they are not.

`click.FloatRange` lets NaN and infinity pass, which then spoil a figure far from here.
"""

import math

import click

LARGEST = 1e12
"""No quantity of a plan is larger, in the unit of its option."""
PUE_MAX = 10.0


class Finite(click.ParamType[float]):
    """A number from `low` to `high`; `above` and `below` leave those ends out."""

    name = "number"

    def __init__(
        self,
        low: float = 0.0,
        high: float = LARGEST,
        *,
        above: bool = False,
        below: bool = False,
    ) -> None:
        self.low, self.high, self.above, self.below = low, high, above, below

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        text = str(value).strip()
        number = self.number(text)
        if not self._fits(number):
            self.fail(f"{text[:40]!r} is no {self.wanted()}", param, ctx)
        return number

    def number(self, text: str) -> float:
        """Return what a text says, NaN where it is no number."""
        try:
            return float(text)
        except ValueError:
            return math.nan

    def wanted(self) -> str:
        """Say what may be given."""
        low = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        high = f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        return f"number {low} and {high}"

    def _fits(self, number: float) -> bool:
        # NaN fails every comparison
        over = number > self.low if self.above else number >= self.low
        return over and (number < self.high if self.below else number <= self.high)


class Share(Finite):
    """A share: `5%` or `0.05`; one above 1 only with its percent sign, and where `high` lets it."""

    name = "share"

    def __init__(self, *, high: float = 1.0, above: bool = False, below: bool = False) -> None:
        super().__init__(0.0, high, above=above, below=below)

    def number(self, text: str) -> float:
        """Return the fraction."""
        if text.endswith("%"):
            return super().number(text.removesuffix("%")) / 100
        number = super().number(text)
        return number if number <= 1 else math.nan

    def wanted(self) -> str:
        """Say what may be given."""
        end = f"{'below' if self.below else 'at most'} {self.high:.0%}"
        return f"share such as 5% or 0.05, {end}; above 1 it needs its % sign"
