"""Spare parts by Poisson demand, and redundancy by counting.

A part that fails is replaced from stock, and the stock is refilled after the lead time;
what is out at any moment is Poisson with

    mean = units * failures a year * lead time in days / 365

The stock for a service level is the least s with P(demand <= s) >= level (a base-stock
policy: Sherbrooke, "Optimal Inventory Modeling of Systems", chapter 2; Palm's theorem
makes it independent of how the lead time spreads).

    k of n units are needed, each up with probability a:
    availability = sum over i = k..n of  C(n, i) * a**i * (1 - a)**(n - i)

Units:   units, failures per unit and year, days; a level and an availability are 0 to 1.
Errors:  SupplyError, for a value that cannot be.
"""

import math

from skerry.plan.supply.errors import SupplyError

DAYS_PER_YEAR = 365.0
MEAN_MAX = 1e7
UNITS_MAX = 10_000


def demand_mean(units: float, *, failures_per_year: float, lead_days: float) -> float:
    """Return how many units are out on average while their replacements are on the way."""
    return units * failures_per_year * lead_days / DAYS_PER_YEAR


def stock_for(mean: float, *, level: float) -> int:
    """Return the least stock that covers demand with a probability of at least `level`."""
    if not 0 <= mean <= MEAN_MAX:
        raise SupplyError("mean demand", mean, f"0 to {MEAN_MAX:g}")
    if not 0 < level < 1:
        raise SupplyError("service level", level, "above 0 and below 1, such as 0.95")
    if mean == 0:
        return 0
    # Begin where the sum of everything below is too small to matter, so that a mean of a
    # million costs a few thousand terms and the first term does not underflow.
    stock = max(0, math.floor(mean - 12 * math.sqrt(mean) - 12))
    term = math.exp(stock * math.log(mean) - mean - math.lgamma(stock + 1))
    covered = term
    while covered < level:
        stock += 1
        term *= mean / stock
        covered += term
        if term < 1e-300 and stock > mean:
            break  # a level closer to 1 than numbers can tell apart
    return stock


def k_of_n(needed: int, units: int, *, availability: float) -> float:
    """Return how likely it is that enough of several like, independent units are up."""
    if not 0 <= availability <= 1:
        raise SupplyError("availability", availability, "0 to 1")
    if not 1 <= needed <= units <= UNITS_MAX:
        raise SupplyError("needed units", needed, f"1 to {units} (of at most {UNITS_MAX})")
    down = 1 - availability
    return math.fsum(
        math.comb(units, up) * availability**up * down ** (units - up)
        for up in range(needed, units + 1)
    )
