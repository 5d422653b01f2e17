"""The power curve: exact at its ends, rising between them, loud about bad traces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.power_curve import CurveError, PowerCurve, Series, energy_wh

CURVE = PowerCurve(idle_w=40.0, busy_w=140.0, bend=1.4)
loads = st.lists(st.floats(0, 1), min_size=1, max_size=48).map(np.array)


def test_power_is_exact_at_idle_and_at_full_load() -> None:
    assert CURVE.power_w(np.array([0.0, 1.0])).tolist() == [40.0, 140.0]


def test_half_load_draws_more_than_half_the_range() -> None:
    """Servers are not energy-proportional: 40 + 100 * (1 - 0.5**1.4), by hand."""
    assert CURVE.power_w(np.array([0.5])) == pytest.approx([102.107], abs=1e-3)


@given(loads)
def test_more_load_never_draws_less(load: Series) -> None:
    power_w = CURVE.power_w(np.sort(load))
    assert (np.diff(power_w) >= -1e-9).all()
    assert 40.0 <= power_w[0] <= power_w[-1] <= 140.0 + 1e-9


@pytest.mark.parametrize("bad", [-0.01, 1.01, 85.0, np.nan])
def test_a_bad_step_is_named(bad: float) -> None:
    """85.0 is the usual slip: a percentage where a fraction is wanted."""
    with pytest.raises(CurveError, match=r"utilisation\[1\] is .* wanted 0 to 1"):
        CURVE.power_w(np.array([0.2, bad, 0.4]))


def test_impossible_values_are_refused_by_name() -> None:
    with pytest.raises(CurveError, match="idle_w is 200"):
        PowerCurve(idle_w=200.0, busy_w=140.0, bend=1.4)
    with pytest.raises(CurveError, match=r"bend is 2\.5"):
        PowerCurve(idle_w=40.0, busy_w=140.0, bend=2.5)
    with pytest.raises(CurveError, match="step_s is 0"):
        energy_wh(np.ones(1), step_s=0)


def test_one_kilowatt_for_one_hour_is_one_kilowatt_hour() -> None:
    assert energy_wh(np.full(60, 1000.0), step_s=60) == pytest.approx(1000.0)
