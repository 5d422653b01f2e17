"""Rows of a tier: prices by hand, the file's monthly sum kept, each way of paying."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.finance.cash_flow import RowKind, level_payment
from skerry.plan.finance.demand import STEPS, Demand
from skerry.plan.finance.terms import Financing, Terms
from skerry.plan.finance.tiers import FLEET, Case, case_of
from skerry.schema.fleet import Fleet, Machine

FLEET_FIXTURE = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
INPUTS = assumptions("finance")
TERMS = Terms(months=60)


def rented(fleet: Fleet) -> Fleet:
    """Return the fleet with a cloud whose machines are rented for 40 USD a month."""
    vm = Machine(name="vm", idle_w=3.0, busy_w=14.0, price_usd=0.0, life_years=4.0, source="stated")
    cloud = msgspec.structs.replace(
        fleet.tiers["cloud"], machine=vm, usd_per_month=40.0, energy_usd_per_kwh=0.0
    )
    return msgspec.structs.replace(fleet, tiers={**fleet.tiers, "cloud": cloud})


def case(fleet: Fleet, requests: float = 1e6, terms: Terms = TERMS, target_s: float = 1.0) -> Case:
    demand = Demand(
        requests_per_month=requests,
        sites=("oslo", "hamburg"),
        share=np.full((2, STEPS), 1 / (2 * STEPS)),
        service_s=0.01,
        content_bytes=1000.0,
        source="test",
    )
    return case_of(rented(fleet), demand, target_s=target_s, terms=terms)


def monthly(
    fleet: Fleet, tier: str, inputs: Assumptions = INPUTS, **terms: object
) -> dict[str, float]:
    cost = case(fleet, terms=replace(TERMS, **terms)).cost(tier, inputs)  # type: ignore[arg-type]
    return {name: float(np.asarray(usd)) for name, usd in cost.flow.monthly_by_row(0.0).items()}


def test_a_closet_over_its_machines_life_at_no_cost_of_capital(fleet: Fleet) -> None:
    """3 machines at 600 USD for 60 months, sold at 0.64**5 of it; 2 sites at 10 USD."""
    found = monthly(fleet, "closet")
    assert found["hardware"] == pytest.approx(3 * 600 / 60)
    assert found["refresh"] == 0
    assert found["resale"] == pytest.approx(-3 * 600 * 0.64**5 / 60)
    assert found["software"] == pytest.approx(3 * 60 / 12)
    places = sum(found[name] for name in ("facility", "connectivity", "staff", "truck rolls"))
    assert places == pytest.approx(2 * 10)


def test_failures_grow_with_age_and_spares_are_bought_once(fleet: Fleet) -> None:
    """Mean age over 60 months is 59/24 years: 0.05 * 0.4 * (1 + 0.15 * 59/24) of the price."""
    stock = 0.05 * 1800 / 60
    repairs = 1800 * 0.05 * 0.4 / 12 * (1 + 0.15 * 59 / 24)
    assert monthly(fleet, "closet")["spares"] == pytest.approx(stock + repairs)


def test_machines_are_replaced_at_the_later_price_and_the_last_ones_sold_young(
    fleet: Fleet,
) -> None:
    found = monthly(fleet, "closet", refresh_months=24)
    second, third = 1800 * 0.95**2, 1800 * 0.95**4
    assert found["refresh"] == pytest.approx((second + third) / 60)
    sold = (1800 + second) * 0.64**2 + third * 0.64
    assert found["resale"] == pytest.approx(-sold / 60)


def test_itemised_rows_take_the_tables_prices(fleet: Fleet) -> None:
    found = monthly(fleet, "closet", itemise=True)
    assert found["connectivity"] == pytest.approx(2 * 60)
    assert found["staff"] == pytest.approx(2 * 0.5 * 60)
    assert found["truck rolls"] == pytest.approx(2 * 250 / 12)
    assert found["facility"] == pytest.approx(90 * 1 / 120)  # 90 W rated, half its life used


def test_room_and_hands_grow_with_the_machines_and_the_link_stays(fleet: Fleet) -> None:
    few, many = (case(fleet, requests=load).cost("room", INPUTS) for load in (1e6, 1e9))
    grown = float(many.work.machines)
    assert grown > 1
    one, more = (cost.flow.monthly_by_row(0.0) for cost in (few, many))
    for name in ("facility", "staff", "truck rolls"):
        assert more[name] == pytest.approx(np.asarray(one[name]) * grown)
    assert more["connectivity"] == pytest.approx(one["connectivity"])


def test_a_lease_is_the_lessors_level_payment(fleet: Fleet) -> None:
    found = monthly(fleet, "closet", financing=Financing.LEASE)
    left = 0.10 * (1 + 0.10 / 12) ** -60
    assert found["lease"] == pytest.approx(level_payment(1800 * (1 - left), 0.10, 60))
    assert "hardware" not in found
    assert "resale" not in found


def test_managed_machines_need_no_spares_and_no_visits(fleet: Fleet) -> None:
    lease = monthly(fleet, "closet", financing=Financing.LEASE)["lease"]
    found = monthly(fleet, "closet", financing=Financing.MANAGED)
    assert found["managed hardware"] == pytest.approx(lease + 1800 * 0.15 / 12)
    assert "spares" not in found
    assert "truck rolls" not in found


def test_used_machines_cost_less_fail_more_and_live_shorter(fleet: Fleet) -> None:
    found = monthly(fleet, "closet", second_life=True)
    price = 1800 * 0.64**2 * 1.15
    assert found["hardware"] == pytest.approx(price / 60)
    assert found["refresh"] == pytest.approx(price * 0.95**3 / 60)  # 5 - 2 years of life are left
    sold = price * (0.64**3 + 0.95**3 * 0.64**2) * (1 - 0.15)  # to the dealer, after 36 and 24
    assert found["resale"] == pytest.approx(-sold / 60)
    assert found["power"] > monthly(fleet, "closet")["power"]


def test_a_rented_cloud_pays_rent_and_egress_and_buys_nothing(fleet: Fleet) -> None:
    found = monthly(fleet, "cloud", INPUTS.with_value("answer_bytes", 1e6))
    assert found["rent"] == pytest.approx(40)
    assert found["egress"] == pytest.approx(900 * 0.09)  # 1000 GB, 100 of them free
    assert "hardware" not in found
    assert case(fleet).cost("cloud", INPUTS).flow.split_usd()[0] == 0


def test_a_cloud_paid_by_request_is_its_price_and_waits_for_nobody(fleet: Fleet) -> None:
    inputs = INPUTS.with_value("cloud_usd_per_1k", 0.5)
    cost = case(fleet, requests=1e9).cost("cloud", inputs)
    assert cost.monthly_usd(0.0) == pytest.approx(500_000)
    assert cost.in_time_ratio() == 1


def test_lateness_is_a_line_of_its_own(fleet: Fleet) -> None:
    inputs = INPUTS.with_value("latency_value_usd_per_ms", 1e-6)
    late = case(fleet, target_s=0.05).cost("cloud", inputs)
    rows = late.flow.monthly_by_row(0.0)
    assert float(np.asarray(rows["latency penalty"])) == pytest.approx(
        float(late.work.late_ms) * 1e-6
    )
    assert late.usd_per_1k(0.05) == np.inf  # and nothing is in time


@FLEET_FIXTURE
@given(
    st.sampled_from(["closet", "room", "cloud", FLEET]),
    st.sampled_from(list(Financing)),
    st.floats(1, 1e10),
    st.floats(1, 1e10),
)
def test_more_load_never_costs_less_in_total(
    fleet: Fleet, tier: str, financing: Financing, one: float, other: float
) -> None:
    base = case(fleet, terms=Terms(months=60, financing=financing))
    less, more = (
        base.at(requests_per_month=load).costs(INPUTS)[tier].flow.tco_usd()
        for load in sorted((one, other))
    )
    assert less <= more * (1 + 1e-9)


@FLEET_FIXTURE
@given(st.sampled_from(["closet", "room", "cloud", FLEET]), st.floats(0, 0.2))
def test_rows_add_up_to_the_month_and_to_capex_and_opex(
    fleet: Fleet, tier: str, rate: float
) -> None:
    cost = case(fleet).costs(INPUTS)[tier]
    assert sum(cost.flow.monthly_by_row(rate).values()) == pytest.approx(cost.monthly_usd(rate))
    assert sum(cost.flow.split_usd()) == pytest.approx(cost.flow.tco_usd())


def test_the_fleet_is_its_tiers_with_the_others_standing_by(fleet: Fleet) -> None:
    found = case(fleet).costs(INPUTS)
    assert float(found[FLEET].work.requests) == pytest.approx(float(found["closet"].work.requests))
    assert found[FLEET].flow.tco_usd() > found["closet"].flow.tco_usd()
    kinds = {row.kind for row in found[FLEET].flow.rows}
    assert {RowKind.HARDWARE, RowKind.RENT, RowKind.COOLING, RowKind.TRUCK_ROLLS} <= kinds


def test_the_share_kept_each_year_lies_in_all_four_published_ranges() -> None:
    """Resale of H100: 60-65, 40-45, 25-35, 15-20 % after one to four years."""
    kept = INPUTS["resale_kept_ratio_per_year"]
    for year, (low, high) in enumerate([(60, 65), (40, 45), (25, 35), (15, 20)], start=1):
        assert low <= round(100 * kept**year, 1) <= high


def test_micro_sites_in_rooms_that_exist_take_less_capital_than_a_built_one(fleet: Fleet) -> None:
    """Published as 42 % less (Schneider, WP 223); here the direction: same machines, per watt."""
    found = {}
    for tier in ("closet", "room"):
        cost = case(fleet, terms=replace(TERMS, itemise=True)).cost(tier, INPUTS)
        built = [row for row in cost.flow.rows if row.name in ("hardware", "facility")]
        found[tier] = float(cost.flow.usd(built)[0] / cost.work.rated_w)
    assert found["closet"] < found["room"]
