"""`skerry plan cost`: unit-named figures, a choice judged on unseen months, clear refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.cli.main import run
from skerry.plan.assumptions import assumptions
from skerry.plan.finance.bounds import check_bounds
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.run_figures import RunFigures

EXAMPLES = Path(__file__).parents[2] / "examples"
DAY = EXAMPLES / "plan" / "day" / "requests.csv"
CLINIC = EXAMPLES / "clinic" / "fleet.yaml"
QUICK = ("--draws", "100")
MONTHS = "month,requests,cloud_usd\n2026-11,2e6,130\n2026-12,3e6,190\n2027-01,4e6,260\n"


def cost(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run(["plan", "cost", "-f", str(CLINIC), "--json", *QUICK, *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = run(["plan", "cost", "-f", str(CLINIC), *QUICK, *words])
    return code, capsys.readouterr().err


def test_every_tier_has_its_cost_with_a_range_its_rows_and_its_break_even(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = cost(capsys, "--requests-per-month", "300000")
    tiers = {"this fleet", "closet", "room", "cloud"}
    for name in ("usd_per_1k_p10", "usd_per_1k_p50", "usd_per_1k_p90", "tco_usd", "capex_usd"):
        assert set(found[name]) == tiers
    for tier in tiers:
        assert found["usd_per_1k_p10"][tier] <= found["usd_per_1k_p90"][tier]
        parts = found["rows_usd_per_month"][tier].values()
        assert sum(parts) == pytest.approx(found["usd_per_month"][tier])
        in_time = found["requests_per_month"] * found["in_time_ratio"][tier]
        per_1k = found["usd_per_month"][tier] / in_time * 1000
        assert per_1k == pytest.approx(found["usd_per_1k_at_inputs"][tier])
        whole = found["capex_usd"][tier] + found["opex_usd"][tier]
        assert whole == pytest.approx(found["tco_usd"][tier])
    assert set(found["break_even_requests_per_month"]) == {"closet", "room"}
    assert (
        0 < found["break_even_hours_ratio"]["closet"] < 1 < found["break_even_hours_ratio"]["room"]
    )
    assert {"power", "cooling and losses", "truck rolls", "latency penalty", "resale"} <= set(
        found["rows_usd_per_month"]["closet"]
    )


def test_the_same_case_at_three_costs_of_capital(capsys: pytest.CaptureFixture[str]) -> None:
    found = cost(capsys, "--requests-per-month", "300000")
    at = [found[f"usd_per_1k_at_capital_{rate}_percent"]["closet"] for rate in (0, 5, 10)]
    assert at == sorted(at)
    free = cost(capsys, "--requests-per-month", "300000", "--set", "cost_of_capital_per_year=0")
    assert free["usd_per_1k_at_inputs"]["closet"] == pytest.approx(at[0])


def test_the_same_seed_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    one, other, third = (
        cost(capsys, "--requests-per-month", "300000", "--seed", seed)["usd_per_1k_p90"]
        for seed in ("1", "1", "2")
    )
    assert one == other != third


def test_answers_in_time_are_those_of_a_replay_where_the_load_is_the_traces(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = cost(capsys, "--requests-per-month", "300000")
    for tier, ratio in found["in_time_ratio_by_replay"].items():
        assert found["in_time_ratio"][tier] == pytest.approx(min(ratio, 1), abs=1e-6)
    larger = cost(capsys, "--requests-per-month", "3e8")
    assert larger["in_time_ratio_by_replay"] == {}
    assert any("by formula" in note for note in larger["notes"])


def test_a_trace_gives_shape_and_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.csv"
    rows = "".join(f"{second},hamburg,magika,health,4096\n" for second in range(0, 3600, 4))
    path.write_text(f"arrival_s,site,model,data_class,bytes\n{rows}")
    found = cost(capsys, "--trace", str(path))
    assert found["requests_per_month"] == pytest.approx(900 * 30.4375 * 24, rel=0.01)
    assert found["in_time_ratio"]["closet"] == 1


def test_the_choice_is_made_on_the_first_months_and_judged_on_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "months.csv"
    path.write_text(
        "month,requests,cloud_usd\n"
        + "".join(f"2026-0{month},1e6,{usd}\n" for month, usd in enumerate((90, 90, 900, 900), 1))
    )
    found = cost(capsys, "--months", str(path))
    regret = found["advice"][0]["regret"]
    assert found["advice"][0]["choice"] == regret["chosen"] == "cloud"
    assert regret["best"] == "closet"
    assert regret["chosen_cost"] == 1800
    assert regret["ratio"] > 3
    assert regret["unseen"] == f"2026-03 to 2026-04 of {path}"
    assert found["usd_per_1k_at_inputs"]["cloud"] == pytest.approx(0.09)
    assert found["requests_per_month"] == 1e6
    cost_goal = found["goals"][0]
    assert cost_goal["baseline"]["value"] == pytest.approx(found["usd_per_1k_p50"]["cloud"])
    assert cost_goal["predicted"]["value"] == found["usd_per_1k_p50"]["this fleet"]
    wiser = cost(capsys, "--months", str(path), "--seen-months", "3")
    assert wiser["advice"][0]["regret"]["ratio"] == 0


def test_a_run_takes_the_place_of_estimates_and_shows_their_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    measured = {GoalName.COST_USD_PER_1K: 2.0, GoalName.ENERGY_WH_PER_1K: 300.0}
    figures = RunFigures(
        at_unix_s=0.0,
        service_ms={"magika": 8.0},
        goals=tuple(
            GoalRecord(
                name=name,
                goal=None,
                measured=Figure(
                    value=value, low=value, high=value, level=Level.MEASURED, source="", at_unix_s=0
                ),
            )
            for name, value in measured.items()
        ),
    )
    path.write_bytes(msgspec.json.encode(figures))
    before = cost(capsys, "--requests-per-month", "600000")
    found = cost(capsys, "--requests-per-month", "600000", "--from-run", str(path))
    errors = found["prediction_error_ratio"]
    assert errors["cost_usd_per_1k"] == pytest.approx(
        before["usd_per_1k_p50"]["this fleet"] / 2.0 - 1, abs=0.01
    )
    assert found["energy_wh_per_1k"]["this fleet"] == pytest.approx(300.0)
    assert before["energy_wh_per_1k"]["this fleet"] != pytest.approx(300.0, rel=1e-4)


def test_the_goal_goes_into_the_fleet_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fleet.yaml"
    shutil.copy(CLINIC, path)
    words = ["plan", "cost", "-f", str(path), "--requests-per-month", "600000", "--json", *QUICK]
    assert run([*words, "--write"]) == 0
    found = json.loads(capsys.readouterr().out)
    high = found["usd_per_1k_p90"]["this fleet"]
    line = next(line for line in path.read_text().splitlines() if "cost_per_1k" in line)
    written = line.split(":")[1].split("#")[0]
    assert float(written.removesuffix("USD ").replace("USD", "")) == pytest.approx(high, rel=0.01)


def test_the_stated_flip_flips(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--requests-per-month", "1e6", "--set", "cloud_usd_per_1k=0.15")
    first = cost(capsys, *words)
    load = first["flip_requests_per_month"]
    again = cost(capsys, *words, "--requests-per-month", str(load))
    assert first["advice"][0]["runner_up"] == again["advice"][0]["choice"]
    assert "requests" in first["advice"][0]["flip"]


def edited(tmp_path: Path, *changes: tuple[str, str]) -> str:
    """Return the clinic's file with texts replaced."""
    text = CLINIC.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return str(path)


def test_a_goal_that_no_tier_meets_is_said_so_with_the_one_it_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(tmp_path, ("latency_p95: 50 ms", "latency_p95: 1 ms"))
    found = cost(capsys, "--requests-per-month", "300000", "-f", path)
    assert found["ranked"] == []
    assert found["usd_per_1k_p50"]["closet"] is None
    assert "no tier alone meets the latency goal (closet would meet one of 1" in found["lead"]
    assert "answers nothing in time" in found["lead"]
    assert "advice" not in found
    assert "changes" not in found


def test_a_fleet_without_a_rented_cloud_has_no_break_even_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(tmp_path, ("nodes: 1 x cloud-vm-4", "nodes: 1 x rack-server"))
    found = cost(capsys, "--requests-per-month", "300000", "-f", path)
    assert found["cloud_tier"] is None
    assert found["break_even_requests_per_month"] == {}
    assert any("no rented cloud tier" in note for note in found["notes"])
    assert found["advice"][0]["choice"] == "closet"
    assert "times what is planned" in found["advice"][0]["flip"]


def test_a_tier_whose_feed_is_used_up_is_not_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(tmp_path, ("feed: 600 W", "feed: 40 W"))
    found = cost(capsys, "--requests-per-month", "300000", "-f", path)
    assert "closet" not in found["ranked"]
    assert any("a site of closet would draw 248% of its feed" in note for note in found["notes"])


def test_without_a_latency_goal_every_answer_is_in_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(tmp_path, ("  latency_p95: 50 ms", "  # no latency goal:"))
    found = cost(capsys, "--requests-per-month", "300000", "-f", path)
    assert set(found["in_time_ratio"].values()) == {1.0}
    assert found["target_ms"] is None


def test_a_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "cost.html"
    cost(capsys, "--requests-per-month", "300000", "--report", str(page))
    text = page.read_text()
    assert "Cash-flow rows" in text
    assert "What moves it" in text


def test_without_a_load_there_is_no_cost_per_request(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = refused(capsys)
    assert code == 2
    assert "error[E0912]" in err
    assert "--requests-per-month" in err


@pytest.mark.parametrize("load", ["0", "-5", "nan", "1e13"])
def test_a_load_that_cannot_be_is_refused(load: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--requests-per-month", load)[0] == 2


def test_an_unknown_provider_or_input_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    base = ("--requests-per-month", "1e6")
    assert refused(capsys, *base, "--egress", "nobody")[0] == 2
    code, err = refused(capsys, *base, "--set", "truck_rol_usd=3")
    assert code == 2
    assert "truck_roll_usd" in err


@pytest.mark.parametrize(
    "setting",
    [
        "utilisation_max=0",
        "utilisation_max=70",
        "cost_of_capital_per_year=-2",
        "resale_kept_ratio_per_year=0.5..0.9..1.2",
        "facility_life_years=0",
        "answer_bytes=-5",
        "truck_roll_usd=nan",
    ],
)
def test_an_input_that_cannot_be_is_refused_by_name(
    setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = refused(capsys, "--requests-per-month", "1e6", "--set", setting)
    assert code == 2
    assert setting.split("=")[0] in err
    assert "E0905" in err


def test_every_shipped_input_is_inside_its_bounds_and_has_a_source_and_a_date() -> None:
    inputs = assumptions("finance")
    check_bounds(inputs)
    assert all(row.source and row.as_of and row.unit for row in inputs.all())
    assert inputs.used() == ()


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("2026-12", "2027-02", "3: column month: '2027-02' after '2026-11'"),
        ("2026-12", "2026-11", "3: column month: '2026-11' after '2026-11'"),
        ("2026-12", "2026-13", "3: column month: '2026-13'"),
        ("3e6", "-1", "3: column requests: '-1'"),
        ("190", "", "3: column cloud_usd: an empty cell"),
        ("190", "nan", "3: column cloud_usd: 'nan'"),
        ("cloud_usd", "cloud_eur", "1: column cloud_usd"),
        ("2e6", "0", "2: column requests: no request"),
    ],
)
def test_bad_months_are_named_with_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, where: str
) -> None:
    path = tmp_path / "months.csv"
    path.write_text(MONTHS.replace(old, new, 1))
    code, err = refused(capsys, "--months", str(path))
    assert code == 3
    assert f"{path}:{where}" in err


def test_months_say_the_load_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "months.csv"
    path.write_text(MONTHS)
    code, err = refused(capsys, "--months", str(path), "--requests-per-month", "5")
    assert code == 2
    assert "one of --months and --requests-per-month" in err


def test_months_that_leave_nothing_to_judge_by_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "months.csv"
    path.write_text(MONTHS)
    code, err = refused(capsys, "--months", str(path), "--seen-months", "3")
    assert code == 3
    assert "some left to judge by" in err
    path.write_text(MONTHS[: MONTHS.index("2026-12")])
    assert refused(capsys, "--months", str(path))[0] == 3


def test_the_example_chooses_on_six_months_and_regrets_what_its_readme_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = EXAMPLES / "plan" / "cost"
    words = ("--months", str(folder / "months.csv"), "--assume", str(folder / "assumptions.csv"))
    advice = cost(capsys, *words)["advice"][0]
    text = (folder / "README.md").read_text()
    assert advice["choice"] == "cloud"
    assert f"it wins if {advice['flip']}" in text
    assert f"{advice['regret']['ratio']:.1%} (best there: {advice['regret']['best']})" in text


def test_the_share_in_time_is_the_replays_where_the_formula_has_none_in_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its mean way the cloud is late every time; by replay three answers in ten are not."""
    found = cost(capsys, "--trace", str(DAY))
    assert found["in_time_ratio_by_formula"]["cloud"] == 0
    for tier, ratio in found["in_time_ratio_by_replay"].items():
        assert found["in_time_ratio"][tier] == pytest.approx(ratio, abs=1e-9)
    assert found["usd_per_1k"]["cloud"] > 0


def test_a_break_even_that_is_none_is_null_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The closet costs less per answer in time at every load; 100 is only where a search starts."""
    words = ("plan", "cost", "-f", str(CLINIC), *QUICK, "--trace", str(DAY))
    found = cost(capsys, "--trace", str(DAY))
    assert found["break_even_requests_per_month"] == {"closet": None, "room": None}
    assert found["break_even_reason"]["closet"] == "at any load it costs less than cloud"
    assert found["break_even_reason"]["room"] == "none: it costs more than cloud at any load"
    assert run([*words]) == 0
    assert "at any load" in capsys.readouterr().out


def test_the_obvious_key_is_the_figure_of_the_lead(capsys: pytest.CaptureFixture[str]) -> None:
    found = cost(capsys, "--trace", str(DAY))
    assert found["usd_per_1k"] == found["usd_per_1k_p50"]
    assert f"{found['usd_per_1k']['closet']:.3g} USD per 1,000" in found["lead"]


def test_where_one_tier_meets_the_goal_the_goal_that_turns_the_choice_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = cost(capsys, "--trace", str(DAY))["advice"][0]
    assert advice["runner_up"] == "cloud"
    assert advice["flip"] == "the goal latency_p95 is 102 ms or more"
    for goal, chosen in (("101 ms", "closet"), ("102 ms", "cloud")):
        path = edited(tmp_path, ("latency_p95: 50 ms", f"latency_p95: {goal}"))
        again = cost(capsys, "--trace", str(DAY), "-f", path)
        assert again["advice"][0]["choice"] == chosen


def test_where_no_goal_turns_the_choice_the_reason_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dear = ("--set", "rent_price_ratio=1.5..4..5")
    advice = cost(capsys, "--trace", str(DAY), *dear)["advice"][0]
    assert advice["choice"] == "closet"
    assert "flip" not in advice or not advice["flip"]
    assert "nor does a looser goal turn the choice" in advice["reason"]


def test_which_bill_a_cost_is_stands_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Two verbs price the same answers by two bills; each names its own and the other."""
    for words, other in (
        (["plan", "cost", *QUICK, "--requests-per-month", "300000"], "skerry plan compare"),
        (["plan"], "skerry plan cost"),
        (["plan", "compare"], "skerry plan cost"),
        (["plan", "place"], "skerry plan cost"),
    ):
        assert run([*words, "-f", str(CLINIC), "--json"]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert any("stated PUE, no cost of capital" in one and other in one for one in notes)
