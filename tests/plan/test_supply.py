"""Supply: scores from facts, promises against their means, recovery on the simulator."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.base.errors import Exit
from skerry.cli.main import run
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.errors import ColumnError
from skerry.plan.supply.contracts import exit_cost, months_to_earn_back, promise
from skerry.plan.supply.facts import CreditStep
from skerry.plan.supply.lifecycle import calendar
from skerry.plan.supply.recovery import back_hours, lose_each
from skerry.plan.supply.report import Facts, read_facts
from skerry.plan.supply.risk import Score, changes, country_shares, score_parts, score_vendors
from skerry.plan.trace import story_trace
from skerry.schema.fleet import Fleet

EXAMPLE = Path("examples/plan/supply")
NOW_S = 1_780_000_000.0  # 28 May 2026


@pytest.fixture(scope="module")
def facts() -> Facts:
    return read_facts(EXAMPLE / "parts.csv", EXAMPLE / "vendors.csv")


@pytest.fixture
def given_() -> Assumptions:
    return assumptions("supply")


def scores(facts: Facts, given_: Assumptions) -> tuple[Score, ...]:
    return score_parts(facts.parts, facts.vendors, given_, now_unix_s=NOW_S)


def test_a_score_is_the_weighted_mean_of_its_parts(facts: Facts, given_: Assumptions) -> None:
    found = {one.name: one for one in scores(facts, given_)}
    card = found["edge-gpu-card"]
    assert card.parts["lead"] == pytest.approx(120 / 180)
    assert card.parts["source"] == 1.0  # nobody else makes it
    assert card.parts["openness"] == pytest.approx(0.7)
    weights = {"lead": 0.25, "source": 0.25, "region": 0.15, "support": 0.2, "openness": 0.15}
    by_hand = sum(weights[name] * card.parts[name] for name in weights)
    assert card.total == pytest.approx(by_hand)
    assert card.worst == "source"


def test_shares_of_countries_add_up_to_one(facts: Facts) -> None:
    assert sum(country_shares(facts.parts, facts.vendors).values()) == pytest.approx(1)


@given(st.floats(0, 3650), st.integers(0, 50), st.floats(0, 1))
def test_a_better_fact_never_scores_worse(lead: float, others: int, open_share: float) -> None:
    facts = read_facts(EXAMPLE / "parts.csv", EXAMPLE / "vendors.csv")
    one = replace(facts.parts[1], lead_days=lead, alternatives=others)
    vendor = replace(facts.vendors["lumen"], open_share=open_share)
    vendors = {**facts.vendors, "lumen": vendor}
    rows = assumptions("supply")
    before = score_parts([one], vendors, rows, now_unix_s=NOW_S)[0].total
    better = replace(one, lead_days=lead / 2, alternatives=others + 1)
    assert 0 <= before <= 1
    assert score_parts([better], vendors, rows, now_unix_s=NOW_S)[0].total <= before


def test_a_vendor_is_as_risky_as_the_worst_of_its_parts(facts: Facts, given_: Assumptions) -> None:
    found = score_vendors(scores(facts, given_), facts.parts, facts.vendors, given_)
    by_name = {one.name: one for one in found}
    assert found[0].name == "lumen"
    assert by_name["northbox"].parts["support"] == max(
        one.parts["support"] for one in scores(facts, given_) if one.vendor == "northbox"
    )
    assert by_name["bigcloud"].parts["lead"] == 0.0


def test_scores_follow_their_facts(facts: Facts, given_: Assumptions) -> None:
    card = facts.parts[1]
    slower = [replace(one, lead_days=180) if one is card else one for one in facts.parts]
    after = score_parts(slower, facts.vendors, given_, now_unix_s=NOW_S)
    moved = changes(scores(facts, given_), after)
    assert [row[0] for row in moved] == ["edge-gpu-card"]
    assert moved[0][2] - moved[0][1] == pytest.approx(0.25 * (1 - 120 / 180))
    assert changes((), after)[0][1] == 0.0  # what is new was nothing before


def test_a_promise_agrees_with_its_means(facts: Facts) -> None:
    vendor = facts.vendors["meshlink"]  # 6 outages of 1.5 hours
    found = promise(vendor, loss_usd_per_hour=100, seed=1)
    assert found.downtime_hours_per_year == pytest.approx(9.0, rel=0.02)
    assert found.loss_usd_per_year == pytest.approx(100 * found.downtime_hours_per_year)
    assert found.availability_ratio == pytest.approx(1 - 9 / 8760, abs=1e-4)
    assert 0 < found.credit_usd_per_year < 0.25 * 12 * vendor.usd_per_month
    assert promise(vendor, loss_usd_per_hour=100, seed=1) == found  # a seed repeats it


def test_a_credit_is_paid_for_every_month_below_the_step(facts: Facts) -> None:
    always_down = replace(
        facts.vendors["meshlink"],
        outages_per_year=12_000.0,
        outage_hours=100.0,
        credits=(CreditStep(below_ratio=0.999, credit_ratio=0.5),),
    )
    found = promise(always_down, loss_usd_per_hour=0, seed=1)
    assert found.credit_usd_per_year == pytest.approx(0.5 * 12 * 2400)
    assert found.availability_ratio == pytest.approx(0.0, abs=1e-9)


def test_leaving_costs_line_by_line(facts: Facts, given_: Assumptions) -> None:
    vendor = facts.vendors["bigcloud"]
    lines = exit_cost(vendor, given_)
    assert lines["data out"] == pytest.approx(42_000 * 0.09)
    assert lines["parallel running"] == pytest.approx(8200 * 45 / (365 / 12))
    assert lines["conversion"] == pytest.approx(42 * 0.45 * 6 * 75)
    months = months_to_earn_back(vendor, sum(lines.values()))
    assert months == pytest.approx(sum(lines.values()) / 2100)
    assert months_to_earn_back(facts.vendors["lumen"], 1.0) is None
    dearer = replace(vendor, alternative_usd_per_month=9000.0)
    assert months_to_earn_back(dearer, 1.0) is None


def test_the_calendar_says_when_why_and_what_then(facts: Facts, given_: Assumptions) -> None:
    due = {one.part: one for one in calendar(facts.parts, given_, now_unix_s=NOW_S)}
    card, router, ups = due["edge-gpu-card"], due["lte-router"], due["closet-ups"]
    assert (card.year, card.why, card.then) == (2029, "life ends", "second life until 2031")
    assert (router.year, router.why, router.then) == (2027, "support ends", "sell")
    assert router.resale_usd == pytest.approx(240 * 320 * 0.3)
    assert ups.year == 2026
    assert not ups.overdue  # in September


def test_a_lost_site_keeps_what_may_leave_it(fleet: Fleet, given_: Assumptions) -> None:
    trace = story_trace(fleet, requests=600, seed=3)
    losses = lose_each(
        fleet, trace, back_hours=lambda site: back_hours(given_, lead_days=21), seed=3
    )
    by_place = {loss.place: loss for loss in losses}
    assert set(by_place) == {site.name for site in fleet.sites if site.nodes}
    oslo = by_place["oslo"]
    assert oslo.own_answered_ratio is not None
    assert 0 < oslo.own_answered_ratio < 1
    assert oslo.refused.get("residency", 0) > 0  # what never leaves its site is refused, not moved
    assert by_place["cloud"].all_answered_ratio == 1.0
    assert oslo.back_hours == pytest.approx(0.02 + 8 + 2)
    assert oslo.back_hours_without_spare == pytest.approx(10.02 + 21 * 24)


def words(*more: str) -> list[str]:
    files = ["--parts", str(EXAMPLE / "parts.csv"), "--vendors", str(EXAMPLE / "vendors.csv")]
    return ["plan", "supply", *files, "--on", "2026-11-27", *more]


def test_the_example_runs_as_its_page_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "supply.html"
    more = ["-f", "examples/clinic/fleet.yaml", "--requests", "400", "--report", str(page)]
    assert run(words("--redundancy", "2of3@0.995", "--json", *more)) == Exit.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["spares_usd"] == sum(row["usd"] for row in document["spares"])
    asked = document["redundancy"][0]
    assert asked["availability_ratio"] == pytest.approx(0.99992525)
    assert {row["place"] for row in document["recovery"]} >= {"oslo", "cloud"}
    assert document["recovery_missed"]
    assert "What may not arrive" in page.read_text()


def test_the_flip_that_is_stated_flips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("--json")) == Exit.DONE
    advice = json.loads(capsys.readouterr().out)["advice"][0]
    assert advice["choice"] == "to secure edge-gpu-card first"
    assert advice["flip"] == "edge-gpu-card has 4 alternatives"
    for others, first in ((3, "edge-gpu-card"), (4, "lte-router")):
        text = (EXAMPLE / "parts.csv").read_text()
        changed = tmp_path / f"parts{others}.csv"
        changed.write_text(text.replace("lumen,80,0.0908,120,0", f"lumen,80,0.0908,120,{others}"))
        line = ["--parts", str(changed), "--vendors", str(EXAMPLE / "vendors.csv")]
        assert run(["plan", "supply", *line, "--on", "2026-11-27", "--json"]) == Exit.DONE
        document = json.loads(capsys.readouterr().out)
        assert document["part_scores"][0]["name"] == first


def test_facts_that_changed_are_shown_beside_the_old(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.csv"
    old.write_text((EXAMPLE / "parts.csv").read_text().replace("120,0,2500", "30,2,2500"))
    assert run(words("--before-parts", str(old), "--json")) == Exit.DONE
    moved = json.loads(capsys.readouterr().out)["score_changes"]
    assert moved[0]["name"] == "edge-gpu-card"
    assert moved[0]["after"] > moved[0]["before"]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("parts.csv", "intake-pc,northbox", "intake-pc,nobody", ":2: column vendor: 'nobody'"),
        ("parts.csv", "rack-server", "intake-pc", ":4: column part: 'intake-pc' a second time"),
        ("parts.csv", "0.04,21,3,600", "0.04,-1,3,600", ":2: column lead_days: '-1'"),
        ("parts.csv", "0.04,21,3,600", "0.04,21,2.5,600", "alternatives: 2.5, wanted a whole"),
        ("parts.csv", "2030-03-01", "2020-03-01", "support_end: a time before the purchase"),
        ("parts.csv", "2024-03-01,5", "yesterday,5", "bought: 'yesterday', wanted an ISO 8601"),
        ("vendors.csv", "0.999:0.10", "0.999", "credit_steps: '0.999', wanted steps such as"),
        ("vendors.csv", ",0.55,", ",55,", ":6: column open_share: '55', wanted a number from 0 to"),
    ],
)
def test_a_bad_fact_is_named(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    for name in ("parts.csv", "vendors.csv"):
        text = (EXAMPLE / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new, 1) if name == file else text)
    with pytest.raises(ColumnError) as raised:
        read_facts(tmp_path / "parts.csv", tmp_path / "vendors.csv")
    assert said in str(raised.value)


def test_arithmetic_needs_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    asked = ["plan", "supply", "--redundancy", "11of12@0.995", "--redundancy", "1of2@0.9"]
    assert run([*asked, "--json", "--report", str(page)]) == Exit.DONE
    rows = json.loads(capsys.readouterr().out)["redundancy"]
    together = 0.995**12 + 12 * 0.995**11 * 0.005
    assert rows[0]["availability_ratio"] == pytest.approx(together)
    assert rows[1]["availability_ratio"] == pytest.approx(0.99)
    assert "11 of 12" in page.read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "give --parts and --vendors, or --redundancy"),
        (["--parts", "p.csv", "--redundancy", "1of2@0.9"], "--parts and --vendors go together"),
        (["--vendors", "v.csv"], "--parts and --vendors go together"),
        (
            ["--redundancy", "1of2@0.9", "-f", "fleet.yaml"],
            "--file needs --parts and --vendors",
        ),
        (
            ["--redundancy", "1of2@0.9", "--before-parts", "p.csv"],
            "--before-parts needs --parts and --vendors",
        ),
    ],
)
def test_files_that_belong_together_are_asked_for(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "supply", *more]) == Exit.WRONG_USE
    assert said in capsys.readouterr().err


def test_arithmetic_that_cannot_be_read_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("--redundancy", "two of three")) == Exit.WRONG_USE
    assert "2of3@0.995" in capsys.readouterr().err
    assert run(words("--redundancy", "3of2@0.9")) == Exit.WRONG_USE
