"""`plan cooling`: choices by weather and load, a feed that is too small, the PUE written."""

import json
from pathlib import Path

import pytest

from skerry.cli.main import run

CLINIC = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


def cooling(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["plan", "cooling", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_choices_rank_as_they_do_in_practice_and_a_hot_place_costs_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cold = cooling(capsys, "--it-kw", "5", "--mean-c", "8")
    hot = cooling(capsys, "--it-kw", "5", "--mean-c", "28")
    for found in (cold, hot):
        air, aisles, chip = (found[f"{name}_pue_ratio"] for name in ("air", "containment", "chip"))
        assert 1 < chip < aisles < air < 2.5  # type: ignore[operator]
    assert hot["air_pue_ratio"] > cold["air_pue_ratio"]  # type: ignore[operator]
    (advice,) = cold["advice"]  # type: ignore[misc]
    assert advice["regret"]["unseen"].startswith("the second half of made-up air")


def test_a_feed_that_is_too_small_is_impossible_and_says_what_it_carries(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = cooling(capsys, "--it-kw", "5", "--mean-c", "28", "--feed-kw", "5.2")
    assert (found["answer"], found["choice"]) == ("no", None)
    assert 0 < found["air_it_kw_max"] < found["chip_it_kw_max"] < 5  # type: ignore[operator]


def test_a_feed_can_decide_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--it-kw", "5", "--mean-c", "12"]
    free = cooling(capsys, *words)
    tight = cooling(capsys, *words, "--feed-kw", str(float(free["chip_site_kw_max"]) + 0.01))  # type: ignore[arg-type]
    assert free["choice"] != "chip"
    assert tight["choice"] == "chip"


def test_the_pue_goes_into_the_fleet_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(CLINIC.read_text())
    words = ["--it-kw", "5", "--mean-c", "8", "-f", str(fleet), "--tier", "room", "--write"]
    found = cooling(capsys, *words)
    assert f"pue: {found['pue_ratio']:.3g}" in fleet.read_text()


def test_weather_by_the_hour_is_interim_below_a_year(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weather.csv"
    rows = [f"2024-01-01 {hour:02d}:00,{hour},{1 + hour / 24}" for hour in range(24)]
    path.write_text("\n".join(["hour_utc,air_c,it_kw", *rows]))
    found = cooling(capsys, "--it-kw", "2", "--weather", str(path))
    assert found["it_kwh"] == pytest.approx(sum(1 + hour / 24 for hour in range(24)))
    assert any("interim" in note for note in found["notes"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("2024-01-01 00:00,5\n2024-01-01 02:00,5\n", ":3: column hour_utc: 7200 s"),
        ("2024-01-01 00:00,95\n", ":2: column air_c: '95'"),
        ("2024-01-01 00:00,\n", ":2: column air_c: an empty cell"),
    ],
)
def test_bad_weather_is_named(
    rows: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weather.csv"
    path.write_text("hour_utc,air_c\n" + rows)
    assert run(["plan", "cooling", "--it-kw", "1", "--weather", str(path)]) == 3
    assert text in capsys.readouterr().err


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "cooling", "--it-kw", "1"]) == 2
    assert "give --weather, or --mean-c" in capsys.readouterr().err
    assert run(["plan", "cooling", "--it-kw", "9", "--rated-kw", "5", "--mean-c", "9"]) == 2
    assert "it_kw[0] is 9" in capsys.readouterr().err
