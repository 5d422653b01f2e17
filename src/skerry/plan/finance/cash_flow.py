"""Cash flows: what is paid in each month, and what that comes to.

Month 0 is the day of the decision; months 1 to n follow, and what falls in a month is
paid at its end. A row is one line of a plan: its name, its kind, what is paid in each
month, and the source. Paid is positive, received is negative. Everything else (present
value, total cost, monthly cost, shares) is a view on the rows.

    present value = sum over months m of  usd_m / (1 + r / 12) ** m
    level payment = value * r / 12 / (1 - (1 + r / 12) ** -n)

A value in a row may be one number, or a column of draws (draws, 1), so that a whole
Monte Carlo run is one evaluation.

Units:   USD; months; a rate is a fraction a year, nominal, compounded every month.
Shapes:  months are (n + 1,), amounts (n + 1,) or (draws, n + 1); sums over months lose
         their last axis.
Errors:  CashFlowError, for a rate or a number of months that cannot be.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.plan.errors import PlanError
from skerry.schema.goal import Level

Series = NDArray[np.float64]
Value = float | Series
Amount = Callable[[Series], Series]
"""Months (n + 1,) to what is paid in each of them, (n + 1,) or (draws, n + 1)."""

MONTHS_PER_YEAR: Final = 12
MONTHS_MAX: Final = 600


class CashFlowError(PlanError):
    """A rate, a number of months or a load from which no cost can be made.

    A rate is a fraction a year: 0.05 for 5 %, above -1.
    """

    code = "E0910"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Name the usual slip."""
        return "a rate is a fraction a year: 0.05 for 5 %; months are whole, 1 or more"


class RowKind(StrEnum):
    """What a row pays for."""

    HARDWARE = "hardware"
    FACILITY = "facility"
    POWER = "power"
    COOLING = "cooling"
    CONNECTIVITY = "connectivity"
    EGRESS = "egress"
    STAFF = "staff"
    TRUCK_ROLLS = "truck rolls"
    SOFTWARE = "software"
    SPARES = "spares"
    REFRESH = "refresh"
    RESALE = "resale"
    FINANCING = "financing"
    RENT = "rent"
    LATENCY = "latency penalty"


CAPITAL: Final = frozenset(
    {RowKind.HARDWARE, RowKind.FACILITY, RowKind.REFRESH, RowKind.RESALE, RowKind.SPARES}
)
"""Kinds that buy or sell a thing (CapEx); the others pay for a month's use of one (OpEx)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a plan."""

    name: str
    kind: RowKind
    usd: Amount
    source: str
    level: Level = Level.ESTIMATE
    capital: bool | None = None
    """Whether it is CapEx; None takes the kind's word for it."""

    @property
    def is_capital(self) -> bool:
        """Whether the row buys or sells a thing."""
        return self.kind in CAPITAL if self.capital is None else self.capital


def once(usd: Value, *, month: int = 0) -> Amount:
    """Pay in one month."""
    return lambda months: usd * (months == month).astype(np.float64)


def monthly(
    usd: Value, *, first: int = 1, last: float = np.inf, growth_per_year: Value = 0.0
) -> Amount:
    """Pay in every month from `first` to `last`, more by a share each year."""

    def paid(months: Series) -> Series:
        grown = (1 + growth_per_year) ** ((months - first) / MONTHS_PER_YEAR)
        return np.asarray(usd * ((months >= first) & (months <= last)) * grown)

    return paid


def every(usd: Value, *, period: int, first: int, before: float = np.inf) -> Amount:
    """Pay in month `first` and every `period` months after it, in months under `before`."""
    if period < 1:
        raise CashFlowError("period", period, "1 month or more")

    def paid(months: Series) -> Series:
        due = (months >= first) & ((months - first) % period == 0) & (months < before)
        return np.asarray(usd * due.astype(np.float64))

    return paid


def loan(principal: Value, *, rate_per_year: Value, payments: int) -> Amount:
    """Pay a loan back in level payments from month 1; what it brings in is another row."""
    return monthly(level_payment(principal, rate_per_year, payments), last=payments)


def level_payment(
    principal: Value,
    rate_per_year: Value,
    payments: float,
    *,
    per_year: int = MONTHS_PER_YEAR,
) -> Value:
    """Return the equal payment at the end of each period that pays a principal back."""
    rate = np.asarray(_rate(rate_per_year) / per_year)
    if not payments >= 1:
        raise CashFlowError("payments", payments, "1 or more")
    moves = rate != 0
    safe = np.where(moves, rate, 1.0)
    factor = np.where(moves, safe / -np.expm1(-payments * np.log1p(safe)), 1 / payments)
    paid = principal * factor
    return float(paid) if np.ndim(paid) == 0 else paid


def present_value(usd: Series, rate_per_year: Value) -> Value:
    """Return what amounts (..., n + 1) are worth in month 0; a rate may be a column."""
    rate = np.asarray(_rate(rate_per_year) / MONTHS_PER_YEAR)
    months = np.arange(usd.shape[-1], dtype=np.float64)
    worth = np.sum(usd * (1 + rate) ** -months, axis=-1)
    return float(worth) if np.ndim(worth) == 0 else worth


def npv_usd(ours: Series, instead: Series, rate_per_year: Value) -> Value:
    """Return what is won today by paying one cash flow in place of another."""
    return present_value(np.asarray(instead - ours), rate_per_year)


@dataclass(frozen=True, slots=True)
class CashFlow:
    """Rows over a number of months, and the views on them."""

    rows: tuple[Row, ...]
    months: int

    def __post_init__(self) -> None:
        if not 1 <= self.months <= MONTHS_MAX:
            raise CashFlowError("months", self.months, f"1 to {MONTHS_MAX}")

    def usd(self, rows: Iterable[Row] | None = None) -> Series:
        """Return what is paid in each month, (n + 1,) or (draws, n + 1)."""
        at = np.arange(self.months + 1, dtype=np.float64)
        total: Series = np.zeros(self.months + 1)
        for row in self.rows if rows is None else rows:
            total = total + row.usd(at)
        return total

    def tco_usd(self) -> Value:
        """Return all that is paid over the months, not discounted."""
        return present_value(self.usd(), 0.0)

    def present_value(self, rate_per_year: Value) -> Value:
        """Return what all payments are worth in month 0."""
        return present_value(self.usd(), rate_per_year)

    def monthly_usd(self, rate_per_year: Value, rows: Iterable[Row] | None = None) -> Value:
        """Return the level monthly cost: the equal payment of the same present value."""
        worth = present_value(self.usd(rows), rate_per_year)
        if isinstance(rate_per_year, np.ndarray) and rate_per_year.ndim > 1:
            rate_per_year = rate_per_year[:, 0]  # a column of draws, as the sums are by now
        return level_payment(worth, rate_per_year, self.months)

    def monthly_by_row(self, rate_per_year: Value) -> dict[str, Value]:
        """Return each row's level monthly cost; they add up to the whole."""
        return {row.name: self.monthly_usd(rate_per_year, (row,)) for row in self.rows}

    def split_usd(self) -> tuple[Value, Value]:
        """Return CapEx and OpEx over the months, not discounted."""
        capital = self.usd(row for row in self.rows if row.is_capital)
        operating = self.usd(row for row in self.rows if not row.is_capital)
        return present_value(capital, 0.0), present_value(operating, 0.0)


def _rate(rate_per_year: Value) -> Value:
    """Pass a rate that can be one."""
    least, most = float(np.min(rate_per_year)), float(np.max(rate_per_year))
    if not -1 < least <= most < np.inf:
        raise CashFlowError("rate_per_year", least if not least > -1 else most, "above -1")
    return rate_per_year
