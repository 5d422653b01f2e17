"""What a vendor's promise is worth, and what leaving them costs.

Outages come as a Poisson process and last exponentially; both facts are the vendor's
history. A month's availability is what its outages leave of 730 hours, and the
contract's steps turn it into a credit. Credits are small beside what an outage costs its
user, so both stand side by side.

    exit cost = termination + parallel running + data out + conversion + qualification

Units:   USD, hours; a month is 730 hours; ratios are 0 to 1.
Shapes:  a simulation of (years * 12,) months, from one seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skerry.plan.supply.facts import Vendor

HOURS_PER_MONTH = 730.0
MONTHS_PER_YEAR = 12
DAYS_PER_MONTH = 365 / 12
GB_PER_TB = 1000.0
YEARS_SIMULATED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A year with a vendor: what fails, and what comes back for it."""

    vendor: str
    downtime_hours_per_year: float
    downtime_hours_p95: float
    availability_ratio: float
    credit_usd_per_year: float
    loss_usd_per_year: float
    """What the downtime costs its user, at the stated cost of an hour."""


def promise(vendor: Vendor, *, loss_usd_per_hour: float, seed: int) -> Promise:
    """Simulate many years of a vendor's outages; a year's figures are their means."""
    rng = np.random.default_rng(seed)
    months = YEARS_SIMULATED * MONTHS_PER_YEAR
    outages = rng.poisson(vendor.outages_per_year / MONTHS_PER_YEAR, months)
    hours = np.zeros(months)
    hit = outages > 0
    hours[hit] = rng.gamma(outages[hit], vendor.outage_hours)  # a sum of exponentials
    hours = np.minimum(hours, HOURS_PER_MONTH)
    up = 1 - hours / HOURS_PER_MONTH
    credit = np.zeros(months)
    for step in vendor.credits:
        credit = np.where(up < step.below_ratio, step.credit_ratio, credit)
    yearly = hours.reshape(YEARS_SIMULATED, MONTHS_PER_YEAR).sum(axis=1)
    mean_hours = float(yearly.mean())
    return Promise(
        vendor=vendor.vendor,
        downtime_hours_per_year=mean_hours,
        downtime_hours_p95=float(np.percentile(yearly, 95)),
        availability_ratio=float(up.mean()),
        credit_usd_per_year=float(credit.mean()) * vendor.usd_per_month * MONTHS_PER_YEAR,
        loss_usd_per_year=mean_hours * loss_usd_per_hour,
    )


def exit_cost(vendor: Vendor, given: Mapping[str, float]) -> dict[str, float]:
    """Return what leaving a vendor costs today, line by line, in USD."""
    closed_tb = vendor.data_gb / GB_PER_TB * (1 - vendor.open_share)
    staff = given["staff_usd_per_hour"]
    return {
        "termination": vendor.termination_usd,
        "parallel running": vendor.usd_per_month * vendor.parallel_days / DAYS_PER_MONTH,
        "data out": vendor.data_gb * given["egress_usd_per_gb"],
        "conversion": closed_tb * given["convert_hours_per_tb"] * staff,
        "qualification": given["requalify_hours"] * staff,
    }


def months_to_earn_back(vendor: Vendor, cost_usd: float) -> float | None:
    """Return after how many months the alternative has paid for the move; None for never."""
    if vendor.alternative_usd_per_month is None:
        return None
    saved = vendor.usd_per_month - vendor.alternative_usd_per_month
    return cost_usd / saved if saved > 0 else None
