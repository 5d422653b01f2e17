"""`skerry plan simulate` as a user meets it: reports, sweeps, and refusals with their place."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skerry.cli.main import run
from skerry.plan.simulate.scenario import read_document, scenario_named, shipped_scenarios
from skerry.schema.simulation import Scenario

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"
QUICK = ("--hours", "24", "--sample", "2000", "--seeds", "2")


def simulate(*words: str) -> int:
    return run(["plan", "simulate", "-f", str(EXAMPLE), *QUICK, *words])


def figures(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert simulate("--json", *words) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    capsys.readouterr()
    assert simulate(*words) == code
    return " ".join(capsys.readouterr().err.split())


def test_the_report_judges_every_goal_and_says_what_it_rests_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "year.html"
    assert simulate("--report", str(page)) == 0
    out = capsys.readouterr()
    assert out.out.startswith("yes: ")
    assert "latency_ms_p95" in out.out
    assert "latencies rest on" in out.err
    html = page.read_text()
    assert "wan_cuts_per_year" in html
    assert "Day by day" in html


def test_json_carries_medians_ranges_and_goals(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(capsys, "--scenario", "bad-year", "--hours", "72")
    low, high = found["ranges"]["availability_ratio"]
    assert low <= found["availability_ratio"] <= high < 1
    assert found["unserved"] == pytest.approx(found["requests"] - found["answered"])
    assert found["seeds"] == [7, 8]
    goals = {goal["name"]: goal for goal in found["goals"]}
    assert goals["availability_ratio"]["predicted"]["low"] == low
    assert goals["availability_ratio"]["verdict"] == "unknown"


def test_the_same_seed_prints_the_same_on_any_number_of_threads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = []
    for threads in ("1", "3"):
        one = figures(capsys, "--sites", "50", "--set", "sites_per_region=10", "--threads", threads)
        for gone in ("took_s", "generated_at", "command", "goals"):
            one.pop(gone)
        found.append(one)
    assert found[0] == found[1]


def test_every_shipped_scenario_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for name in shipped_scenarios() for word in ("--scenario", name)]
    found = figures(capsys, *words, "--hours", "168", "--seeds", "1")
    rows = found["scenarios"]
    assert list(rows) == list(shipped_scenarios())
    value = {name: {key: v["value"] for key, v in row.items()} for name, row in rows.items()}
    assert value["bad-year"]["availability_ratio"] < value["calm"]["availability_ratio"]
    assert value["storm"]["storm_reconverged_s"] > 0
    assert value["lost-region"]["storm_reconverged_s"] > 0
    heat = value["heat-wave"]["energy_usd"] / value["calm"]["energy_usd"]
    assert 1.5 < heat < 2.1
    assert value["heat-wave"]["pue_ratio"] > value["calm"]["pue_ratio"]


def test_a_sweep_takes_files_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.json").write_text('{"name": "own", "failures": 0}')
    (tmp_path / "sweep.yaml").write_text("scenarios: [calm, own.json]\nseeds: 1\nfirst_seed: 3\n")
    found = figures(capsys, "--sweep", str(tmp_path / "sweep.yaml"))
    assert list(found["scenarios"]) == ["calm", "own"]
    assert found["seeds"] == [3]
    assert found["scenarios"]["own"]["availability_ratio"]["value"] == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ray_gives_the_same_figures_as_local(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="needs ray")
    words = ("--scenario", "calm", "--scenario", "bad-year", "--hours", "48", "--seeds", "1")
    here, there = (figures(capsys, *words, "--engine", engine) for engine in ("local", "ray"))
    assert here["scenarios"] == there["scenarios"]
    assert there["engine"] == "ray"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"  # it would phone home


def test_without_ray_the_way_to_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = refused(capsys, 1, "--engine", "ray")
    assert "error[E0962]: engine ray: the package ray is not installed" in said
    assert "make setup-sweeps" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("incidents: [{do: wan_cut, at: 1 h, lasts: 2 h, wher: all}]", "unknown field `wher`"),
        ("incidents: [{do: flood, at: 1 h, lasts: 2 h}]", "Invalid enum value 'flood'"),
        ("incidents: [{do: wan_cut, at: 1, lasts: 2 h}]", "Expected `str`, got `int`"),
        ("incidents: [{do: wan_cut, at: 1 kWh, lasts: 2 h}]", "incidents[0].at: `1 kWh` measures"),
        ("incidents: [{do: wan_cut, at: 30 h, lasts: 2 h}]", "after the end of the 24 h"),
        ("incidents: [{do: wan_cut, at: 1 h, lasts: 0 h}]", "incidents[0].lasts: is `0 h`"),
        ("incidents: [{do: wan_cut, at: 1 h, lasts: 1 h, share: 0}]", "incidents[0].share: is 0"),
        ("incidents: [{do: wan_cut, at: 1 h, lasts: 1 h, factor: 2}]", "means nothing for"),
        ("incidents: [{do: price, at: 1 h, lasts: 1 h}]", "incidents[0].factor: is None"),
        ("incidents: [{do: heat_wave, at: 1 h, lasts: 1 h}]", "incidents[0].add_c: is None"),
        ("incidents: [{do: wan_cut, at: 1 h, lasts: 1 h, where: osl}]", "did you mean: oslo"),
        (
            "incidents: [{do: lose_region, at: 1 h, lasts: 1 h, where: oslo}]",
            "`oslo` is a site, `lose_region` wants a region",
        ),
        ("failures: -1", "failures: is -1, wanted 0 to 1000"),
        ("set: {solar_kw: 1}", "did you mean: solar_kwp"),
        ("set: {site_size_cv: 1}", "`site_size_cv` is not set by scenarios"),
        ("failures: [", "not YAML"),
        ("apiVersion: skerry/v2", "Invalid enum value 'skerry/v2'"),
    ],
)
def test_a_bad_scenario_is_named_with_its_key(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"name: bad\n{text}\n")
    err = refused(capsys, 3, "--scenario", str(path))
    assert "error[E0960]" in err
    assert said in err


def test_an_unknown_scenario_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean: storm" in refused(capsys, 3, "--scenario", "strom")
    assert "`calm` is there twice" in refused(capsys, 3, "--scenario", "calm", "--scenario", "calm")
    assert "No such file" in refused(capsys, 3, "--scenario", "nowhere.yaml")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["hour_utc,DE", "2024-01-01T00:00:00Z,300"], "the signal is 1 hours long"),
        (["hour_utc,DE", "2024-01-01T00:00:00Z,300", "2024-01-01T02:00:00Z,300"], "without gaps"),
        (["hour_utc,DE", "2024-01-01T00:00:00Z,nan"], ":2: column DE"),
        (["time,DE", "2024-01-01T00:00:00Z,300"], "hour_utc"),
    ],
)
def test_a_bad_signal_is_refused(
    rows: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "signal.csv"
    path.write_text("\n".join(rows) + "\n")
    assert simulate("--signal", str(path)) in {2, 3}
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0] * 100, "column hour_of_week: the end of the file, wanted 100"),
        ([0.0] * 168, "the week's demand is 0 at every hour"),
        ([1.0] * 80 + [-1.0] * 88, ":82: column weight"),
    ],
)
def test_a_bad_profile_is_refused(
    weights: list[float], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "week.csv"
    rows = [f"{hour},{weight}" for hour, weight in enumerate(weights)]
    path.write_text("\n".join(["hour_of_week,weight", *rows]) + "\n")
    assert simulate("--profile", str(path)) in {2, 3}
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_profile_moves_the_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "week.csv"
    rows = [f"{hour},{1 if 24 <= hour < 48 else 0}" for hour in range(168)]
    path.write_text("\n".join(["hour_of_week,weight", *rows]) + "\n")
    monday = figures(capsys, "--profile", str(path), "--set", "demand_day_cv=0")
    tuesday = figures(capsys, "--profile", str(path), "--set", "demand_day_cv=0", "--hours", "48")
    assert monday["requests"] < tuesday["requests"] / 10
    assert tuesday["requests"] == pytest.approx(7 * 20_000, rel=1e-9)


def test_a_trace_gives_rates_mix_and_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    at_s = np.sort(np.random.default_rng(1).uniform(8 * 3600, 16 * 3600, 3000)).tolist()
    rows = [f"{at:.3f},oslo,magika,public,1000" for at in [*at_s, 86_399.0]]
    path.write_text("\n".join(["arrival_s,site,model,data_class,bytes", *rows]) + "\n")
    found = figures(capsys, "--trace", str(path), "--set", "demand_day_cv=0", "--hours", "24")
    assert found["requests"] == pytest.approx(3001, rel=1e-3)
    assert any("its hours of the day" in note for note in found["notes"])


def test_a_run_replaces_the_tables_and_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    seen = {"value": 20.0, "low": 19.0, "high": 21.0, "level": "measured", "source": "run"}
    goal = {"name": "latency_ms_p95", "goal": 50, "measured": {**seen, "at_unix_s": 0.0}}
    path.write_text(json.dumps({"at_unix_s": 0, "service_ms": {"magika": 15.6}, "goals": [goal]}))
    stated, measured = figures(capsys), figures(capsys, "--from-run", str(path))
    assert measured["latency_ms_p50"] == pytest.approx(2 * stated["latency_ms_p50"], rel=0.05)
    error = measured["prediction_error_ratio"]["latency_ms_p95"]
    assert error == pytest.approx(measured["latency_ms_p95"] / 20.0 - 1)


def test_a_fleet_that_nobody_asks_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--set", "requests_per_node_day=0") == 0
    out = capsys.readouterr().out
    assert out.startswith("unknown: 0 requests")
    assert "nobody asks" in out


def test_bytes_that_were_refused_upstream_are_not_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = figures(capsys, "--set", "requests_per_node_day=100000000", "--seeds", "1")
    up = (found["room_ratio"] + found["cloud_ratio"]) * 8_400_000
    assert found["upstream_bytes_per_1k"] == pytest.approx(up, rel=1e-6)


def test_spans_and_sizes_out_of_bounds_are_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--hours", "0"), ("--hours", "9000"), ("--sites", "0"), ("--seeds", "0")):
        assert simulate(*words) == 2
    assert "did you mean: solar_kwp" in refused(capsys, 2, "--set", "solar_kpw=1")


def test_scenarios_are_documents_that_keep_their_meaning(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(
        json.dumps(
            {"name": "s", "incidents": [{"do": "demand", "at": "1 d", "lasts": "2 h", "factor": 3}]}
        )
    )
    one = read_document(path, Scenario)
    assert one.incidents[0].factor == 3
    assert scenario_named("calm").failures == 1
