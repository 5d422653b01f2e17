"""A site's cost: exact by hand, rising with energy, loud about a machine that lives no time."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.site_cost import SECONDS_PER_MONTH, SECONDS_PER_YEAR, CostError, site_cost
from skerry.schema.fleet import Kind, Machine, Tier

MACHINE = Machine(
    name="box", idle_w=10.0, busy_w=30.0, price_usd=600.0, life_years=5.0, source="stated"
)
TIER = Tier(
    name="closet",
    kind=Kind.EDGE,
    nodes=2,
    machine=MACHINE,
    feed_w=1000.0,
    ups_s=600.0,
    uplink_bit_per_s=20e6,
    pue_ratio=1.5,
    energy_usd_per_kwh=0.2,
    usd_per_month=30.0,
)


def test_a_year_costs_a_fifth_of_the_machines_and_twelve_months_of_room() -> None:
    """2 x 600 / 5 = 240; 10 kWh x 0.2 = 2; 12 x 30 = 360."""
    cost = site_cost(TIER, nodes=2, energy_wh=10_000, span_s=SECONDS_PER_YEAR)
    assert cost.machine_usd == pytest.approx(240.0)
    assert cost.energy_usd == pytest.approx(2.0)
    assert cost.room_usd == pytest.approx(360.0)
    assert cost.total_usd == pytest.approx(602.0)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_more_energy_never_costs_less(one: float, other: float) -> None:
    low, high = sorted((one, other))
    less = site_cost(TIER, nodes=2, energy_wh=low, span_s=SECONDS_PER_MONTH)
    more = site_cost(TIER, nodes=2, energy_wh=high, span_s=SECONDS_PER_MONTH)
    assert less.total_usd <= more.total_usd


def test_a_machine_without_a_life_is_named() -> None:
    dead = msgspec.structs.replace(TIER, machine=msgspec.structs.replace(MACHINE, life_years=0.0))
    with pytest.raises(CostError, match="box: life_years is 0"):
        site_cost(dead, nodes=1, energy_wh=1.0, span_s=1.0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_an_impossible_price_is_named(bad: float) -> None:
    odd = msgspec.structs.replace(TIER, energy_usd_per_kwh=bad)
    with pytest.raises(CostError, match="closet: energy_usd_per_kwh is"):
        site_cost(odd, nodes=1, energy_wh=1.0, span_s=1.0)
