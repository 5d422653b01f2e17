"""A cloud bill: what its lines pay for, in USD a month.

Read are AWS Cost and Usage Reports (both generations), cost details of Azure, billing
exports of Google Cloud, and FOCUS, which all of them and others write. A format is known by
its columns, never by its values, and the report says which one was found. Lines are sorted
into compute, accelerators, egress and the rest by `tables/bill_kinds.csv`. Taxes, credits
and refunds are left out; what share of the bill they were is said.

Units:   USD, or units of the bill's currency times what one of them is worth; months.
Shapes:  spending by month is (months,), in the order of time.
Errors:  ColumnError with row and column; WorthError for a bill nothing can be made of.
Source:  the providers' column references; FOCUS 1.0 to 1.2 (FinOps Foundation).
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import SECONDS_PER_DAY
from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.plan.columns import Columns, Number, Text, read_columns
from skerry.plan.worth.errors import WorthError

Series = NDArray[np.float64]
CURRENCY: Final = "USD"


class Kind(StrEnum):
    """What a line pays for; only the first three can move to a site."""

    COMPUTE = "compute"
    ACCELERATOR = "accelerator"
    EGRESS = "egress"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """The columns of one kind of export. Days without a time of day are whole ones."""

    name: str
    cost: str
    start: str
    service: str
    end: str = ""
    """When a line's use ended; empty where each line is one day."""
    texts: tuple[str, ...] = ()
    currency: str = ""
    charge: str = ""
    """What kind of charge a line is; taxes and credits are told by it."""


FORMATS: Final = (
    Format(
        name="AWS Cost and Usage Report",
        cost="lineItem/UnblendedCost",
        start="lineItem/UsageStartDate",
        end="lineItem/UsageEndDate",
        service="lineItem/ProductCode",
        texts=("lineItem/UsageType", "lineItem/LineItemDescription", "product/instanceType"),
        currency="lineItem/CurrencyCode",
        charge="lineItem/LineItemType",
    ),
    Format(
        name="AWS Cost and Usage Report 2.0",
        cost="line_item_unblended_cost",
        start="line_item_usage_start_date",
        end="line_item_usage_end_date",
        service="line_item_product_code",
        texts=("line_item_usage_type", "line_item_line_item_description", "product_instance_type"),
        currency="line_item_currency_code",
        charge="line_item_line_item_type",
    ),
    Format(
        name="FOCUS",
        cost="EffectiveCost",
        start="ChargePeriodStart",
        end="ChargePeriodEnd",
        service="ServiceName",
        texts=("ServiceCategory", "ChargeDescription", "SkuId"),
        currency="BillingCurrency",
        charge="ChargeCategory",
    ),
    Format(
        name="Azure cost details (EA)",
        cost="CostInBillingCurrency",
        start="Date",
        service="MeterCategory",
        texts=("MeterSubCategory", "MeterName", "ProductName"),
        currency="BillingCurrencyCode",
        charge="ChargeType",
    ),
    Format(
        name="Azure cost details (MCA)",
        cost="costInBillingCurrency",
        start="date",
        service="meterCategory",
        texts=("meterSubCategory", "meterName", "productName"),
        currency="billingCurrency",
        charge="chargeType",
    ),
    Format(
        name="Google Cloud billing export",
        cost="cost",
        start="usage_start_time",
        end="usage_end_time",
        service="service.description",
        texts=("sku.description",),
        currency="currency",
        charge="cost_type",
    ),
)
_NOT_USE = re.compile(r"tax|credit|refund|rounding|adjustment", re.IGNORECASE)
"""Discounts and negations stay in: they take back what other lines of the use cost too much."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CloudBill:
    """What a bill says, in USD a month; `by_month` are whole calendar months only."""

    recognised: str
    months: float
    usd_per_month: dict[Kind, float]
    by_month: tuple[tuple[str, dict[Kind, float]], ...]
    lines: tuple[tuple[str, Kind, float], ...]
    """The largest services: name, kind, USD a month."""
    notes: tuple[str, ...]


def format_of(names: Sequence[str]) -> Format | None:
    """Return the format whose columns a file has; None where it is no bill that we know."""
    found = set(names)
    for one in FORMATS:
        if {one.cost, one.start, one.service} <= found:
            return one
    return None


def read_bill(path: Path, form: Format, *, usd_per_unit: float | None) -> CloudBill:
    """Read a bill; `usd_per_unit` is what one unit of its currency is worth, where not USD."""
    may = Text(may_be_empty=True)
    more = [*form.texts, form.currency, form.charge, form.end]
    read = read_columns(
        path,
        {form.cost: Number(), form.start: Text(), form.service: may},
        optional={name: may for name in more if name},
    )
    worth = _worth(read, form, usd_per_unit)
    begins = _times(read, form.start)
    whole_day = not form.end or form.end not in read.texts
    ends = begins + SECONDS_PER_DAY if whole_day else _times(read, form.end)
    if (ends < begins).any():
        row = int((ends < begins).argmax())
        raise read.error(row, form.end, read.texts[form.end][row], f"{form.start} or later")
    charges = read.texts.get(form.charge, [""] * len(read))
    used = np.array([not _NOT_USE.search(charge) for charge in charges])
    usd = read.numbers[form.cost] * worth
    if not used.any():
        raise WorthError(str(path), "every line is a tax or a credit", "export the usage lines too")
    kinds = np.array([_kind(text) for text in _joined(read, form)])
    months = max(float(ends[used].max() - begins[used].min()), SECONDS_PER_DAY) / SECONDS_PER_MONTH
    return CloudBill(
        recognised=f"a cloud bill, {form.name}, {len(read):,} lines over {months:.2f} months",
        months=months,
        usd_per_month={kind: float(usd[used & (kinds == kind)].sum()) / months for kind in Kind},
        by_month=_by_month(begins[used], ends[used], usd[used], kinds[used]),
        lines=_largest(read.texts[form.service], kinds, np.where(used, usd, 0.0), months),
        notes=_notes(usd, used, months),
    )


def _worth(read: Columns, form: Format, usd_per_unit: float | None) -> float:
    codes = read.texts.get(form.currency, [])
    found = {code.upper() for code in codes if code}
    if len(found) > 1:
        row = next(i for i, code in enumerate(codes) if code and code != codes[0])
        raise read.error(row, form.currency, f"{codes[row]} beside {codes[0]}", "one currency")
    if usd_per_unit is not None:
        return usd_per_unit
    if not found:
        why = "the bill names no currency"
    elif found != {CURRENCY}:
        why = f"the bill is in {found.pop()}"
    else:
        return 1.0
    raise WorthError(read.path, why, "say what one unit is worth: --set usd_per_bill_unit=1.08")


def _joined(read: Columns, form: Format) -> list[str]:
    columns = [read.texts[name] for name in (form.service, *form.texts) if name in read.texts]
    return [" | ".join(cells).lower() for cells in zip(*columns, strict=True)]


@cache
def _kind(text: str) -> Kind:
    return next((kind for kind, pattern in _patterns() if pattern.search(text)), Kind.OTHER)


@cache
def _patterns() -> tuple[tuple[Kind, re.Pattern[str]], ...]:
    text = files("skerry.plan").joinpath("tables", "bill_kinds.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple((Kind(row["kind"]), re.compile(row["pattern"])) for row in rows)


def _times(read: Columns, column: str) -> Series:
    """Return a column of times; every format states UTC, so none needs an offset."""
    known: dict[str, float] = {}
    values = np.empty(len(read))
    for row, cell in enumerate(read.texts[column]):
        at_s = known.get(cell)
        if at_s is None:
            at_s = _time_s(cell)
            if at_s is None:
                raise read.error(row, column, repr(cell[:40]), "a day or a time, as exports write")
            known[cell] = at_s
        values[row] = at_s
    return values


def _time_s(cell: str) -> float | None:
    text = cell.removesuffix(" UTC")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = datetime.strptime(text, "%m/%d/%Y")
        except ValueError:
            return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _by_month(
    begins: Series, ends: Series, usd: Series, kinds: NDArray[np.str_]
) -> tuple[tuple[str, dict[Kind, float]], ...]:
    """Return the spending of every calendar month that the bill covers whole."""
    found = []
    month = datetime.fromtimestamp(float(begins.min()), UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    while month.timestamp() < ends.max():
        after = (month + timedelta(days=31)).replace(day=1)
        first, last = month.timestamp(), after.timestamp()
        # A day of slack: the last line of a month may end a second before it does.
        if begins.min() < first + SECONDS_PER_DAY and ends.max() > last - SECONDS_PER_DAY:
            inside = (begins >= first) & (begins < last)
            found.append(
                (
                    month.strftime("%Y-%m"),
                    {kind: float(usd[inside & (kinds == kind)].sum()) for kind in Kind},
                )
            )
        month = after
    return tuple(found)


def _largest(
    services: Sequence[str], kinds: NDArray[np.str_], usd: Series, months: float
) -> tuple[tuple[str, Kind, float], ...]:
    totals: dict[tuple[str, str], float] = {}
    for service, kind, cost in zip(services, kinds.tolist(), usd.tolist(), strict=True):
        totals[service, kind] = totals.get((service, kind), 0.0) + cost
    ranked = sorted(totals.items(), key=lambda entry: -entry[1])
    return tuple((name or "(none)", Kind(kind), cost / months) for (name, kind), cost in ranked)


def _notes(usd: Series, used: NDArray[np.bool_], months: float) -> tuple[str, ...]:
    notes = []
    if not used.all():
        left = float(usd[~used].sum())
        notes.append(f"{int((~used).sum())} lines of taxes and credits left out ({left:.2f} USD)")
    if months < 1 - 3 * SECONDS_PER_DAY / SECONDS_PER_MONTH:
        notes.append(f"the bill covers {months:.2f} months; a month is taken as that over")
    return tuple(notes)
