"""Rules: yes, no and unknown are three answers, each explained."""

import math

import pytest

from skerry.route.rules import Holds, active, judge, judge_all, preferred
from skerry.schema.desired import DesiredRule


def rule(signal: str, op: str, value: str | float, do: str = "prefer") -> DesiredRule:
    return DesiredRule(signal=signal, op=op, value=value, do=do, what=("magika-small",))


ON_UPS = rule("power.source", "==", "ups")


def test_a_rule_that_holds_prefers_its_model_and_says_why() -> None:
    findings = judge_all([ON_UPS], {"power.source": "ups"})
    assert preferred(findings) == {"magika-small": "power.source == ups"}
    assert active(findings) == ("prefer magika-small (power.source == ups: power.source is ups)",)


def test_a_rule_that_does_not_hold_prefers_nothing() -> None:
    findings = judge_all([ON_UPS], {"power.source": "grid"})
    assert findings[0].holds is Holds.NO
    assert not preferred(findings)
    assert not active(findings)


@pytest.mark.parametrize(
    ("judged", "signals"),
    [
        (ON_UPS, {}),
        (ON_UPS, {"power.source": 3.0}),
        (rule("temperature_c", ">", 40.0), {"temperature_c": "hot"}),
        (rule("temperature_c", "!=", 40.0), {"temperature_c": math.nan}),
        (rule("power.source", ">", "grid"), {"power.source": "ups"}),
        (rule("power.source", "~", "ups"), {"power.source": "ups"}),
    ],
)
def test_what_cannot_be_judged_is_unknown_not_false(
    judged: DesiredRule, signals: dict[str, str | float]
) -> None:
    finding = judge(judged, signals)
    assert finding.holds is Holds.UNKNOWN
    assert judged.signal in finding.why
    assert not preferred([finding])


@pytest.mark.parametrize(
    ("op", "low", "same", "high"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
        ("!=", True, False, True),
    ],
)
def test_numbers_compare_as_written(op: str, low: bool, same: bool, high: bool) -> None:
    judged = rule("grid.carbon_g_per_kwh", op, 300.0)
    for seen, wanted in ((299.0, low), (300.0, same), (301.0, high)):
        finding = judge(judged, {"grid.carbon_g_per_kwh": seen})
        assert finding.holds is (Holds.YES if wanted else Holds.NO)


def test_other_actions_are_told_as_active_and_prefer_nothing() -> None:
    findings = judge_all([rule("x", ">", 1.0, do="defer")], {"x": 2.0})
    assert active(findings)
    assert not preferred(findings)
