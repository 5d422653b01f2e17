"""The energy balance: conserved, monotone in the battery, and the same step as production's."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.energy.battery import Battery, battery_step
from skerry.plan.energy.balance import Series, balance, read_profiles
from skerry.plan.energy.balance import _step as compiled_step

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "energy"
PROFILE = EXAMPLE / "solar.csv"


def energy(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["plan", "energy", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


powers = st.lists(st.floats(0, 10), min_size=1, max_size=60).map(np.array)
batteries = st.builds(
    Battery,
    capacity_kwh=st.floats(0, 20),
    power_kw=st.floats(0, 10),
    efficiency_ratio=st.floats(0.3, 1),
    start_ratio=st.floats(0, 1),
)


@settings(max_examples=100, deadline=None)
@given(powers, powers, st.sampled_from([0.25, 1.0]), batteries)
def test_energy_is_conserved(pv: Series, load: Series, step_h: float, battery: Battery) -> None:
    found = balance(pv, np.resize(load, len(pv)), step_h=step_h, battery=battery)
    gained = found.pv_kwh + found.import_kwh
    spent = found.load_kwh + found.export_kwh + found.lost_kwh
    stored = found.stored_end_kwh - found.stored_start_kwh
    assert gained == pytest.approx(spent + stored, abs=1e-6)
    assert found.lost_kwh >= -1e-9
    assert found.import_kwh >= -1e-9
    assert found.export_kwh >= -1e-9


@settings(max_examples=50, deadline=None)
@given(powers, powers, st.floats(0, 10))
def test_a_larger_battery_never_imports_more(pv: Series, load: Series, size: float) -> None:
    load = np.resize(load, len(pv))

    def imported(kwh: float) -> float:
        return balance(pv, load, step_h=1.0, battery=Battery(capacity_kwh=kwh)).import_kwh

    assert imported(size + 1) <= imported(size) + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.floats(-9, 9), st.floats(0, 9), st.floats(0, 9), st.floats(0.1, 1))
def test_the_compiled_step_is_the_plain_one(
    fill: float, surplus: float, capacity: float, power: float, way: float
) -> None:
    values = (fill * capacity, surplus, capacity, power, way)
    assert compiled_step(*values) == battery_step(*values)


@pytest.mark.parametrize(
    ("city", "mean"),
    [
        ("Berlin", 0.2188),
        ("Hong Kong", 0.1454),
        ("Mumbai", 0.1179),
        ("San Francisco", 0.2555),
        ("Sydney", 0.1361),
    ],
)
def test_the_solar_set_has_the_means_that_were_computed_before(
    city: str, mean: float, shared: Path
) -> None:
    [profile] = read_profiles(shared / "solar-profile" / "solar_5min.csv", column=city)
    assert profile.output.mean() == pytest.approx(mean, abs=1e-4)


def test_without_a_battery_every_figure_is_plain_arithmetic(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--pv-profile", str(PROFILE), "--pv-column", "Berlin", "--pv-kwp", "3"]
    found = energy(capsys, *words)
    sun = 3 * read_profiles(PROFILE, column="Berlin")[0].output / 12
    assert found["pv_kwh"] == pytest.approx(sun.sum())
    assert found["import_kwh"] == pytest.approx(np.maximum(1 / 12 - sun, 0).sum())
    assert found["export_kwh"] == pytest.approx(np.maximum(sun - 1 / 12, 0).sum())
    assert found["load_kwh"] == pytest.approx(7 * 24)
    used = np.minimum(sun, 1 / 12).sum()
    assert found["self_consumption_ratio"] == pytest.approx(used / sun.sum())
    assert found["autarky_ratio"] == pytest.approx(used / (7 * 24))


def test_no_sun_and_no_load_have_no_shares(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--pv-profile", str(PROFILE), "--pv-column", "Mumbai"]
    assert energy(capsys, *words, "--pv-kwp", "0")["self_consumption_ratio"] is None
    assert energy(capsys, *words, "--load-kw", "0")["autarky_ratio"] is None


def test_losses_cost_what_the_note_says(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--pv-profile", str(PROFILE), "--pv-column", "Berlin", "--pv-kwp", "3"]
    ideal = energy(capsys, *words, "--battery-kwh", "4")
    real = energy(capsys, *words, "--battery-kwh", "4", "--battery-efficiency", "90%")
    assert ideal["import_kwh_with_losses"] == pytest.approx(real["import_kwh"])
    assert real["import_kwh"] > ideal["import_kwh"]  # type: ignore[operator]
    assert real["battery_lost_kwh"] > 0  # type: ignore[operator]


def test_a_profile_of_several_places_is_answered_for_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    sizes = ["--load-kw", "1", "--pv-kwp", "3", "--battery-kwh", "4"]
    words = ["--pv-profile", str(PROFILE), *sizes]
    found = energy(capsys, *words, "--report", str(page))
    assert "import_kwh" not in found  # no figure at the top says which place it is of
    places: list[dict[str, object]] = found["places"]  # type: ignore[assignment]
    assert [one["place"] for one in places] == ["Berlin", "Mumbai"]
    for one in places:
        alone = energy(capsys, *words, "--pv-column", str(one["place"]))
        assert {name: alone[name] for name in one if name != "place"} == {
            name: value for name, value in one.items() if name != "place"
        }
    assert "Mumbai" in page.read_text()
    assert run(["plan", "energy", *words]) == 0
    assert "Berlin" in capsys.readouterr().out


def test_the_solar_set_is_answered_for_its_five_places(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = str(shared / "solar-profile" / "solar_5min.csv")
    sizes = ["--load-kw", "1", "--pv-kwp", "3", "--battery-kwh", "4"]
    found = energy(capsys, "--pv-profile", profile, *sizes)
    assert len(found["places"]) == 5  # type: ignore[arg-type]


def test_a_feed_that_is_too_small_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--pv-profile", str(PROFILE), "--pv-column", "Berlin", "--load-kw", "2"]
    assert energy(capsys, *words, "--feed-kw", "1.5")["feed_exceeded"] is True
    assert energy(capsys, *words, "--feed-kw", "2")["feed_exceeded"] is False


def test_the_examples_run_as_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLE)
    lines = Path("README.md").read_text().splitlines()
    commands = [line.removeprefix("$ skerry ") for line in lines if line.startswith("$ skerry ")]
    assert len(commands) == 2
    for words in commands:
        assert run(words.split()) == 0
        assert "of the load comes from the sun" in capsys.readouterr().out


def test_weather_drives_the_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weather.csv"
    rows = [f"2024-06-21 {hour:02d}:00,{600 if 6 < hour < 18 else 0},20,2" for hour in range(24)]
    path.write_text("\n".join(["hour_utc,ghi_w_m2,air_c,wind_m_s", *rows]))
    found = energy(capsys, "--place", "50,0", "--weather", str(path))
    assert 3 < found["pv_kwh_per_kwp"] < 7  # type: ignore[operator]
    path.write_text("\n".join(["hour_utc,ghi_w_m2,air_c,wind_m_s", *rows[:3], *rows[4:]]))
    assert run(["plan", "energy", "--place", "50,0", "--weather", str(path)]) == 3
    assert ":5: column hour_utc: 7200 s after the row before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("time,X\n0,0.1\n300,0.1\n900,0.1\n", ":4: column time: 600 s after the row before"),
        ("time,X\n0,0.1\n0,0.1\n", ":3: column time: 0 s after the row before"),
        ("time,X\n300,0.1\n0,0.1\n", ":3: column time: 0 after 300"),
        ("time,X\n0,0.1\n300,85\n", ":3: column X: '85'"),
        ("time,X\n0,-0.1\n300,0\n", ":2: column X: '-0.1'"),
        ("time,X\n0,0.1\n", ":2: column time: one row"),
        ("time,X,Y\n0,0,0\n300,0,-1\n", ":3: column Y: '-1'"),
        ("time\n0\n300\n", "no place, wanted a column of kW per kW peak"),
        ("X\n0.1\n", "column time: the file has X, wanted this column"),
        ("X,Y\n0.1,0.2\n", "column time: the file has X, Y, wanted this column"),
    ],
)
def test_a_bad_profile_is_named_by_row_and_column(
    rows: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "solar.csv"
    path.write_text(rows)
    assert run(["plan", "energy", "--pv-profile", str(path)]) == 3
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "give --pv-profile or --place"),
        (["--place", "Berlin"], "'Berlin' is no place"),
        (["--place", "152,13"], "latitude_deg is 152"),
        (["--place", "52,13", "--battery-efficiency", "0"], "efficiency_ratio is 0"),
        (["--pv-profile", "x.csv", "--weather", "y.csv"], "--weather needs --place"),
    ],
)
def test_wrong_use_is_told(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "energy", *words]) == 2
    assert text in capsys.readouterr().err
