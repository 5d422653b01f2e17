"""Spares and redundancy: published figures, exact sums, and laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.plan.supply.errors import SupplyError
from skerry.plan.supply.spares import demand_mean, k_of_n, stock_for


def poisson_cdf(stock: int, mean: float) -> float:
    return math.fsum(
        math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(stock + 1)
    )


def test_ten_thousand_accelerators_need_these_spares() -> None:
    """419 interruptions in 54 days on 16,384: 9.08 % a year with their memory."""
    mean = demand_mean(10_000, failures_per_year=0.0908, lead_days=30)
    assert mean == pytest.approx(74.63, abs=0.005)
    assert [stock_for(mean, level=level) for level in (0.9, 0.95, 0.99, 0.999)] == [86, 89, 95, 103]


@pytest.mark.parametrize(("mean", "wanted"), [(3.0, [5, 6, 8, 10]), (0.5, [1, 2, 3, 4])])
def test_small_demands(mean: float, wanted: list[int]) -> None:
    assert [stock_for(mean, level=level) for level in (0.9, 0.95, 0.99, 0.999)] == wanted


@given(st.floats(0.001, 2000), st.floats(0.5, 0.9999))
def test_the_stock_is_the_least_that_covers(mean: float, level: float) -> None:
    stock = stock_for(mean, level=level)
    assert poisson_cdf(stock, mean) >= level - 1e-9
    assert stock == 0 or poisson_cdf(stock - 1, mean) < level + 1e-9


def test_no_demand_needs_no_stock_and_a_million_is_quick() -> None:
    assert stock_for(0, level=0.999) == 0
    assert 1_000_000 < stock_for(1e6, level=0.99) < 1_003_000


@pytest.mark.parametrize(
    ("needed", "units", "wanted"),
    [(2, 3, 0.99992525), (4, 5, 0.9997524906), (11, 12, 0.9984040818)],
)
def test_redundancy_at_a_site_availability_of_995_in_1000(
    needed: int, units: int, wanted: float
) -> None:
    assert k_of_n(needed, units, availability=0.995) == pytest.approx(wanted, abs=1e-9)


@given(st.integers(1, 12), st.integers(0, 8), st.floats(0, 1))
def test_needing_less_or_having_more_never_hurts(needed: int, more: int, each: float) -> None:
    units = needed + more
    together = k_of_n(needed, units, availability=each)
    assert 0 <= together <= 1 + 1e-12
    assert k_of_n(needed, units + 1, availability=each) >= together - 1e-12
    if needed > 1:
        assert k_of_n(needed - 1, units, availability=each) >= together - 1e-12


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(SupplyError, match="service level is 1, wanted above 0 and below 1"):
        stock_for(3, level=1)
    with pytest.raises(SupplyError, match="mean demand is -1"):
        stock_for(-1, level=0.9)
    with pytest.raises(SupplyError, match="needed units is 4, wanted 1 to 3"):
        k_of_n(4, 3, availability=0.9)
    with pytest.raises(SupplyError, match=r"availability is 99\.5, wanted 0 to 1"):
        k_of_n(1, 2, availability=99.5)
