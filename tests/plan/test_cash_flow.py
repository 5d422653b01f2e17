"""Cash flows: published figures to the cent, a loan at its own rate, shares that add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.plan.finance.cash_flow import (
    CashFlow,
    CashFlowError,
    Row,
    RowKind,
    every,
    level_payment,
    loan,
    monthly,
    npv_usd,
    once,
    present_value,
)

rates = st.floats(0, 0.3)
amounts = st.lists(st.floats(0, 1e6), min_size=2, max_size=61).map(np.array)


def row(name: str, kind: RowKind, usd: object) -> Row:
    return Row(name=name, kind=kind, usd=usd, source="test")  # type: ignore[arg-type]


def test_a_million_over_three_and_over_ten_years_at_five_percent() -> None:
    assert level_payment(1e6, 0.05, 36) == pytest.approx(29_970.897, rel=1e-6)
    assert level_payment(1e6, 0.05, 120) == pytest.approx(10_606.552, rel=1e-6)
    assert level_payment(1e6, 0.0, 100) == 10_000.0


def test_hamiltons_large_data_center_is_rebuilt_to_the_dollar() -> None:
    """8 MW, 80 % used, PUE 1.45, 0.07 USD/kWh, 730 h; servers, network, facility at 5 % a year."""
    facility = 72e6
    rows = (
        row(
            "servers",
            RowKind.HARDWARE,
            loan(45_978 * 1450.0, rate_per_year=0.05, payments=36),
        ),
        row("network", RowKind.CONNECTIVITY, loan(12.8e6, rate_per_year=0.05, payments=48)),
        row("rooms", RowKind.FACILITY, loan(0.82 * facility, rate_per_year=0.05, payments=120)),
        row("power", RowKind.POWER, monthly(8000 * 0.8 * 1.45 * 730 * 0.07)),
        row("other", RowKind.FACILITY, loan(0.18 * facility, rate_per_year=0.05, payments=120)),
    )  # fmt: skip
    first = [float(one.usd(np.array([1.0]))[0]) for one in rows]
    assert first == pytest.approx([1_998_103, 294_775, 626_211, 474_208, 137_461], abs=1)
    total = float(CashFlow(rows, 36).usd()[1])
    assert total == pytest.approx(3_530_757, abs=1)
    shares = [100 * one / total for one in first]
    assert shares == pytest.approx([56.6, 8.3, 17.7, 13.4, 3.9], abs=0.05)
    assert shares == pytest.approx([57, 8, 18, 13, 4], abs=0.5)  # as published


def test_fully_burdened_power_of_a_watt_for_a_year() -> None:
    """15 MW for 200 M USD over 15 years at 5 %, 82 % of it power and cooling; PUE 1.7."""
    infrastructure = level_payment(0.82 * 200e6, 0.05, 15, per_year=1) / 15e6
    energy = 1.7 * 8760 / 1000 * 0.07
    assert infrastructure == pytest.approx(1.0533, abs=1e-4)
    assert energy == pytest.approx(1.0424, abs=1e-4)
    assert infrastructure + energy == pytest.approx(2.0958, abs=1e-4)


def test_a_row_that_is_due_every_two_years_stops_before_the_end() -> None:
    paid = every(7.0, period=24, first=24, before=72)(np.arange(73.0))
    assert np.flatnonzero(paid).tolist() == [24, 48]


def test_growth_is_a_share_each_year() -> None:
    paid = monthly(100.0, growth_per_year=0.1)(np.arange(26.0))
    assert paid[[0, 1, 13, 25]] == pytest.approx([0, 100, 110, 121])


@given(st.floats(1, 1e9), st.floats(0, 0.5), st.integers(1, 480))
def test_a_loan_at_its_own_rate_is_worth_its_principal(
    principal: float, rate: float, payments: int
) -> None:
    paid = loan(principal, rate_per_year=rate, payments=payments)(np.arange(payments + 1.0))
    assert present_value(paid, rate) == pytest.approx(principal, rel=1e-9)
    brought = once(principal)(np.arange(payments + 1.0))
    assert npv_usd(paid, brought, rate) == pytest.approx(0, abs=principal * 1e-9)


@given(amounts, rates, rates)
def test_costs_are_never_worth_more_at_a_higher_rate(
    usd: np.ndarray,
    one: float,
    other: float,  # type: ignore[type-arg]
) -> None:
    low, high = sorted((one, other))
    less, more = present_value(usd, high), present_value(usd, low)
    assert less <= more * (1 + 1e-12) + 1e-9


@given(amounts, amounts, rates)
def test_rows_add_up_to_the_whole(
    one: np.ndarray,
    other: np.ndarray,
    rate: float,  # type: ignore[type-arg]
) -> None:
    months = min(len(one), len(other)) - 1
    flow = CashFlow(
        (
            row("a", RowKind.HARDWARE, lambda at: one[: len(at)]),
            row("b", RowKind.POWER, lambda at: other[: len(at)]),
        ),
        months,
    )
    parts = flow.monthly_by_row(rate)
    assert sum(parts.values()) == pytest.approx(flow.monthly_usd(rate), rel=1e-9, abs=1e-9)
    assert sum(flow.split_usd()) == pytest.approx(flow.tco_usd(), rel=1e-9, abs=1e-9)
    worth = present_value(
        np.full(months + 1, flow.monthly_usd(rate)) * (np.arange(months + 1) > 0), rate
    )
    assert worth == pytest.approx(flow.present_value(rate), rel=1e-9, abs=1e-6)


def test_a_column_of_draws_is_one_evaluation() -> None:
    price = np.array([[100.0], [200.0]])
    flow = CashFlow((row("a", RowKind.HARDWARE, once(price)),), 12)
    assert flow.usd().shape == (2, 13)
    assert flow.tco_usd() == pytest.approx([100.0, 200.0])
    rate = np.array([[0.0], [0.05]])
    by_hand = [100 / 12, level_payment(200, 0.05, 12)]
    assert flow.monthly_usd(rate) == pytest.approx(by_hand)


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(CashFlowError, match="rate_per_year"):
        level_payment(1.0, rate, 12)


def test_no_months_and_no_period_are_refused() -> None:
    with pytest.raises(CashFlowError, match="months is 0"):
        CashFlow((), 0)
    with pytest.raises(CashFlowError, match="payments is 0"):
        level_payment(1.0, 0.05, 0)
    with pytest.raises(CashFlowError, match="period is 0"):
        every(1.0, period=0, first=0)
