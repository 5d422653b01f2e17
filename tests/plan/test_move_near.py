"""Placement within a latency limit: the published direction, never worse than greedy, checked."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.plan.energy.move_near import Matrix, Near, broken, mean_g, place_near
from skerry.plan.energy.signals import Series

SIGNAL = Path(__file__).parents[2] / "examples" / "plan" / "shift" / "signal.csv"


def near(ms: Matrix) -> Near:
    names = tuple(f"r{n}" for n in range(len(ms)))
    return Near(regions=names, zones=names, round_trip_ms=ms, left_out=())


def move(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["plan", "move", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_third_within_50_ms_nearly_half_within_150_and_little_more(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sukprasert et al., EuroSys 2024, by direction: cloud regions with half their room free."""
    folder = shared / "cloud-region-latency"
    found = move(
        capsys,
        "--signal",
        str(shared / "grid-carbon-hourly-2022" / "carbon_intensity_2022_hourly.csv"),
        "--latency",
        str(folder / "gcp_latency_pairs_ms.csv"),
        "--region-zones",
        str(folder / "gcp_region_to_grid_zone.json"),
    )
    at_50, at_100, at_150, at_200 = found["saving_ratio_by_limit"]  # type: ignore[misc]
    assert 0.2 < at_50 < 0.4
    assert at_50 < at_100 < at_150
    assert 0.4 < at_150 < 0.55
    assert 0 <= at_200 - at_150 < 0.02
    assert found["check_faults"] == []
    (advice,) = found["advice"]  # type: ignore[misc]
    assert 0 <= advice["regret"]["ratio"] < 0.1


def greedy(one: Near, factor: Series, limit_ms: float, load: float) -> Matrix:
    """Place regions one after the other, each in the cleanest room left."""
    room = np.ones(len(factor))
    shares = np.zeros((len(factor), len(factor)))
    room -= load  # everybody may stay at home
    for home in range(len(factor)):
        room[home] += load
        left = load
        for host in np.argsort(factor).tolist():
            if one.round_trip_ms[home, host] <= limit_ms and left > 0:
                taken = min(left, room[host])
                shares[home, host] += taken
                room[host] -= taken
                left -= taken
    return shares


worlds = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(1, 900), min_size=n, max_size=n).map(np.array),
        st.lists(st.floats(1, 300), min_size=n * n, max_size=n * n).map(
            lambda ms: np.array(ms).reshape(n, n) * (1 - np.eye(n))
        ),
    )
)


@settings(max_examples=40, deadline=None)
@given(worlds, st.floats(0, 300), st.floats(0.1, 1))
def test_the_optimum_is_sound_and_never_worse_than_greedy(
    world: tuple[Series, Matrix], limit_ms: float, load: float
) -> None:
    factor, ms = world
    one = near(ms)
    shares = place_near(one, factor, limit_ms=limit_ms, load_ratio=load)
    assert broken(one, shares, limit_ms=limit_ms, load_ratio=load) == []
    assert mean_g(shares, factor) <= mean_g(greedy(one, factor, limit_ms, load), factor) + 1e-6


def test_the_check_names_what_a_placement_breaks() -> None:
    one = near(np.array([[0.0, 90.0], [90.0, 0.0]]))
    found = broken(one, np.array([[0.0, 0.9], [0.0, 0.9]]), limit_ms=50, load_ratio=0.5)
    assert found[0] == "r0: 0.9 of its load 0.5 is placed"
    assert "r1: 1.8 in a room of 1" in found
    assert "r0 to r1: above 50 ms" in found


def test_files_of_regions_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, zones = tmp_path / "pairs.csv", tmp_path / "zones.csv"
    zones.write_text("region,zone\na,DE\nb,FR\nc,XX\n")
    pairs.write_text("sending_region,receiving_region,milliseconds\na,b,10\nb,a,11\n")
    words = ["--signal", str(SIGNAL), "--latency", str(pairs), "--region-zones", str(zones)]
    page = tmp_path / "page.html"
    found = move(capsys, *words, "--limits-ms", "5,20", "--report", str(page))
    assert "Who hosts within 20 ms" in page.read_text()
    assert found["saving_ratio_by_limit"][0] == pytest.approx(0)  # type: ignore[index]
    assert any("left out" in note and "c" in note for note in found["notes"])  # type: ignore[attr-defined]
    pairs.write_text("sending_region,receiving_region,milliseconds\na,b,10\na,b,11\n")
    assert run(["plan", "move", *words]) == 3
    assert ":3: column receiving_region: a to b, wanted each pair once" in capsys.readouterr().err
    zones.write_text("region,zone\na,DE\n")
    assert run(["plan", "move", *words]) == 2
    assert "fewer than two regions" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["--latency", "x.csv"], ["--zones", "DE,FR", "--region-zones", "x.csv"]]
)
def test_one_of_both_questions_is_asked(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "move", "--signal", str(SIGNAL), *words]) == 2
    assert "give --zones, or --latency and --region-zones" in capsys.readouterr().err
