"""Carbon of a load: both factors where they belong, contracts first, what is unknown said."""

import csv
import json
from pathlib import Path

import pytest

from skerry.cli.main import run
from skerry.plan.energy.embodied import read_products, spread
from skerry.plan.errors import ColumnError

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "carbon"
SIGNAL = EXAMPLE / "signal.csv"
FLEET = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


def carbon(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["plan", "carbon", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", ["US-CAL-CISO_2021", "US-CAL-CISO_2022", "ES_2022"])
def test_scope_2_takes_the_direct_factor_and_the_rest_is_category_3(
    name: str, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "grid-carbon-direct-lca" / f"{name}.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    direct = sum(float(row["ci_direct_g_kwh"]) for row in rows) / 1000
    life_cycle = sum(float(row["ci_lca_g_kwh"]) for row in rows) / 1000
    found = carbon(capsys, "--signal", str(path), "--load-kw", "1")
    assert found["scope2_location_kg"] == pytest.approx(direct, rel=1e-9)
    assert found["scope3_category3_kg"] == pytest.approx(life_cycle - direct, rel=1e-9)
    assert found["scope2_factor"] == "direct"


def test_boavizta_s_servers_have_the_medians_that_were_computed_before() -> None:
    found = spread(read_products(EXAMPLE / "products.csv", kind="Server"))
    assert (found.products, found.with_split) == (55, 48)
    assert found.total_kg_median == pytest.approx(7980)
    assert found.manufacturing_kg_median == pytest.approx(1215, abs=0.5)


def test_contracts_come_first_and_the_residual_mix_covers_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--signal", str(SIGNAL), "--instruments", str(EXAMPLE / "instruments.csv")]
    found = carbon(capsys, *words)
    assert found["energy_kwh"] == 672
    assert found["scope2_market_kg"] == pytest.approx(672 * (0.25 * 120 + 0.35 * 430) / 1000)
    assert found["market_fell_back_to_location"] is False


def test_without_a_residual_mix_the_location_factor_stands_in_and_is_flagged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = carbon(capsys, "--signal", str(SIGNAL))
    assert found["scope2_market_kg"] == pytest.approx(found["scope2_location_kg"])
    assert found["market_fell_back_to_location"] is True


def test_sci_counts_life_cycle_and_embodied_and_no_contract(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--signal", str(SIGNAL), "--servers", "2", "--requests", "1000000"]
    bare = carbon(capsys, *words)
    green = carbon(capsys, *words, "--instruments", str(EXAMPLE / "instruments.csv"))
    assert green["scope2_market_kg"] != bare["scope2_market_kg"]
    assert green["sci_g_per_request"] == bare["sci_g_per_request"]
    operational = bare["scope2_location_kg"] + bare["scope3_category3_kg"]  # type: ignore[operator]
    embodied_kg = 2 * 1215 * 672 * 3600 / (4 * 365.25 * 86400)
    assert bare["embodied_kg"] == pytest.approx(embodied_kg)
    assert bare["sci_g_per_request"] == pytest.approx((operational + embodied_kg) / 1000)


def test_a_wide_signal_leaves_category_3_unknown_and_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wide = EXAMPLE.parent / "shift" / "signal.csv"
    found = carbon(capsys, "--signal", str(wide), "--zone", "DE")
    assert found["scope3_category3_kg"] is None
    assert any("--factor" in note for note in found["notes"])  # type: ignore[attr-defined]
    found = carbon(capsys, "--signal", str(wide), "--zone", "DE", "--factor", "direct")
    assert found["scope2_factor"] == "direct"


def test_a_measured_run_replaces_the_load_and_shows_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = {
        "value": 500.0,
        "low": 490.0,
        "high": 510.0,
        "level": "measured",
        "source": "meter",
        "at_unix_s": 0,
    }
    goal = {"name": "energy_wh_per_1k", "goal": None, "measured": figure}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"at_unix_s": 0, "goals": [goal]}))
    words = ["--signal", str(SIGNAL), "--requests", "1000000", "--from-run", str(path)]
    found = carbon(capsys, *words)
    assert found["energy_kwh"] == pytest.approx(500)
    assert found["prediction_error_ratio"] == {"energy_wh_per_1k": pytest.approx(672 / 500 - 1)}


def test_the_grid_s_mean_goes_into_the_fleet_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET.read_text())
    words = ["--signal", str(SIGNAL), "-f", str(fleet), "--site", "oslo", "--write"]
    found = carbon(capsys, *words)
    assert any("grid_carbon" in line for line in found["written_lines"])  # type: ignore[attr-defined]
    assert "grid_carbon: 2" in fleet.read_text()


def test_a_yearly_factor_stands_in_for_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    state = carbon(capsys, "--place", "US-RI")
    assert state["scope2_location_kg"] == pytest.approx(870.822 * 0.45359237 * 8.76, rel=1e-3)
    assert state["scope2_factor"] == "direct"
    country = carbon(capsys, "--place", "DEU")
    assert str(country["scope2_factor"]).startswith("life cycle")


def test_a_mix_of_sources_and_a_share_of_a_processor(capsys: pytest.CaptureFixture[str]) -> None:
    """An eighth of a 100 W processor at half load draws 0.75 * 100 / 8 W (Teads' curve)."""
    words = ["--mix", "coal=0.5,wind=0.5", "--cpu", "tdp_w=100,utilisation=0.5,vcpus_total=8"]
    found = carbon(capsys, *words)
    assert found["energy_kwh"] == pytest.approx(75 / 8 / 1000 * 8760)
    assert found["scope2_location_kg"] == pytest.approx(
        75 / 8 / 1000 * 8760 * (995 + 26) / 2 / 1000
    )
    assert str(found["scope2_factor"]).startswith("life cycle")


def test_servers_made_of_parts_and_their_housing(capsys: pytest.CaptureFixture[str]) -> None:
    """GreenSKU: 64 GB are 105.4 kg, 2 TB are 34.65 kg, a rack-year of building is 180 kg."""
    words = ["--place", "DEU", "--servers", "2", "--parts", "memory_gb=64,ssd_tb=2,racks=0.5"]
    found = carbon(capsys, *words)
    years = 8760 * 3600 / (365.25 * 86400)
    machines = 2 * (362.5 + 105.4 + 34.65) / 4 * years
    housing = 0.5 * (500 / 4 + 9_000_000 / 2500 / 20) * years
    assert found["embodied_kg"] == pytest.approx(machines + housing, rel=1e-4)


def test_a_load_by_the_hour_is_priced_by_the_hour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with SIGNAL.open() as file:
        rows = list(csv.DictReader(file))
    path = tmp_path / "load.csv"
    lines = [f"{row['hour_utc']},{number % 3}" for number, row in enumerate(rows)]
    path.write_text("\n".join(["hour_utc,load_kw", *lines]))
    found = carbon(capsys, "--signal", str(SIGNAL), "--load", str(path))
    by_hand = sum(i % 3 * float(row["ci_direct_g_kwh"]) for i, row in enumerate(rows)) / 1000
    assert found["scope2_location_kg"] == pytest.approx(by_hand)
    path.write_text("\n".join(["hour_utc,load_kw", *lines[:-1]]))
    assert run(["plan", "carbon", "--signal", str(SIGNAL), "--load", str(path)]) == 3
    assert "column hour_utc: 671 hours" in capsys.readouterr().err


def test_a_load_of_nothing_emits_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found = carbon(capsys, "--signal", str(SIGNAL), "--load-kw", "0")
    assert (found["scope2_location_kg"], found["scope2_market_kg"]) == (0, 0)


def test_the_examples_run_as_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLE)
    lines = Path("README.md").read_text().splitlines()
    commands = [line.removeprefix("$ skerry ") for line in lines if line.startswith("$ skerry ")]
    assert len(commands) == 3
    for words in commands:
        assert run(words.split()) == 0
        assert "kWh in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("instrument,kwh,g_per_kwh\nppa,-1,0\n", ":2: column kwh"),
        ("instrument,share,g_per_kwh\nppa,40,0\n", ":2: column share: '40'"),
        ("instrument,kwh,share,g_per_kwh\nppa,1,0.5,0\n", ":2: column kwh: both of kwh and share"),
        ("instrument,kwh,g_per_kwh\nppa,,0\n", ":2: column kwh: neither of kwh and share"),
        ("instrument,kind,g_per_kwh\na,residual,1\nb,residual,2\n", ":3: column kind: a second"),
        ("instrument,kwh\nppa,1\n", "g_per_kwh"),
        ("instrument,kwh,g_per_kwh\na,1,0\nb,1,0\na,1,9\n", ":4: column instrument: 'a' again"),
    ],
)
def test_bad_instruments_are_named(
    rows: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "instruments.csv"
    path.write_text(rows)
    words = ["plan", "carbon", "--signal", str(SIGNAL), "--instruments", str(path)]
    assert run(words) == 3
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "give one of --signal, --place and --mix"),
        (["--place", "DEU", "--mix", "wind=1"], 2, "give one of"),
        (["--mix", "wind=0.5"], 2, "add up to 0.5"),
        (["--mix", "wood=1"], 2, "'wood' is not one of"),
        (["--mix", "wind=1", "--cpu", "tdp_w=100"], 2, "needs tdp_w and utilisation"),
        (["--mix", "wind=1", "--parts", "gpus=1"], 2, "--parts needs --servers"),
        (["--mix", "wind=1", "--load", "x.csv"], 2, "--load needs --signal"),
        (["--mix", "wind=1", "--cpu", "tdp_w=100,utilisation=50"], 2, "utilisation is 50"),
        (["--place", "GER"], 2, "no zone 'GER'"),
        (["--place", "DEU", "--product", "X"], 2, "--product needs --products"),
        (["--place", "DEU", "--from-run", "x"], 2, "needs --requests"),
        (["--place", "DEU", "--write"], 2, "--write needs --site"),
        (
            ["--place", "DEU", "--servers", "1", "--product", "Nix", "--products"],
            2,
            "'Nix' is not in the table",
        ),
    ],
)
def test_wrong_use_is_told(
    words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if words and words[-1] == "--products":
        words = [*words, str(EXAMPLE / "products.csv")]
    assert run(["plan", "carbon", *words]) == code
    assert text in capsys.readouterr().err


def test_stages_above_the_whole_are_refused(tmp_path: Path) -> None:
    head, first, *_ = (EXAMPLE / "products.csv").read_text().splitlines()
    path = tmp_path / "products.csv"
    path.write_text(f"{head}\n{first.replace('0.095', '0.95').replace(',,,', ',0.9,,')}\n")
    with pytest.raises(ColumnError, match="add up to 1"):
        read_products(path)


def test_a_direct_factor_above_the_life_cycle_s_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "signal.csv"
    path.write_text("hour_utc,zone,ci_direct_g_kwh,ci_lca_g_kwh\n2022-01-01 00:00,X,300,200\n")
    assert run(["plan", "carbon", "--signal", str(path)]) == 3
    assert ":2: column ci_direct_g_kwh: 300, above ci_lca_g_kwh" in capsys.readouterr().err
