"""Replicas at rest: enough for the load, never more energy than all on, wakes counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.power_curve import PowerCurve, Series
from skerry.energy.replicas import ReplicaError, Replicas

CURVE = PowerCurve(idle_w=40, busy_w=140, bend=1.4)
FOUR = Replicas(machines=4, curve=CURVE, standby_w=2, wake_s=90, utilisation_max=0.5)

loads = st.lists(st.floats(0, 4), min_size=1, max_size=48).map(np.array)


def test_a_machine_more_is_on_where_the_allowed_share_is_passed() -> None:
    assert FOUR.needed(np.array([0.0, 0.5, 0.51, 1.0, 1.9, 9.0])).tolist() == [1, 1, 2, 2, 4, 4]


def test_resting_machines_and_a_wake_are_counted_by_hand() -> None:
    """An hour on one of four at no load, then an hour on two: 90 s of idle power for the wake."""
    found = FOUR.energy_wh(np.array([1, 2]), np.zeros(2), step_s=3600)
    assert found == pytest.approx((40 + 3 * 2) + (2 * 40 + 2 * 2) + 40 * 90 / 3600)


@given(loads)
def test_enough_machines_are_on_and_no_more_than_there_are(load: Series) -> None:
    on = FOUR.needed(load)
    assert ((on >= 1) & (on <= 4)).all()
    assert ((load <= on * 0.5 + 1e-6) | (on == 4)).all()


@given(loads, st.integers(1, 3))
def test_a_rule_that_is_too_small_wakes_everybody(load: Series, kept: int) -> None:
    served = FOUR.served(np.full(len(load), kept), load)
    assert (served >= FOUR.needed(load)).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("machines", 0), ("keep", 5), ("standby_w", 41), ("utilisation_max", 0), ("wake_s", -1)],
)
def test_an_impossible_setting_is_refused_by_name(name: str, value: int) -> None:
    fields = {
        "machines": 4,
        "curve": CURVE,
        "standby_w": 2.0,
        "wake_s": 90.0,
        "utilisation_max": 0.5,
        name: value,
    }
    with pytest.raises(ReplicaError, match=f"{name} is {value}"):
        Replicas(**fields)  # type: ignore[arg-type]
