"""Months of requests and of the cloud's bill: choose on the first, judge on the rest.

Units:   requests and USD of each month; a month is written `2026-03`.
Shapes:  every array is (months,), in order and without a gap.
Errors:  ColumnError, for a month that is missing, comes twice or cannot be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from skerry.plan.columns import Columns, Kind, Number, Text, read_columns
from skerry.plan.finance.cash_flow import MONTHS_PER_YEAR, Series, Value
from skerry.plan.finance.rows import REQUESTS_PER_1K
from skerry.plan.finance.tiers import Case
from skerry.plan.finance.views import loaded
from skerry.plan.regret import regret
from skerry.schema.assumption import Assumption
from skerry.schema.goal import Level
from skerry.schema.plan_report import Regret


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Months:
    """A series of months, cut in what the plan sees and what it is judged on."""

    path: str
    months: tuple[str, ...]
    requests: Series
    cloud_usd: Series
    seen: int

    def requests_per_month(self) -> float:
        """Return the mean of the months seen."""
        return float(self.requests[: self.seen].mean())

    def cloud_price(self) -> Assumption:
        """Return what the cloud asked per 1,000 requests in the months seen, with its range."""
        requests, usd = self.requests[: self.seen], self.cloud_usd[: self.seen]
        each = usd[requests > 0] / requests[requests > 0] * REQUESTS_PER_1K
        value = float(usd.sum() / requests.sum() * REQUESTS_PER_1K)
        return Assumption(
            name="cloud_usd_per_1k",
            value=value,
            low=min(float(each.min()), value),
            high=max(float(each.max()), value),
            unit="USD per 1000 requests",
            level=Level.MEASURED,
            source=f"{self.path}: months {self.months[0]} to {self.months[self.seen - 1]}",
            as_of=self.months[self.seen - 1],
        )


def read_months(path: Path, *, seen: int | None = None) -> Months:
    """Read a series; the first half is seen unless a number of months is given."""
    wanted: dict[str, Kind] = {
        "month": Text(),
        "requests": Number(low=0),
        "cloud_usd": Number(low=0),
    }
    read = read_columns(path, wanted)
    before: int | None = None
    for row, text in enumerate(read.texts["month"]):
        number = _month(read, row, text)
        if before is not None and number != before + 1:
            what = f"{text!r} after {read.texts['month'][row - 1]!r}"
            raise read.error(row, "month", what, "every month once, in order")
        before = number
    count = len(read)
    if count < 2:
        raise read.error(0, "month", "one month", "two or more: some to choose by, some to judge")
    cut = count // 2 if seen is None else seen
    if not 1 <= cut < count:
        raise read.error(
            count - 1, "month", f"{count} months, of which {cut} are seen", "some left to judge by"
        )
    if not read.numbers["requests"][:cut].sum() > 0:
        raise read.error(0, "requests", "no request in the months seen", "at least one")
    return Months(
        path=str(path),
        months=tuple(read.texts["month"]),
        requests=read.numbers["requests"],
        cloud_usd=read.numbers["cloud_usd"],
        seen=cut,
    )


def regret_of(
    case: Case,
    series: Months,
    options: tuple[str, ...],
    inputs: Mapping[str, Value],
    *,
    cloud: str | None,
    rate_per_year: float,
) -> Regret | None:
    """Choose among tiers by the months seen, judge by the rest; None without two options."""
    if len(options) < 2:
        return None
    each = {
        name: series.cloud_usd
        if name == cloud
        else np.asarray(
            case.cost(name, loaded(case, name, inputs, series.requests)).monthly_usd(rate_per_year)
        )
        * np.ones(len(series.months))
        for name in options
    }
    return regret(
        {name: float(usd[: series.seen].sum()) for name, usd in each.items()},
        {name: float(usd[series.seen :].sum()) for name, usd in each.items()},
        unit="USD",
        on=f"{series.months[series.seen]} to {series.months[-1]} of {series.path}",
    )


def _month(read: Columns, row: int, text: str) -> int:
    try:
        first = date.fromisoformat(f"{text}-01")
    except ValueError:
        raise read.error(row, "month", repr(text[:40]), "a month such as 2026-03") from None
    return first.year * MONTHS_PER_YEAR + first.month
