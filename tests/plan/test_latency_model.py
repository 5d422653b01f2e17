"""Round trips from distance: known fits, physics as the floor, faults by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from skerry.cli.main import run
from skerry.fleet.links import distance_km
from skerry.plan.assumptions import assumptions
from skerry.plan.latency.model import (
    fibre_ms,
    fibre_ratio_percentiles,
    fit_line,
    fit_model,
    haversine_km,
    shipped_model,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "latency"
Point = tuple[float, float]
degrees = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(degrees, degrees)
def test_distances_are_those_of_the_fleet(
    one: tuple[float, float], two: tuple[float, float]
) -> None:
    found = float(haversine_km(one[0], one[1], two[0], two[1]))
    assert found == pytest.approx(distance_km(one, two), rel=1e-9, abs=1e-6)


@given(st.lists(st.floats(0, 20_000), min_size=2, max_size=50))
def test_the_model_never_beats_light_and_more_distance_never_takes_less(reach: list[float]) -> None:
    distance = np.sort(np.array(reach))
    trip = shipped_model(assumptions("latency")).round_trip_ms(distance)
    assert (trip >= fibre_ms(distance)).all()
    assert (np.diff(trip) >= -1e-9).all()


@given(st.integers(0, 10_000), st.integers(4, 30))
def test_a_fit_has_the_least_sum_of_absolute_deviations(seed: int, pairs: int) -> None:
    """The same line as the primal linear program's, or one as good."""
    chance = np.random.default_rng(seed)
    distance = np.arange(pairs) * 100.0
    trip = 10 + 0.02 * distance + chance.exponential(5, pairs)
    line = fit_line(distance, trip)
    eye = np.eye(pairs)
    rows = np.column_stack([np.ones(pairs), distance])
    primal = linprog(
        np.concatenate([np.zeros(2), np.ones(pairs)]),
        A_ub=np.block([[rows, -eye], [-rows, -eye]]),
        b_ub=np.concatenate([trip, -trip]),
        bounds=[(None, None)] * 2 + [(0, None)] * pairs,
    )
    assert np.abs(trip - line(distance)).sum() == pytest.approx(primal.fun, rel=1e-6)


def test_two_kilometres_of_straight_fibre_and_back() -> None:
    """2 * 1000 km * 1.468 / 299,792.458 km/s, by hand."""
    assert fibre_ms(np.array([1000.0])) == pytest.approx([9.79344], abs=1e-5)


@pytest.fixture(scope="module")
def rows(shared: Path) -> dict[str, Any]:
    import polars

    folder = shared / "city-latency"
    pings = polars.read_csv(folder / "pings_2018.csv")
    cities = {
        name: (lat, lon) for name, lat, lon, _ in polars.read_csv(folder / "cities.csv").rows()
    }
    here = np.array([cities[name] for name in pings["src_city"]])
    there = np.array([cities[name] for name in pings["dst_city"]])
    return {
        "distance": haversine_km(here[:, 0], here[:, 1], there[:, 0], there[:, 1]),
        "column": pings["distance_km"].to_numpy().astype(float),
        "trip": pings["avg_ms"].to_numpy(),
    }


def test_the_shipped_lines_are_those_of_all_pairs(rows: dict[str, Any]) -> None:
    """Published: 17.47 ms + 0.01718 ms/km; up to 2500 km 8.82 + 0.02344."""
    model = fit_model(rows["distance"], rows["trip"])
    assert model.far.base_ms == pytest.approx(17.47, abs=0.005)
    assert model.far.ms_per_km == pytest.approx(0.01718, abs=5e-6)
    assert model.near.base_ms == pytest.approx(8.82, abs=0.005)
    assert model.near.ms_per_km == pytest.approx(0.02344, abs=5e-6)
    shipped = shipped_model(assumptions("latency"))
    assert shipped.far.base_ms == pytest.approx(model.far.base_ms, abs=1e-3)
    assert shipped.near.ms_per_km == pytest.approx(model.near.ms_per_km, abs=1e-5)


def test_round_trips_over_the_fibre_limit_are_the_known_ones(rows: dict[str, Any]) -> None:
    known = [(2.40, 4.53, 9.77), (2.09, 3.24, 6.81), (1.82, 2.52, 4.81), (1.52, 1.94, 3.07)]
    found = fibre_ratio_percentiles(rows["column"], rows["trip"])
    assert [ratios for *_, ratios in found] == [pytest.approx(one, abs=0.02) for one in known]


def ask(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert run(["plan", "latency", *options, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_impossible_measurements_are_counted_by_both_distances(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / "city-latency"
    found = ask(
        *(capsys, "--pairs", str(folder / "pings_2018.csv")),
        *("--cities", str(folder / "cities.csv")),
    )["faults"]
    assert found["distance_column"]["below_vacuum_ratio"] == pytest.approx(0.0013, abs=5e-5)
    assert found["distance_column"]["below_fibre_ratio"] == pytest.approx(0.0028, abs=5e-5)
    assert found["haversine"]["below_vacuum_ratio"] == pytest.approx(0.023, abs=5e-4)
    assert found["haversine"]["below_fibre_ratio"] == pytest.approx(0.033, abs=5e-4)


def test_the_example_lists_its_faults_and_judges_unseen_places(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs, cities = str(EXAMPLE / "pairs.csv"), str(EXAMPLE / "cities.csv")
    found = ask(capsys, "--pairs", pairs, "--fit", pairs, "--cities", cities)
    assert found["distance"] == "haversine"
    assert found["faults"]["distance_column"]["below_fibre"] == 0
    listed = found["faults"]["haversine"]["pairs"]
    assert len(listed) == found["faults"]["haversine"]["below_fibre"] == 21
    assert all("Cromwell" in (one["src"], one["dst"]) for one in listed)
    assert found["held_out_error_ms_median"] > found["error_ms_median"] > 0
    for one in found["predictions"]:
        assert one["predicted_ms"] >= one["fibre_limit_ms"]


def test_coordinates_and_distances_do_without_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("distance_km\n0\n1000\n5000\n")
    trips = [one["predicted_ms"] for one in ask(capsys, "--pairs", str(path))["predictions"]]
    assert trips == pytest.approx([8.81548, 8.81548 + 23.44, 17.4696 + 85.9], abs=1e-3)
    path.write_text("src_lat,src_lon,dst_lat,dst_lon\n0,0,0,1\n")
    found = ask(capsys, "--pairs", str(path))["predictions"][0]
    assert found["distance_km"] == pytest.approx(111.195, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("src_city,dst_city,avg_ms\nOslo,Atlantis,10\n", ":2: column dst_city: 'Atlantis'"),
        ("distance_km,avg_ms\n1000,20\n-1,20\n", ":3: column distance_km"),
        ("distance_km,avg_ms\n1000,nan\n", ":2: column avg_ms"),
        ("distance_km,avg_ms\n1000,0.02\n2000,0.04\n", "wanted milliseconds"),
        ("src_city,avg_ms\nOslo,10\n", "distance_km"),
        ("distance_km\n", "no row"),
        (
            "src_city,dst_city,distance_km,avg_ms\nA,B,1000,20\nB,A,1000,20\nA,B,1000,30\n",
            ":4: column dst_city: 'A' to 'B' again",
        ),
        ("", "empty file"),
    ],
)
def test_bad_pairs_are_named(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    cities = ["--cities", str(EXAMPLE / "cities.csv")] if "dst_city" in text else []
    assert run(["plan", "latency", "--pairs", str(path), *cities]) == 3
    assert said in capsys.readouterr().err


def test_a_column_of_measurements_that_is_named_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, pings = tmp_path / "pairs.csv", tmp_path / "pings.csv"
    path.write_text("distance_km\n100\n2000\n")
    pings.write_text("distance_km,rtt\n100,10\n2000,40\n")
    words = ["plan", "latency", "--pairs", str(path), "--measured"]
    assert run([*words, "foo"]) == 3
    said = capsys.readouterr().err
    assert "error[E0904]" in said
    assert "pairs.csv:1: column foo: the file has distance_km" in said
    assert run([*words, "rtt", "--fit", str(pings)]) == 0
    assert run([*words, "foo", "--fit", str(pings)]) == 3
    assert "pings.csv:1: column foo: the file has distance_km, rtt" in capsys.readouterr().err


def test_a_fit_over_one_distance_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("distance_km,avg_ms\n100,10\n100,12\n")
    assert run(["plan", "latency", "--pairs", str(path), "--fit", str(path)]) == 3
    assert "two at least" in capsys.readouterr().err


def test_the_examples_run_as_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLE)
    lines = Path("README.md").read_text().splitlines()
    commands = [i for i, line in enumerate(lines) if line.startswith("$ skerry ")]
    assert len(commands) == 2
    for at in commands:
        assert run(lines[at].removeprefix("$ skerry ").split()) == 0
        assert capsys.readouterr().out.splitlines()[0] == lines[at + 1]
