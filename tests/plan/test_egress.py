"""Egress: three providers to the cent, steps without a jump, an unknown name refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.plan.finance.egress import EgressError, egress_steps, egress_usd


@pytest.mark.parametrize(
    ("provider", "usd"), [("aws", 7978.20), ("azure", 7865.86), ("gcp_premium", 8509.32)]
)
def test_a_hundred_terabytes_a_month_to_the_cent(provider: str, usd: float) -> None:
    assert float(egress_usd(102_400.0, provider)) == pytest.approx(usd, abs=0.005)


@given(st.sampled_from(["aws", "azure", "gcp_premium"]), st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_data_never_cost_less(provider: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= egress_usd(low, provider) <= egress_usd(high, provider) + 1e-9


@pytest.mark.parametrize("provider", ["aws", "azure", "gcp_premium"])
def test_steps_follow_one_another_and_say_their_source(provider: str) -> None:
    steps = egress_steps()[provider]
    assert steps[0].from_gb == 0
    assert [step.to_gb for step in steps[:-1]] == [step.from_gb for step in steps[1:]]
    assert all(step.source and step.as_of for step in steps)


def test_an_unknown_provider_is_refused_with_those_known() -> None:
    with pytest.raises(EgressError, match="'cloudy'") as caught:
        egress_usd(1.0, "cloudy")
    assert "aws" in caught.value.hint
