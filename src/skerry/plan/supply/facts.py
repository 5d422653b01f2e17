"""Facts about parts and vendors, read from files, each with its source and date.

Shapes:  one `Part` or `Vendor` per row.
Errors:  ColumnError, with file, row and column; a part whose vendor is not in the
         vendors' file, or that is listed twice, is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from skerry.base.units import SECONDS_PER_DAY
from skerry.plan.columns import Columns, Kind, Number, Text, Time, read_columns

PART_COLUMNS: Final[Mapping[str, Kind]] = {
    "part": Text(),
    "vendor": Text(),
    "units": Number(low=0, high=1e7),
    "failures_per_year": Number(low=0, high=100),
    "lead_days": Number(low=0, high=3650),
    "alternatives": Number(low=0, high=1000),
    "price_usd": Number(low=0, high=1e9),
    "bought": Time(zone="UTC"),
    "life_years": Number(low=0.1, high=50),
    "support_end": Time(zone="UTC"),
    "source": Text(),
    "as_of": Time(zone="UTC"),
}
VENDOR_COLUMNS: Final[Mapping[str, Kind]] = {
    "vendor": Text(),
    "country": Text(),
    "usd_per_month": Number(low=0, high=1e9),
    "open_share": Number(low=0, high=1),
    "data_gb": Number(low=0, high=1e9),
    "months_left": Number(low=0, high=600),
    "termination_usd": Number(low=0, high=1e9),
    "parallel_days": Number(low=0, high=3650),
    "outages_per_year": Number(low=0, high=10_000),
    "outage_hours": Number(low=0, high=8760),
    "source": Text(),
    "as_of": Time(zone="UTC"),
}
VENDOR_OPTIONAL: Final[Mapping[str, Kind]] = {
    "credit_steps": Text(may_be_empty=True),
    "alternative_usd_per_month": Number(low=0, high=1e9, may_be_empty=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A kind of part, how many are in use, and what is known of it. Times are Unix seconds."""

    part: str
    vendor: str
    units: float
    failures_per_year: float
    lead_days: float
    alternatives: int
    price_usd: float
    bought_unix_s: float
    life_years: float
    support_end_unix_s: float
    source: str
    as_of_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditStep:
    """A month whose availability fell below this earns this share of its price."""

    below_ratio: float
    credit_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """Somebody who is paid, and what leaving them would take."""

    vendor: str
    country: str
    usd_per_month: float
    open_share: float
    data_gb: float
    months_left: float
    termination_usd: float
    parallel_days: float
    outages_per_year: float
    outage_hours: float
    credits: tuple[CreditStep, ...]
    alternative_usd_per_month: float | None
    source: str
    as_of_unix_s: float


def read_vendors(path: Path) -> dict[str, Vendor]:
    """Read vendors by name."""
    read = read_columns(path, VENDOR_COLUMNS, optional=VENDOR_OPTIONAL)
    _unique(read, "vendor")
    n, t = read.numbers, read.texts
    steps = t.get("credit_steps", [""] * len(read))
    other = n.get("alternative_usd_per_month", np.full(len(read), np.nan))
    found = {}
    for row, name in enumerate(t["vendor"]):
        found[name] = Vendor(
            vendor=name,
            country=t["country"][row],
            credits=_credit_steps(read, row, steps[row]),
            alternative_usd_per_month=None if np.isnan(other[row]) else float(other[row]),
            source=t["source"][row],
            as_of_unix_s=float(n["as_of"][row]),
            **{name: float(n[name][row]) for name in _NUMBERS},
        )
    return found


_NUMBERS: Final = (
    "usd_per_month",
    "open_share",
    "data_gb",
    "months_left",
    "termination_usd",
    "parallel_days",
    "outages_per_year",
    "outage_hours",
)


def read_parts(path: Path, vendors: dict[str, Vendor]) -> tuple[Part, ...]:
    """Read parts; every vendor of theirs must be known."""
    read = read_columns(path, {**PART_COLUMNS, "vendor": Text(one_of=frozenset(vendors))})
    _unique(read, "part")
    n, t = read.numbers, read.texts
    parts = []
    for row in range(len(read)):
        if n["alternatives"][row] != int(n["alternatives"][row]):
            raise read.error(row, "alternatives", f"{n['alternatives'][row]:g}", "a whole number")
        if n["support_end"][row] < n["bought"][row]:
            raise read.error(row, "support_end", "a time before the purchase", "one after it")
        parts.append(
            Part(
                part=t["part"][row],
                vendor=t["vendor"][row],
                units=float(n["units"][row]),
                failures_per_year=float(n["failures_per_year"][row]),
                lead_days=float(n["lead_days"][row]),
                alternatives=int(n["alternatives"][row]),
                price_usd=float(n["price_usd"][row]),
                bought_unix_s=float(n["bought"][row]),
                life_years=float(n["life_years"][row]),
                support_end_unix_s=float(n["support_end"][row]),
                source=t["source"][row],
                as_of_unix_s=float(n["as_of"][row]),
            )
        )
    return tuple(parts)


def _credit_steps(read: Columns, row: int, text: str) -> tuple[CreditStep, ...]:
    """Read `0.999:0.10 0.99:0.25`: below 99.9 % a tenth comes back, below 99 % a quarter."""
    steps = []
    for word in text.split():
        below, _, credit = word.partition(":")
        try:
            step = CreditStep(below_ratio=float(below), credit_ratio=float(credit))
        except ValueError:
            step = CreditStep(below_ratio=-1, credit_ratio=-1)
        if not (0 < step.below_ratio <= 1 and 0 < step.credit_ratio <= 1):
            wanted = "steps such as 0.999:0.10 0.99:0.25"
            raise read.error(row, "credit_steps", repr(word[:40]), wanted)
        steps.append(step)
    return tuple(sorted(steps, key=lambda step: -step.below_ratio))


def _unique(read: Columns, column: str) -> None:
    seen: dict[str, int] = {}
    for row, name in enumerate(read.texts[column]):
        if name in seen:
            raise read.error(row, column, f"{name!r} a second time", "each name once")
        seen[name] = row


def years_between(early_unix_s: float, late_unix_s: float) -> float:
    """Return years of 365.25 days, negative where the order is the other way round."""
    return (late_unix_s - early_unix_s) / (365.25 * SECONDS_PER_DAY)
