"""Carbon and energy of a site: exact by hand, never negative, never shared by nobody."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.carbon import CarbonError, carbon_g, per_1k
from skerry.energy.power_curve import CurveError
from skerry.energy.site_energy import site_energy_wh
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
    usd_per_month=0.0,
)


def test_one_kilowatt_hour_emits_the_grid_s_own_figure() -> None:
    assert carbon_g(1000.0, grid_g_per_kwh=381.0) == pytest.approx(381.0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_an_impossible_energy_or_intensity_is_named(bad: float) -> None:
    with pytest.raises(CarbonError, match="energy_wh is"):
        carbon_g(bad, grid_g_per_kwh=100.0)
    with pytest.raises(CarbonError, match="grid_g_per_kwh is"):
        carbon_g(100.0, grid_g_per_kwh=bad)


def test_nothing_is_shared_among_no_requests() -> None:
    assert per_1k(5.0, 0) is None
    assert per_1k(5.0, 500) == pytest.approx(10.0)


def test_an_idle_site_still_draws_its_idle_power_and_its_cooling() -> None:
    """2 nodes x 10 W x 1.5 x 1 h."""
    assert site_energy_wh(TIER, nodes=2, utilisation=np.array([0.0]), span_s=3600) == pytest.approx(
        30.0
    )
    assert site_energy_wh(TIER, nodes=2, utilisation=np.array([1.0]), span_s=3600) == pytest.approx(
        90.0
    )


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_load_never_costs_less_energy(one: float, other: float) -> None:
    low, high = sorted((one, other))
    less = site_energy_wh(TIER, nodes=2, utilisation=np.array([low]), span_s=60)
    more = site_energy_wh(TIER, nodes=2, utilisation=np.array([high]), span_s=60)
    assert less <= more + 1e-9


def test_a_percentage_is_refused_as_a_load() -> None:
    with pytest.raises(CurveError, match="wanted 0 to 1"):
        site_energy_wh(TIER, nodes=1, utilisation=np.array([85.0]), span_s=60)
