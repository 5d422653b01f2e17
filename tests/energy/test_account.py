"""Carbon accounts: the published anchors, contracts never above use, SCI without offsets."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.energy.account import (
    AccountError,
    Contract,
    embodied_share_g,
    emitted_g,
    market,
    sci_g,
    upstream_g,
)
from skerry.energy.cpu_curve import cpu_energy_kwh
from skerry.energy.power_curve import CurveError

FOUR_YEARS_S, FIVE_YEARS_S, HOUR_S = 126_144_000, 157_680_000, 3600


def test_mixed_instruments_come_to_1581_kg() -> None:
    """8760 kWh: 40 % at 0 g, 25 % at 120 g, the rest at a residual mix of 430 g."""
    found = market(
        8760,
        [
            Contract(name="wind", kwh=0.4 * 8760, g_per_kwh=0),
            Contract(name="tariff", kwh=0.25 * 8760, g_per_kwh=120),
        ],
        location_g_per_kwh=300,
        residual_g_per_kwh=430,
    )
    assert found.grams / 1000 == pytest.approx(1581.18, abs=1e-9)
    assert not found.fell_back


def test_embodied_shares_of_the_impact_framework() -> None:
    def share(machine_g: float, life_s: float = FOUR_YEARS_S) -> float:
        return embodied_share_g(machine_g, reserved_s=HOUR_S, life_s=life_s)

    assert share(1_000_000) == pytest.approx(28.538812785388128, rel=1e-12)
    assert share(1_000_000 + 2 * 100_000) == pytest.approx(34.24657534246575, rel=1e-12)
    parts = 2_000_000 + 3 * 100_000 + 16 * 1172 * 1000 + 50_000 + 100_000 + 150_000
    assert share(parts, FIVE_YEARS_S) == pytest.approx(487.48858447488584, rel=1e-12)


def test_a_share_of_a_machine_bears_its_share() -> None:
    """A quarter of a machine for a tenth of its life."""
    found = embodied_share_g(1000, reserved_s=10, life_s=100, resource_share=0.25)
    assert found == pytest.approx(25)


def test_sci_of_the_impact_framework_s_reference_run() -> None:
    assert sci_g(5.0, 0.02, functional_units=100) == pytest.approx(0.0502, rel=1e-12)


@pytest.mark.parametrize(
    ("utilisation", "seconds", "kwh", "grams"),
    [(0.5, 1, 2.6041667e-6, 0.00208333), (0.2, 5, 7.421875e-6, 0.0059375)],
)
def test_the_teads_curve(utilisation: float, seconds: float, kwh: float, grams: float) -> None:
    found = cpu_energy_kwh(
        tdp_w=100, utilisation=utilisation, seconds=seconds, vcpus=1, vcpus_total=8
    )
    assert found == pytest.approx(kwh, rel=1e-7)
    assert found * 800 == pytest.approx(grams, rel=1e-5)


def test_scope_3_category_3_is_life_cycle_minus_direct() -> None:
    kwh = np.array([1.0, 2.0])
    direct, life_cycle = np.array([100.0, 200.0]), np.array([150.0, 230.0])
    assert emitted_g(kwh, direct) == 500
    assert upstream_g(kwh, direct=direct, life_cycle=life_cycle) == 110


amounts = st.floats(0, 1e6)
contracts = st.lists(
    st.builds(Contract, name=st.just("c"), kwh=amounts, g_per_kwh=st.floats(0, 2000)), max_size=5
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(amounts, contracts, st.none() | st.floats(0, 2000))
def test_market_lines_add_up_to_the_use_and_contracts_never_exceed_it(
    used: float, given_contracts: list[Contract], residual: float | None
) -> None:
    found = market(used, given_contracts, location_g_per_kwh=300, residual_g_per_kwh=residual)
    assert sum(line.kwh for line in found.lines) == pytest.approx(used, abs=1e-6)
    bought = sum(one.kwh for one in given_contracts)
    assert found.unused_kwh == pytest.approx(max(bought - used, 0), abs=1e-6)
    assert found.fell_back == (residual is None and used - bought > 1e-9) or bought > 0


def test_the_location_factor_that_stands_in_is_flagged() -> None:
    found = market(10, [], location_g_per_kwh=300, residual_g_per_kwh=None)
    assert (found.grams, found.fell_back) == (3000, True)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_bad_hour_is_named(bad: float) -> None:
    with pytest.raises(AccountError, match=r"factor\[1\] is .* wanted 0 or more"):
        emitted_g(np.ones(2), np.array([1.0, bad]))


def test_impossible_values_are_refused_by_name() -> None:
    with pytest.raises(AccountError, match="life_s is 0"):
        embodied_share_g(1, reserved_s=1, life_s=0)
    with pytest.raises(AccountError, match="functional_units is 0"):
        sci_g(1, 1, functional_units=0)
    with pytest.raises(AccountError, match="resource_share is 2"):
        embodied_share_g(1, reserved_s=1, life_s=1, resource_share=2)
    with pytest.raises(CurveError, match="utilisation is 50"):
        cpu_energy_kwh(tdp_w=100, utilisation=50, seconds=1)
