"""A tier's cash-flow rows: everything it costs, from the day it is bought.

A tier whose machine has a price is bought (or leased, or managed by somebody); one whose
machine has none is rented. The fleet file's monthly sum of a tier is room, link and hands
together, for the machines of the file: it is split over facility, connectivity, staff and
visits as the tables would price them, so that the rows add up to what was stated;
`itemise` prices them by the tables alone. Where a load takes more machines, room and
hands grow with them and the link stays.

Units:   USD and months; see `cash_flow` for signs and shapes.
Errors:  none of its own.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from skerry.plan.finance.cash_flow import (
    MONTHS_PER_YEAR,
    Amount,
    Row,
    RowKind,
    Series,
    Value,
    level_payment,
    monthly,
    once,
)
from skerry.plan.finance.egress import egress_usd
from skerry.plan.finance.terms import Financing, Terms
from skerry.plan.finance.work import HOURS_PER_MONTH, Work, is_by_request, is_rented
from skerry.schema.fleet import Kind, Tier
from skerry.schema.goal import Level

BYTES_PER_GB: Final = 10**9
REQUESTS_PER_1K: Final = 1000
_FILE: Final = "fleet file"
_TABLE: Final = "plan/tables/finance.csv"


def rows_of(
    tier: Tier, work: Work, inputs: Mapping[str, Value], *, places: float, terms: Terms
) -> tuple[Row, ...]:
    """Return all rows of a tier."""
    power = _power(tier, work, inputs, terms)
    software = Row(
        name="software",
        level=Level.STATED,
        kind=RowKind.SOFTWARE,
        usd=monthly(work.machines * inputs["software_usd_per_machine_year"] / MONTHS_PER_YEAR),
        source=_TABLE,
    )
    late = Row(
        name="latency penalty",
        kind=RowKind.LATENCY,
        usd=monthly(work.late_ms * inputs["latency_value_usd_per_ms"]),
        source=_TABLE,
    )
    if is_by_request(tier, inputs):
        each = work.requests / REQUESTS_PER_1K * np.asarray(inputs["cloud_usd_per_1k"])
        source = "cloud_usd_per_1k: the whole price of a request"
        rent = Row(
            name="rent",
            level=Level.STATED,
            kind=RowKind.RENT,
            usd=monthly(each),
            source=source,
        )
        return (rent, late)
    if is_rented(tier):
        return (*_rent(tier, work, inputs, terms), *power, software, late)
    return (
        *_machines(tier, work, inputs, terms),
        *_place(tier, work, inputs, places=places, terms=terms),
        *power,
        software,
        late,
    )


def _machines(tier: Tier, work: Work, inputs: Mapping[str, Value], terms: Terms) -> tuple[Row, ...]:
    """Return what machines cost: bought, sold and bought again, or paid by the month."""
    price = tier.machine.price_usd * work.machines * inputs["machine_price_ratio"]
    kept = terms.kept_months(tier, inputs)
    bought = _file_source("price", tier)
    change = 1 + np.asarray(inputs["machine_price_change_per_year"])
    age_years: Value = 0.0
    if terms.second_life:
        age_years = inputs["second_life_age_years"]
        worth = np.asarray(inputs["resale_kept_ratio_per_year"]) ** age_years
        price = price * worth * (1 + inputs["second_life_margin_ratio"])
        bought = f"{bought}, as a used machine"
    starts = np.arange(0, terms.months, kept)
    prices = [price * change ** (start / MONTHS_PER_YEAR) for start in starts]
    failures = _failures(work, inputs, prices[0], kept=kept, age_years=age_years, terms=terms)
    if terms.financing is not Financing.BUY:
        return _leased(prices, inputs, kept=kept, terms=terms, spares=failures)
    ends = np.minimum(starts + kept, terms.months)
    keeps = np.asarray(inputs["resale_kept_ratio_per_year"])
    to_dealer = 1 - inputs["second_life_margin_ratio"] if terms.second_life else 1.0
    sold = [
        value * keeps ** ((end - start) / MONTHS_PER_YEAR) * to_dealer
        for value, start, end in zip(prices, starts, ends, strict=True)
    ]
    stock = price * inputs["spare_stock_ratio"]
    return (
        Row(
            name="hardware",
            level=Level.STATED,
            kind=RowKind.HARDWARE,
            usd=once(price),
            source=bought,
        ),
        Row(
            name="refresh",
            level=Level.STATED,
            kind=RowKind.REFRESH,
            usd=_sum([once(v, month=int(m)) for v, m in zip(prices[1:], starts[1:], strict=True)]),
            source=f"every {kept} months; price change of {_TABLE}",
        ),
        Row(
            name="resale",
            level=Level.STATED,
            kind=RowKind.RESALE,
            usd=_sum([once(-v, month=int(m)) for v, m in zip(sold, ends, strict=True)]),
            source=f"share kept each year of {_TABLE}",
        ),
        Row(name="spares", kind=RowKind.SPARES, usd=_sum([once(stock), failures]), source=_TABLE),
    )


def _leased(
    prices: list[Series],
    inputs: Mapping[str, Value],
    *,
    kept: int,
    terms: Terms,
    spares: Amount,
) -> tuple[Row, ...]:
    """Return the monthly payments for machines that stay another's."""
    rate, residual = inputs["lease_rate_per_year"], inputs["lease_residual_ratio"]
    left = residual * (1 + np.asarray(rate) / MONTHS_PER_YEAR) ** -kept
    share = np.asarray(level_payment(1 - left, rate, kept))
    managed = terms.financing is Financing.MANAGED
    if managed:
        share = share + np.asarray(inputs["managed_ratio_per_year"]) / MONTHS_PER_YEAR
    paid = [
        monthly(value * share, first=index * kept + 1, last=(index + 1) * kept)
        for index, value in enumerate(prices)
    ]
    name = "managed hardware" if managed else "lease"
    row = Row(name=name, kind=RowKind.FINANCING, usd=_sum(paid), source=_TABLE, capital=False)
    if managed:
        return (row,)
    return (row, Row(name="spares", kind=RowKind.SPARES, usd=spares, source=_TABLE, capital=False))


def _failures(
    work: Work,
    inputs: Mapping[str, Value],
    price: Series,
    *,
    kept: int,
    age_years: Value,
    terms: Terms,
) -> Amount:
    """Return what repairs cost each month; they grow with the age of the machines."""
    yearly = np.asarray(inputs["failure_ratio_per_year"] * inputs["repair_price_ratio"])
    if terms.second_life:
        yearly = yearly * inputs["second_life_failure_ratio"]
    growth = inputs["failure_growth_per_year"]

    def paid(months: Series) -> Series:
        age = np.asarray(((months - 1) % kept) / MONTHS_PER_YEAR + age_years)
        return np.asarray(price * yearly / MONTHS_PER_YEAR * (1 + growth * age) * (months >= 1))

    return paid


def _power(tier: Tier, work: Work, inputs: Mapping[str, Value], terms: Terms) -> tuple[Row, ...]:
    """Return the energy of machines and of what cools and feeds them."""
    price = tier.energy_usd_per_kwh * np.asarray(inputs["energy_price_ratio"])
    kept = terms.kept_months(tier, inputs)
    gain = 1 - np.asarray(inputs["efficiency_gain_per_year"])
    older = inputs["second_life_age_years"] if terms.second_life else 0.0

    def newer(months: Series) -> Series:
        bought = np.maximum(np.ceil(months / kept) - 1, 0) * kept
        return np.asarray(gain ** (bought / MONTHS_PER_YEAR - older) * (months >= 1))

    source = "power curve, load and price of the fleet file"
    return (
        Row(
            name="power",
            kind=RowKind.POWER,
            usd=lambda months: work.it_kwh * price * newer(months),
            source=source,
        ),
        Row(
            name="cooling and losses",
            kind=RowKind.COOLING,
            usd=lambda months: work.overhead_kwh * price * newer(months),
            source=f"PUE curve through {tier.pue_ratio:g} at full load",
        ),
    )


def _place(
    tier: Tier, work: Work, inputs: Mapping[str, Value], *, places: float, terms: Terms
) -> tuple[Row, ...]:
    """Return room, link and hands: by the tables, or the file's monthly sum split like them."""
    kind = Kind.REGIONAL.value if tier.kind is Kind.CLOUD else tier.kind.value
    life = np.asarray(inputs["facility_life_years"]) * MONTHS_PER_YEAR
    capital = work.rated_w * inputs[f"{kind}_facility_usd_per_w"]
    hands = terms.financing is not Financing.MANAGED
    grown = places * work.grown_ratio
    each = {
        RowKind.CONNECTIVITY: places * inputs[f"{kind}_connectivity_usd_per_month"],
        RowKind.STAFF: grown
        * inputs[f"{kind}_staff_hours_per_month"]
        * np.asarray(inputs["staff_usd_per_hour"]),
        RowKind.TRUCK_ROLLS: grown
        * inputs[f"{kind}_truck_rolls_per_year"]
        * np.asarray(inputs["truck_roll_usd"])
        / MONTHS_PER_YEAR,
    }
    if terms.itemise or not tier.usd_per_month:
        left = np.maximum(1 - terms.months / life, 0)
        facility = Row(
            name="facility",
            level=Level.STATED,
            kind=RowKind.FACILITY,
            usd=_sum([once(capital), once(-capital * left, month=terms.months)]),
            source=f"{_TABLE}; what is left of its life counts at the end",
        )
        return (
            facility,
            *(
                Row(name=one.value, level=Level.STATED, kind=one, usd=monthly(usd), source=_TABLE)
                for one, usd in each.items()
                if hands or one is not RowKind.TRUCK_ROLLS
            ),
        )
    parts = {RowKind.FACILITY: capital / life, **each}
    link = np.asarray(each[RowKind.CONNECTIVITY])
    rest = sum(np.asarray(part) for part in parts.values()) - link
    whole = link + rest / work.grown_ratio  # what the machines of the file would take
    stated = places * tier.usd_per_month * np.asarray(inputs["site_price_ratio"])
    return tuple(
        Row(
            name=one.value,
            level=Level.STATED,
            kind=one,
            usd=monthly(stated * part / whole),
            source=f"{_FILE}: {tier.usd_per_month:g} USD a month and site, split as the tables",
            capital=False,
        )
        for one, part in parts.items()
        if hands or one is not RowKind.TRUCK_ROLLS
    )


def _rent(tier: Tier, work: Work, inputs: Mapping[str, Value], terms: Terms) -> tuple[Row, ...]:
    """Return what rented machines cost, with what leaves the cloud."""
    rent, source = rent_usd_per_month(tier, inputs)
    gb = work.requests * np.asarray(inputs["answer_bytes"]) / BYTES_PER_GB
    rows = [
        Row(
            name="rent",
            level=Level.STATED,
            kind=RowKind.RENT,
            usd=monthly(work.machines * rent),
            source=source,
        )
    ]
    if terms.itemise or not tier.usd_per_month:  # else hands are in the file's monthly sum
        hours = np.asarray(inputs["cloud_staff_hours_per_month"])
        staff = monthly(hours * inputs["staff_usd_per_hour"])
        rows.append(Row(name="staff", kind=RowKind.STAFF, usd=staff, source=_TABLE))
    if tier.kind is Kind.CLOUD:
        rows.append(
            Row(
                name="egress",
                kind=RowKind.EGRESS,
                usd=monthly(egress_usd(gb, terms.egress)),
                source=f"plan/tables/egress.csv, {terms.egress}",
            )
        )
    return tuple(rows)


def rent_usd_per_month(tier: Tier, inputs: Mapping[str, Value]) -> tuple[Series, str]:
    """Return a rented machine's price for a month, and where it comes from."""
    ratio = np.asarray(inputs["rent_price_ratio"])
    if tier.usd_per_month:
        each = tier.usd_per_month / max(tier.nodes, 1)
        return each * ratio, f"{_FILE}: {tier.usd_per_month:g} USD a month and site"
    hourly = np.asarray(inputs["cloud_usd_per_machine_hour"])
    return hourly * HOURS_PER_MONTH, f"{_TABLE}: by the hour"


def _sum(amounts: list[Amount]) -> Amount:
    """Pay several amounts."""

    def paid(months: Series) -> Series:
        total: Series = np.zeros(months.shape)
        for amount in amounts:
            total = total + amount(months)
        return total

    return paid


def _file_source(what: str, tier: Tier) -> str:
    return f"{_FILE}: {what} of {tier.machine.name} ({tier.machine.source})"
