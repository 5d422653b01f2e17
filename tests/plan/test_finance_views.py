"""Break-even to a published figure, a flip that flips, offers on the same draws, PERT's moments."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.plan.assumptions import assumptions
from skerry.plan.finance.cash_flow import (
    Amount,
    CashFlow,
    Row,
    RowKind,
    level_payment,
    monthly,
    npv_usd,
    once,
)
from skerry.plan.finance.found import found
from skerry.plan.finance.in_time import Check
from skerry.plan.finance.ranges import drawn, pert, quantiles, swings
from skerry.plan.finance.terms import Terms
from skerry.plan.finance.tiers import FLEET, Cost
from skerry.plan.finance.views import (
    better,
    break_even,
    break_even_hours_ratio,
    fitting_ms,
    flip_input,
    flip_requests,
    hours_ratio,
    npv_against,
    offers,
    payback_months,
    refresh_usd_per_month,
)
from skerry.plan.finance.work import Work
from skerry.schema.assumption import Assumption
from skerry.schema.fleet import Fleet, Machine
from skerry.schema.goal import Level

from .test_finance_rows import case

INPUTS = assumptions("finance")


def test_an_own_machine_with_eight_gpus_against_a_rented_one() -> None:
    """200,000 USD over 36 months at 5 %; 6.5 kW, PUE 1.3, 0.12 USD/kWh, 730 h."""
    own = float(level_payment(200_000.0, 0.05, 36)) + 6.5 * 1.3 * 730 * 0.12
    assert own == pytest.approx(6734.40, abs=0.005)
    for rent, share in ((32.7726, 0.2815), (20.1755, 0.4572)):
        found = break_even_hours_ratio(own, rent_usd_per_hour=rent, hours_per_month=730)
        assert found == pytest.approx(share, abs=1e-4)
    assert break_even_hours_ratio(own, rent_usd_per_hour=0.0) is None


def test_the_same_machine_through_every_row_has_the_same_break_even(fleet: Fleet) -> None:
    """As above, as a tier of a fleet; its month has 730.5 hours, the published one 730."""
    gpus = Machine(
        name="8xA100", idle_w=6500, busy_w=6500, price_usd=2e5, life_years=3, source="stated"
    )
    own = msgspec.structs.replace(
        fleet.tiers["closet"],
        machine=gpus,
        pue_ratio=1.3,
        energy_usd_per_kwh=0.12,
        usd_per_month=0.0,
        feed_w=1e6,
    )
    one = case(fleet, terms=Terms(months=36))
    places = {name: dataclasses.replace(p, tier=own) for name, p in one.alone.items()}
    cloud = msgspec.structs.replace(one.alone["cloud"].tier, usd_per_month=0.0)
    alone = {**one.alone, "closet": places["closet"]}
    alone["cloud"] = dataclasses.replace(one.alone["cloud"], tier=cloud)
    inputs = INPUTS
    for name in inputs:
        if name.startswith(("edge_", "software", "failure", "spare", "resale", "truck", "staff")):
            inputs = inputs.with_value(name, 0.0)
    for rent, share in ((32.7726, 0.2815), (20.1755, 0.4572)):
        priced = inputs.with_value("cloud_usd_per_machine_hour", rent)
        whole = dataclasses.replace(one, alone=alone)
        found = hours_ratio(whole, "closet", "cloud", priced, rate_per_year=0.05)
        assert found == pytest.approx(share, abs=4e-4)


def test_break_even_is_where_the_order_turns_and_stays(fleet: Fleet) -> None:
    one = case(fleet)
    load = break_even(one, "closet", "cloud", INPUTS, rate_per_year=0.05).requests_per_month
    assert load is not None
    around = np.array([load * 0.999, load * 1.001, load * 2, load * 5])
    order = better(one, "closet", "cloud", INPUTS, around, 0.05)
    assert order.tolist() == [False, True, True, True]


def test_a_feed_bounds_what_a_tier_can_serve(fleet: Fleet) -> None:
    """1 kW at 30 W a machine and PUE 1.5 carries 22 machines, not 23."""
    one = case(fleet)
    per_machine = 0.7 * SECONDS_PER_MONTH / 0.01  # requests of 10 ms at 70 % use
    loads = 2 * per_machine * np.array([21.9, 22.1])  # both sites ask alike
    assert better(one, "closet", "cloud", INPUTS, loads, 0.05).tolist() == [True, False]
    assert not one.at(requests_per_month=float(loads[1])).cost("closet", INPUTS).is_able(0.95)


def test_a_tier_that_never_wins_has_no_break_even(fleet: Fleet) -> None:
    free = INPUTS
    for name in ("rent_price_ratio", "software_usd_per_machine_year", "answer_bytes"):
        free = free.with_value(name, 0.0)
    one = case(fleet)
    even = break_even(one, "closet", "cloud", free, rate_per_year=0.05)
    assert even.requests_per_month is None
    assert even.reason == "none: it costs more than cloud at any load"
    assert hours_ratio(one, "closet", "cloud", free, rate_per_year=0.05) is None


def test_the_load_that_flips_the_order_does(fleet: Fleet) -> None:
    one = case(fleet)
    first, second = sorted(("closet", "cloud"), key=lambda n: one.cost(n, INPUTS).usd_per_1k(0.05))
    load = flip_requests(one, first, second, INPUTS, rate_per_year=0.05)
    assert load is not None
    assert better(one, second, first, INPUTS, np.array([load]), 0.05)[0]


def test_the_input_that_flips_the_order_does_and_a_little_less_does_not(fleet: Fleet) -> None:
    one = case(fleet)
    rows = [
        msgspec.structs.replace(row, high=20.0) if row.name == "rent_price_ratio" else row
        for row in map(INPUTS.row, INPUTS)
    ]
    flip = flip_input(one, "cloud", "closet", rows)
    assert flip is not None
    name, value = flip
    base = {row.name: row.value for row in rows}
    for at, cloud_wins in ((value, False), (value + 1e-3 * (base[name] - value), True)):
        cloud, closet = (
            one.cost(tier, {**base, name: at}).usd_per_1k(0.05) for tier in ("cloud", "closet")
        )
        assert (cloud <= closet) == cloud_wins
    assert flip_input(one, "cloud", "closet", [row for row in rows if row.low == row.high]) is None


def test_the_latency_that_fits_is_kept_by_enough_and_no_less_would_do(fleet: Fleet) -> None:
    one = case(fleet, target_s=0.05)
    limit_ms = fitting_ms(one, "cloud", INPUTS)
    assert limit_ms is not None
    assert 81 < limit_ms < 100
    kept = case(fleet, target_s=limit_ms / 1000).cost("cloud", INPUTS).in_time_ratio()
    assert kept >= 0.95
    less = case(fleet, target_s=limit_ms / 1000 - 1e-4).cost("cloud", INPUTS).in_time_ratio()
    assert less < 0.95


def test_every_offer_is_the_same_demand_and_used_machines_are_cheaper_to_buy(fleet: Fleet) -> None:
    bought, used, leased, managed = offers(case(fleet), "closet", INPUTS, rate_per_year=0.05)
    assert [one.name for one in (bought, used, leased, managed)] == [
        "buy", "buy used", "lease", "managed",
    ]  # fmt: skip
    assert used.capex_usd < bought.capex_usd
    assert leased.capex_usd == managed.capex_usd == 0


def test_a_lease_at_the_buyers_own_rate_and_residual_is_worth_the_price(fleet: Fleet) -> None:
    """Lessor's rate and residual equal to ours: the two present values are the same."""
    inputs = INPUTS
    kept = inputs["resale_kept_ratio_per_year"]
    for name, value in (
        ("lease_rate_per_year", 0.05),
        ("lease_residual_ratio", kept**5),
        ("spare_stock_ratio", 0.0),
    ):
        inputs = inputs.with_value(name, value)
    bought, _, leased, _ = offers(case(fleet), "closet", inputs, rate_per_year=0.05)
    assert leased.present_value_usd == pytest.approx(bought.present_value_usd)


def test_keeping_longer_costs_less_until_failures_outweigh(fleet: Fleet) -> None:
    worn = INPUTS.with_value("failure_growth_per_year", 20.0).with_value(
        "failure_ratio_per_year", 0.3
    )
    new = refresh_usd_per_month(case(fleet), "closet", INPUTS, rate_per_year=0.05)
    old = refresh_usd_per_month(case(fleet), "closet", worn, rate_per_year=0.05)
    assert min(new, key=new.__getitem__) > min(old, key=old.__getitem__)


def test_npv_against_the_cloud_is_the_difference_of_present_values(fleet: Fleet) -> None:
    costs = case(fleet).costs(INPUTS)
    cloud, closet = costs["cloud"], costs["closet"]
    assert npv_against(closet, cloud, 0.05) == pytest.approx(
        cloud.flow.present_value(0.05) - closet.flow.present_value(0.05)
    )
    assert npv_usd(cloud.flow.usd(), cloud.flow.usd(), 0.05) == 0


def test_payback_is_the_month_from_which_less_was_paid_to_the_end() -> None:
    """1,000 at once and 10 a month against 50 a month: even after 25 months."""

    def cost(*rows: Row) -> Cost:
        ones = {field.name: np.array(1.0) for field in dataclasses.fields(Work)}
        return Cost(name="x", flow=CashFlow(rows, 60), work=Work(**ones))

    def row(name: str, usd: Amount) -> Row:
        return Row(name=name, kind=RowKind.RENT, usd=usd, source="test")

    cloud = cost(row("rent", monthly(50.0)))
    own = cost(row("machine", once(1000.0)), row("power", monthly(10.0)))
    assert payback_months(own, cloud) == 25
    again = cost(*own.flow.rows, row("machine again", once(2000.0, month=40)))
    assert payback_months(again, cloud) is None
    assert payback_months(cloud, cloud) == 0


ROW = Assumption(
    name="x", value=2.0, low=1.0, high=5.0, unit="", level=Level.STATED, source="", as_of=""
)


def test_pert_has_its_mean_and_stays_inside() -> None:
    values = pert(ROW, 200_000, np.random.default_rng(1))
    assert values.shape == (200_000, 1)
    assert values.mean() == pytest.approx((1 + 4 * 2 + 5) / 6, abs=0.005)
    assert 1 <= values.min() <= values.max() <= 5


@given(st.integers(0, 2**31))
def test_a_seed_draws_the_same_again_and_an_input_more_changes_no_other(seed: int) -> None:
    other = Assumption(
        name="y", value=0.0, low=-1.0, high=1.0, unit="", level=Level.STATED, source="", as_of=""
    )
    alone = drawn([ROW], draws=5, seed=seed)
    both = drawn([other, ROW], draws=5, seed=seed)
    assert np.array_equal(np.asarray(alone["x"]), np.asarray(both["x"]))


def test_quantiles_of_a_hundred_numbers_and_of_one() -> None:
    assert quantiles(np.arange(1.0, 101)) == (10.0, 50.0, 90.0)
    assert quantiles(3.0) == (3.0, 3.0, 3.0)


def test_swings_are_widest_first_and_leave_out_what_moves_nothing() -> None:
    rows = [
        Assumption(
            name=name, value=1.0, low=0.0, high=high, unit="", level=Level.STATED, source="",
            as_of="",
        )
        for name, high in (("small", 2.0), ("wide", 9.0), ("idle", 5.0))
    ]  # fmt: skip
    found_ = swings(rows, lambda at: float(np.asarray(at["small"] + at["wide"])))
    assert found_ == (("wide", 1.0, 10.0), ("small", 1.0, 3.0))


def test_the_same_seed_finds_the_same_and_quantiles_ascend(fleet: Fleet) -> None:
    one, other = (
        found(case(fleet), assumptions("finance"), {}, draws=200, seed=3) for _ in range(2)
    )
    assert one.usd_per_1k == other.usd_per_1k
    for low, middle, high in one.usd_per_1k.values():
        assert low <= middle <= high
    for name, values in one.at_capital.items():
        assert list(values) == sorted(values) or name == "cloud"
    for values in one.worth_at_capital.values():
        assert list(values) == sorted(values, reverse=True)
    assert len(one.strongest[FLEET]) == 10


@given(*(st.floats(0, 1) for _ in range(3)))
def test_a_replay_corrects_the_formula_within_bounds(
    formula: float, replay: float, other: float
) -> None:
    """At the load replayed the share is the replay's; elsewhere it is a share, never beyond."""
    check = Check(formula_ratio=formula, replay_ratio=replay, replay_ms=np.array([1.0]))
    at, there = check.corrected(np.array([formula, other]))
    assert at == pytest.approx(replay, abs=1e-9)
    assert 0 <= there <= 1
    assert (there - other) * (replay - formula) >= -1e-12
