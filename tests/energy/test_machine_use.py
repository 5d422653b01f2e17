"""Whose machine does the work decides what it draws: three ways, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.machine_use import Use, machine_wh
from skerry.energy.power_curve import CurveError, PowerCurve

CURVE = PowerCurve(idle_w=40, busy_w=140, bend=1.0)  # straight: 40 + 100 u
QUARTER = np.full(4, 0.25)


def wh(use: Use, fill: float = 0.5) -> float:
    return machine_wh(CURVE, use, nodes=2, utilisation=QUARTER, span_s=3600, fill=fill)


def test_two_nodes_at_a_quarter_for_an_hour() -> None:
    assert wh(Use.DEDICATED) == pytest.approx(2 * 65)
    assert wh(Use.THERE) == pytest.approx(2 * 25)
    assert wh(Use.SHARED) == pytest.approx(2 * 0.25 * 90 / 0.5)


@given(st.floats(0.05, 1), st.floats(0.05, 1))
def test_fuller_shared_machines_never_draw_more_per_work(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert wh(Use.SHARED, high) <= wh(Use.SHARED, low) + 1e-9


def test_a_fill_of_nothing_is_refused() -> None:
    with pytest.raises(CurveError, match="fill is 0"):
        wh(Use.SHARED, 0)
