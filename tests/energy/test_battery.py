"""The battery: a step by hand, energy conserved in every step, impossible batteries refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.battery import Battery, BatteryError, battery_step


def test_a_surplus_fills_the_battery_first_and_a_deficit_empties_it_first() -> None:
    assert battery_step(1.0, 5.0, 4.0, 99.0, 1.0) == (4.0, 2.0, 0.0)
    assert battery_step(4.0, -5.0, 4.0, 99.0, 1.0) == (0.0, 0.0, 1.0)


def test_power_bounds_what_goes_in_and_out_in_a_step() -> None:
    assert battery_step(0.0, 5.0, 10.0, 2.0, 1.0) == (2.0, 3.0, 0.0)
    assert battery_step(9.0, -5.0, 10.0, 2.0, 1.0) == (7.0, 0.0, 3.0)


def test_half_of_a_round_trip_s_loss_falls_on_each_way() -> None:
    """81 % there and back: 1 kWh in leaves 0.9 stored, which give 0.81."""
    way = Battery(capacity_kwh=9, efficiency_ratio=0.81).way_ratio
    stored, _, _ = battery_step(0.0, 1.0, 9.0, 9.0, way)
    assert stored == pytest.approx(0.9)
    assert battery_step(stored, -1.0, 9.0, 9.0, way) == pytest.approx((0.0, 0.0, 0.19))


def test_a_large_surplus_fills_the_battery_whatever_is_lost_on_the_way() -> None:
    assert battery_step(0.0, 99.0, 9.0, 99.0, 0.9) == pytest.approx((9.0, 89.0, 0.0))


@given(st.floats(0, 1), st.floats(-50, 50), st.floats(0, 20), st.floats(0, 20), st.floats(0.1, 1))
def test_every_step_conserves_energy_and_stays_within_the_battery(
    fill: float, surplus: float, capacity: float, power: float, way: float
) -> None:
    before = fill * capacity
    stored, exported, imported = battery_step(before, surplus, capacity, power, way)
    assert 0 <= stored <= capacity
    assert exported >= -1e-9
    assert imported >= -1e-9
    moved = stored - before
    through = moved / way if moved > 0 else moved * way  # at the terminals
    assert surplus + imported - exported == pytest.approx(through, abs=1e-9)
    assert abs(through) <= power + 1e-9


@pytest.mark.parametrize(
    ("name", "value"),
    [("capacity_kwh", -1), ("power_kw", -1), ("efficiency_ratio", 0), ("start_ratio", 2)],
)
def test_an_impossible_battery_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(BatteryError, match=f"{name} is {value}"):
        Battery(**{"capacity_kwh": 1.0, name: value})
