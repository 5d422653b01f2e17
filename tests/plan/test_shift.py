"""Shifting: equal to the published study and to brute force; no gain where nothing varies."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.plan.energy.shift import JOB_HOURS, SLACK_HOURS, ShiftError, cell, table
from skerry.plan.energy.shift_kernel import (
    at_once,
    in_one_piece,
    picked_freely,
    ranks_of,
    starts_of,
    while_above,
)
from skerry.plan.energy.signals import Series, Signal, noisy, read_signal

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "shift" / "signal.csv"
HEAD = "hour_utc,DE\n"


@pytest.fixture(scope="module")
def year(shared: Path) -> Signal:
    return read_signal(shared / "grid-carbon-hourly-2022" / "carbon_intensity_2022_hourly.csv")


@pytest.fixture(scope="module")
def weeks() -> Signal:
    return read_signal(EXAMPLE)


def test_the_published_study_is_reproduced(year: Signal, shared: Path) -> None:
    """EuroSys 2024, six zones, 35 cells each: starts exactly, means within 0.05 %."""
    path = shared / "grid-carbon-hourly-2022" / "published_shifting_results.csv"
    with path.open() as file:
        published = list(csv.DictReader(file))
    assert len(published) == 210
    for row in published:
        job_h, slack_h = int(row["job_h"]), int(row["slack_h"])
        found = cell(row["zone"], year.factor[row["zone"]], job_h=job_h, slack_h=slack_h)
        assert found.starts == int(row["n_starts"])
        for name, value in (
            ("mean_baseline_g", found.baseline_g),
            ("mean_noninterrupt_g", found.contiguous_g),
            ("mean_interrupt_g", found.interruptible_g),
        ):
            assert value == pytest.approx(float(row[name]), rel=5e-4), (row, name)


def test_flat_zones_gain_nothing_in_any_cell(year: Signal) -> None:
    cells = table(year, zones=("HK", "SG", "IL"))
    assert len(cells) == 105
    assert all(one.flat for one in cells)
    assert {one.gain(one.interruptible_g, 0.0) for one in cells} == {0.0}


def test_savings_by_deferral_shrink_with_the_job_s_length(year: Signal) -> None:
    """The study's finding, over all zones: about a sixth for 1 h, under 1 % for 168 h."""
    cells = table(year, zones=year.zones, slacks_h=(24,))
    saved = [
        np.mean([one.saved(one.contiguous_g) for one in cells if one.job_h == job_h])
        for job_h in JOB_HOURS
    ]
    assert saved == sorted(saved, reverse=True)
    assert saved[0] > 0.15
    assert saved[-1] < 0.01


signals = st.lists(st.integers(0, 40).map(float), min_size=4, max_size=30).map(np.array)


@settings(max_examples=60, deadline=None)
@given(signals, signals, st.integers(1, 5), st.integers(0, 40))
def test_the_kernels_agree_with_looking_at_every_window(
    actual: Series, other: Series, job_h: int, slack_h: int
) -> None:
    forecast = np.resize(other, len(actual))
    job_h = min(job_h, len(actual) - 1)
    starts = starts_of(len(actual), job_h=job_h, slack_h=slack_h)
    once, piece, free = [], [], []
    for i in range(starts):
        end = min(len(actual), i + slack_h + job_h)
        once.append(actual[i : i + job_h].sum())
        at = min(range(i, end - job_h + 1), key=lambda s: forecast[s : s + job_h].sum())
        piece.append(actual[at : at + job_h].sum())
        free.append(actual[sorted(range(i, end), key=lambda h: forecast[h])[:job_h]].sum())
    ranks = ranks_of(forecast)
    assert at_once(actual, job_h, starts) == pytest.approx(once)
    assert in_one_piece(forecast, actual, job_h, slack_h, starts) == pytest.approx(piece)
    assert picked_freely(actual, ranks, job_h, slack_h, starts) == pytest.approx(free)


@settings(max_examples=60, deadline=None)
@given(signals, st.integers(1, 5), st.integers(0, 40), st.integers(0, 40))
def test_waiting_while_above_a_limit_is_done_hour_by_hour(
    actual: Series, job_h: int, slack_h: int, limit: int
) -> None:
    job_h = min(job_h, len(actual) - 1)
    starts = starts_of(len(actual), job_h=job_h, slack_h=slack_h)
    expected = []
    for i in range(starts):
        deadline = min(i + slack_h, len(actual) - job_h)
        at = i
        while at < deadline and actual[at] > limit:
            at += 1
        expected.append(actual[at : at + job_h].sum())
    found = while_above(actual, job_h, slack_h, starts, float(limit))
    assert found == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_a_forecast_never_beats_the_truth_and_more_freedom_never_costs(
    error_ratio: float, seed: int
) -> None:
    actual = read_signal(EXAMPLE, zones=("DE",)).factor["DE"]
    forecast = noisy({"DE": actual}, error_ratio=error_ratio, seed=seed)["DE"]
    found = cell("DE", actual, job_h=6, slack_h=24, forecast=forecast)
    assert found.contiguous_g >= found.contiguous_perfect_g - 1e-6
    assert found.interruptible_g >= found.interruptible_perfect_g - 1e-6
    assert found.interruptible_perfect_g <= found.contiguous_perfect_g + 1e-6
    assert found.contiguous_perfect_g <= found.baseline_g + 1e-6


def test_a_forecast_that_is_wrong_is_paid_at_what_was_true() -> None:
    """The forecast promises hour 1; hour 1 is the dearest: the saving is negative, not hoped."""
    actual = np.array([10.0, 90.0, 10.0, 10.0])
    forecast = np.array([50.0, 0.0, 50.0, 50.0])
    found = cell("X", actual, job_h=1, slack_h=1, forecast=forecast)
    assert found.contiguous_g == pytest.approx((90 + 90 + 10) / 3)
    assert found.saved(found.contiguous_g) < 0
    assert found.gain(found.contiguous_g, 0.01) == 0


def test_the_same_seed_gives_the_same_forecast(weeks: Signal) -> None:
    one, two = (noisy(weeks.factor, error_ratio=0.05, seed=3) for _ in range(2))
    assert all((one[zone] == two[zone]).all() for zone in weeks.zones)


def test_a_job_longer_than_the_signal_is_refused(weeks: Signal) -> None:
    with pytest.raises(ShiftError, match="job hours is 1344, wanted less than the signal's 1344"):
        cell("DE", weeks.factor["DE"], job_h=1344, slack_h=0)


def shift(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["plan", "shift", "--signal", str(EXAMPLE), *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_one_job_prints_its_figures_and_a_rule_with_its_regret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = shift(capsys, "--zone", "DE", "--job-hours", "6", "--slack-hours", "24")
    assert found["answer"] == "yes"
    assert found["starts"] == 1338
    assert found["baseline_g_mean"] > found["contiguous_g_mean"] > found["interruptible_g_mean"]  # type: ignore[operator]
    advice, rule = found["advice"]  # type: ignore[misc]
    assert rule["choice"].startswith("waiting while above ")
    assert rule["regret"]["unseen"].startswith("2022-01-29 to 2022-02-25")
    assert 0 < found["rule_saving_ratio"] < found["contiguous_true_ratio"]  # type: ignore[operator]
    assert advice["regret"]["unseen"].startswith("2022-01-28 to 2022-02-2")
    assert advice["regret"]["ratio"] >= 0


def test_the_limit_goes_into_the_fleet_s_rule_on_carbon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.yaml"
    clinic = (EXAMPLE.parents[2] / "clinic" / "fleet.yaml").read_text()
    fleet.write_text(clinic)
    words = ["--zone", "DE", "--job-hours", "6", "--slack-hours", "24", "-f", str(fleet)]
    found = shift(capsys, *words, "--write")
    assert f"when: grid.carbon > {found['rule_limit_g_per_kwh']:.0f} g/kWh" in fleet.read_text()
    fleet.write_text(clinic.replace("grid.carbon > 400 g/kWh", "temperature > 40 C"))
    line = ["plan", "shift", "--signal", str(EXAMPLE), *words, "--write"]
    assert run(line) == 2
    assert "has no rule on grid.carbon" in capsys.readouterr().err


def test_a_flat_zone_is_no_gain_with_the_true_figure_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = shift(capsys, "--zone", "SG", "--job-hours", "1", "--slack-hours", "24")
    assert (found["answer"], found["no_gain"]) == ("no", True)
    assert found["interruptible_saving_ratio"] == 0
    assert 0 < found["interruptible_true_ratio"] < 0.05  # type: ignore[operator]
    assert str(found["lead"]).startswith("no gain: ")


def test_all_is_the_table_of_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    found = shift(capsys, "--all", "--zone", "FR")
    cells = found["cells"]
    assert isinstance(cells, list)
    assert [(c["job_h"], c["slack_h"]) for c in cells] == [
        (job_h, slack_h) for job_h in JOB_HOURS for slack_h in SLACK_HOURS
    ]


def test_the_examples_run_as_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLE.parent)
    lines = (EXAMPLE.parent / "README.md").read_text().splitlines()
    commands = [line.removeprefix("$ skerry ") for line in lines if line.startswith("$ skerry ")]
    assert len(commands) == 4
    for words in commands:
        assert run(words.split()) == 0
        assert capsys.readouterr().out.startswith("no: no gain") == ("SG" in words)


@pytest.mark.parametrize(
    ("rows", "place", "what"),
    [
        ("2022-01-01 00:00,1\n2022-01-01 02:00,9\n", ":3: column hour_utc", "without gaps"),
        ("2022-01-01 00:00,1\n2022-01-01 00:00,9\n", ":3: column hour_utc", "a duplicate of"),
        ("2022-01-01 01:00,1\n2022-01-01 00:00,9\n", ":3: column hour_utc", "before 2022"),
        ("2022-01-01 00:00,1\n2022-01-01 01:00,\n", ":3: column DE", "an empty cell"),
        ("2022-01-01 00:00,1\n2022-01-01 01:00,nan\n", ":3: column DE", "'nan'"),
        ("2022-01-01 00:00,-1\n", ":2: column DE", "from 0 to 5000"),
        ("2022-01-01 00:00,0.4\n2022-01-01 01:00,0.5\n", ":2: column DE", "g/kWh"),
        ("yesterday,1\n", ":2: column hour_utc", "ISO 8601"),
        ("", ":2:", "no row"),
    ],
)
def test_a_bad_signal_is_named_by_row_and_column(
    rows: str, place: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "signal.csv"
    path.write_text(HEAD + rows)
    words = ["plan", "shift", "--signal", str(path), "--zone", "DE"]
    assert run([*words, "--job-hours", "1", "--slack-hours", "0"]) == 3
    err = capsys.readouterr().err
    assert f"{path}{place}" in err
    assert what in err


def test_clocks_that_change_need_an_offset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "signal.csv"
    path.write_text("hour,DE\n2022-10-30 01:00,300\n2022-10-30 02:00,310\n2022-10-30 03:00,320\n")
    words = ["plan", "shift", "--signal", str(path), "--job-hours", "1", "--slack-hours", "0"]
    assert run(words) == 3
    assert ":2: column hour: '2022-10-30 01:00' without an offset" in capsys.readouterr().err
    assert run([*words, "--time-zone", "Europe/Berlin"]) == 3
    assert ":3: column hour: 2022-10-30T02:00:00 comes twice" in capsys.readouterr().err
    path.write_text("hour,DE\n2022-10-30T02:00+02:00,300\n2022-10-30T02:00+01:00,310\n")
    assert run(words) == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--zone", "DK", "--job-hours", "1", "--slack-hours", "1"], 2, "zones: DE, FR, PL, SG"),
        (["--job-hours", "1", "--slack-hours", "1"], 2, "4 zones and none was chosen"),
        (["--zone", "DE", "--job-hours", "1"], 2, "go together"),
        (["--zone", "DE"], 2, "or --all"),
        (["--all", "--job-hours", "1"], 2, "or --all"),
        (["--all", "--forecast-error", "-1"], 2, "no share"),
        (["--all", "--forecast-error", "1%", "--forecast", "x.csv"], 2, "not both"),
    ],
)
def test_wrong_use_is_told(
    words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "shift", "--signal", str(EXAMPLE), *words]) == code
    assert text in capsys.readouterr().err
