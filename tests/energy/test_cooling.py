"""Cooling: by hand, never below 1, worse when warm and when idle, and what a feed carries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.cooling import CoolingError, Loop, Plant, pue_ratio

LOOP = Loop(free_c=10, full_c=20, cop=4, cop_per_k=0.02)
PLANT = Plant(name="x", rated_kw=10, fixed_ratio=0.05, loss_ratio=0.06, fan_ratio=0.1, air=LOOP)


def site_kw(it_kw: float, air_c: float) -> float:
    return float(PLANT.site_kw(np.array([it_kw]), np.array([air_c]))[0])


def test_a_site_by_hand_freely_cooled_half_and_by_compressor() -> None:
    fixed, per_it = 0.5, 1.16
    assert site_kw(5, 0) == pytest.approx(fixed + 5 * per_it)
    assert site_kw(5, 15) == pytest.approx(fixed + 5 * (per_it + 0.5 / (4 * 1.4)))
    assert site_kw(5, 35) == pytest.approx(fixed + 5 * (per_it + 1 / 4))


def test_heat_in_warm_liquid_leaves_freely_on_a_hot_day() -> None:
    chip = Plant(
        name="chip",
        rated_kw=10,
        fixed_ratio=0,
        loss_ratio=0,
        fan_ratio=0,
        air=LOOP,
        liquid_ratio=0.75,
        liquid=Loop(free_c=30, full_c=40, cop=4, cop_per_k=0.02),
    )
    assert float(chip.per_it(np.array([30.0]))[0]) == pytest.approx(1 + 0.25 / (4 * 1.1))


@given(st.floats(0.1, 10), st.floats(-40, 50), st.floats(0, 5))
def test_pue_is_above_1_rises_with_warmth_and_falls_with_load(
    it_kw: float, air_c: float, warmer: float
) -> None:
    pue = site_kw(it_kw, air_c) / it_kw
    assert pue > 1
    assert site_kw(it_kw, air_c + warmer) >= site_kw(it_kw, air_c) - 1e-9
    assert site_kw(it_kw / 2, air_c) / (it_kw / 2) >= pue - 1e-9


@given(st.floats(0.6, 20), st.floats(-40, 50))
def test_a_feed_carries_what_it_says_and_no_more(feed_kw: float, air_c: float) -> None:
    most = PLANT.it_kw_max(feed_kw, air_c)
    assert site_kw(most, air_c) <= feed_kw + 1e-9
    assert most == 10 or site_kw(min(most + 0.01, 10), air_c) > feed_kw


def test_pue_of_nothing_is_unknown() -> None:
    assert pue_ratio(1, 0) is None


def test_impossible_values_are_refused_by_name() -> None:
    with pytest.raises(CoolingError, match=r"it_kw\[1\] is 11"):
        PLANT.site_kw(np.array([1.0, 11.0]), np.zeros(2))
    with pytest.raises(CoolingError, match=r"air_c\[0\] is nan"):
        PLANT.site_kw(np.ones(1), np.array([np.nan]))
    with pytest.raises(CoolingError, match="free_c is 20"):
        Loop(free_c=20, full_c=20, cop=4, cop_per_k=0)
