"""Moving: the anchors of two groups, the least path by brute force, and its own cost taken off."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.plan.energy.move import (
    Matrix,
    MoveCosts,
    along,
    at_home,
    fixed_path,
    followed_path,
    hourly_path,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "shift" / "signal.csv"
FREE = MoveCosts(
    load_kw=1.0, state_gb=0.0, traffic_gb_per_h=0.0, network_kwh_per_gb=0.0, egress_usd_per_gb=0.0
)


def move(capsys: pytest.CaptureFixture[str], signal: Path, *words: str) -> dict[str, object]:
    assert run(["plan", "move", "--signal", str(signal), *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("zones", "origin", "fixed_zone", "fixed", "hourly"),
    [
        ("DE,AT,CZ,CH,IT-NO,FR,PL,HU", 377.03, "FR", 0.7362, 0.7498),
        ("US-FLA-FMPP,US-FLA-FPL,US-FLA-TAL,US-FLA-TEC", 502.29, "US-FLA-FPL", 0.2016, 0.2017),
    ],
)
def test_two_groups_of_zones_save_what_was_computed_before(
    zones: str,
    origin: float,
    fixed_zone: str,
    fixed: float,
    hourly: float,
    shared: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = shared / "grid-carbon-hourly-2022" / "carbon_intensity_2022_hourly.csv"
    found = move(capsys, path, "--zones", zones)
    assert found["origin_g_per_kwh"] == pytest.approx(origin, abs=0.005)
    assert found["fixed_zone"] == fixed_zone
    assert found["fixed_saving_ratio"] == pytest.approx(fixed, abs=1e-4)
    assert found["hourly_saving_ratio"] == pytest.approx(hourly, abs=1e-4)


grids = st.tuples(st.integers(2, 3), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 500).map(float), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(np.array)
)


@settings(max_examples=80, deadline=None)
@given(grids, st.integers(0, 4).map(float))
def test_the_followed_path_is_the_least_of_all_paths(factors: Matrix, state_gb: float) -> None:
    zones, hours = factors.shape
    costs = MoveCosts(
        load_kw=2.0,
        state_gb=state_gb,
        traffic_gb_per_h=0.0,
        network_kwh_per_gb=0.5,
        egress_usd_per_gb=0.0,
    )
    moved_g = factors.mean(axis=0) * costs.move_kwh / costs.load_kw

    def total(path: tuple[int, ...]) -> float:
        here = sum(factors[zone, hour] for hour, zone in enumerate(path))
        return float(here + sum(moved_g[h] for h in range(1, hours) if path[h] != path[h - 1]))

    least = min(map(total, itertools.product(range(zones), repeat=hours)))
    assert total(tuple(followed_path(factors, costs).tolist())) == pytest.approx(least)


@given(grids)
def test_the_hourly_bound_is_never_beaten_and_free_moves_reach_it(factors: Matrix) -> None:
    bound = along("hourly", hourly_path(factors), factors, FREE).total_g
    assert along("followed", followed_path(factors, FREE), factors, FREE).total_g == pytest.approx(
        bound
    )
    hours = factors.shape[1]
    for zone in range(len(factors)):
        assert along("fixed", fixed_path(zone, hours), factors, FREE).total_g >= bound - 1e-9
    assert at_home(factors, FREE).total_g >= bound - 1e-9


def test_a_move_s_energy_and_egress_are_counted_by_hand() -> None:
    """Zones at 100 and 300 g/kWh, all to the first for 2 h: one move of 10 GB at 0.1 kWh/GB."""
    factors = np.array([[100.0, 100.0], [300.0, 300.0]])
    costs = MoveCosts(
        load_kw=1.0,
        state_gb=10.0,
        traffic_gb_per_h=5.0,
        network_kwh_per_gb=0.1,
        egress_usd_per_gb=0.5,
    )
    found = along("fixed", fixed_path(0, 2), factors, costs)
    assert (found.moves, found.compute_g) == (1, 400.0)
    assert found.network_kwh == pytest.approx((10 + 2 * 5) * 0.1)
    assert found.network_g == pytest.approx(1 * 200 + 2 * 0.5 * 200)
    assert found.egress_usd == pytest.approx(20 * 0.5)


def test_dear_moves_make_hourly_moving_no_gain_and_a_choice_can_be_regretted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cheap = move(capsys, EXAMPLE, "--zones", "DE,PL,SG", "--state-gb", "0")
    dear = move(capsys, EXAMPLE, "--zones", "DE,PL,SG", "--state-gb", "100000")
    assert cheap["hourly_saving_ratio"] == dear["hourly_saving_ratio"]
    assert dear["hourly_net_saving_ratio"] < dear["fixed_net_saving_ratio"]  # type: ignore[operator]
    assert dear["hourly_no_gain"] is True
    (advice,) = dear["advice"]  # type: ignore[misc]
    assert advice["choice"] == "SG for every load"
    assert advice["regret"]["best"] == "DE"
    assert advice["regret"]["ratio"] > 0.01


@pytest.mark.parametrize(
    ("zones", "code", "text"),
    [
        ("DE", 2, "one zone alone"),
        ("DE,FR,DE", 2, "a zone comes twice"),
        ("DE,FI", 2, "has no zone 'FI'"),
        (",", 2, "one zone alone"),
    ],
)
def test_a_group_that_cannot_move_is_refused(
    zones: str, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "move", "--signal", str(EXAMPLE), "--zones", zones]) == code
    assert text in capsys.readouterr().err
