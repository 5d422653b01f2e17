"""A year of 10,000 sites, single requests, and the same energy balance in LEAF and Vessim.

    python benchmarks/plan_simulate.py [--peers PEERS/bin/python] [--sites 10000]

`--peers` is a Python that has leafsim and vessim, which are kept out of skerry's own
environment. Vessim gets the very loads and suns of some of our sites and a battery without
loss; both sides' imports are compared before a ratio is printed. LEAF has neither sun nor
battery: its nodes' utilisation is set each hour, and meters read them: one per node, which
keeps what ours keeps per site, or one for all. All rates are per second of one core's time.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from measured import tell

from skerry.energy.power_curve import draw_w
from skerry.energy.site_energy import BEND_STATED
from skerry.fleet.load import load_fleet
from skerry.plan.assumptions import assumptions
from skerry.plan.services import services_s
from skerry.plan.simulate.fleet_arrays import FleetArrays, arrays_of
from skerry.plan.simulate.fleet_grow import grown
from skerry.plan.simulate.hours import simulate_hours
from skerry.plan.simulate.kernels_hours import SiteColumn
from skerry.plan.simulate.outages import changes_of, drawn
from skerry.plan.simulate.requests import simulate_requests, slices_of
from skerry.plan.simulate.run import case_of
from skerry.plan.simulate.scenario import scenario_named
from skerry.plan.simulate.verb import Question, simulated
from skerry.plan.simulate.world import World, rates_at, shipped_weights, world_of

HERE = Path(__file__).parent
PEER_SITES, PEER_HOURS = 200, 200
YEAR_H = 8760
REQUESTS = 4_000_000
ROUNDS = 2
SUN = ("solar_kwp=1", "battery_kwh=2")


def clinic(sites: int, *settings: str) -> tuple[FleetArrays, dict[str, float]]:
    """Return the shipped clinic, grown, and the assumptions."""
    assumed = dict(assumptions("simulate", settings=settings))
    template = files("skerry.fleet").joinpath("templates", "clinic", "fleet.yaml")
    fleet = load_fleet(Path(str(template)))
    per_day = assumed["requests_per_node_day"]
    small = arrays_of(fleet, services_s=services_s(fleet), requests_per_node_day=per_day)
    return grown(small, sites, assumed, seed=7), assumed


def world(fleet: FleetArrays, assumed: dict[str, float], hours: int) -> World:
    """Return the world of a fleet over some hours."""
    return world_of(fleet, assumed, hours=hours, weights=shipped_weights(), happenings=())


def year(sites: int, threads: int) -> float:
    """Time the hours of a year, with sun and battery; return site-hours per second and core."""
    fleet, assumed = clinic(sites, *SUN)
    around = world(fleet, assumed, YEAR_H)
    spells = drawn(fleet, assumed, factor=1.0, span_s=YEAR_H * 3600.0, seed=7)
    changes = changes_of(spells, len(fleet.nodes))
    wall_s = cpu_s = np.inf
    for _ in range(ROUNDS):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        simulate_hours(fleet, changes, around, seed=7, threads=threads)
        cpu_s = min(cpu_s, time.process_time() - began_cpu_s)
        wall_s = min(wall_s, time.perf_counter() - began_s)
    tell("simulate-year-hours", wall_s, "s")
    tell("simulate-year-hours-cpu", cpu_s, "s")
    rate = sites * YEAR_H / cpu_s
    tell("simulate-site-hours-per-cpu-second", rate / 1e6, "M/s")
    return rate


def requests() -> None:
    """Time single requests with every metric, on one thread."""
    fleet, assumed = clinic(2000, "requests_per_node_day=300000")
    around = world(fleet, assumed, 24)
    spells = drawn(fleet, assumed, factor=1.0, span_s=86_400.0, seed=7)
    changes = changes_of(spells, len(fleet.nodes))
    slices = slices_of(fleet, hours=24, requests=1e9, requests_max=REQUESTS, seed=7)
    rates = rates_at(fleet, around, slices.hour, seed=7) / 3600
    best = 0.0
    for _ in range(2 * ROUNDS):
        began_s = time.process_time()
        found = simulate_requests(fleet, changes, around, slices, rates=rates, seed=7, threads=1)
        best = max(best, found.asked / (time.process_time() - began_s))
    tell("simulate-requests", found.asked / 1e6, "M")
    tell("simulate-requests-per-cpu-second", best / 1e6, "M/s")


def report(sites: int) -> None:
    """Time the verb: one seed of a year, then three, each with its report."""
    for seeds in (1, 3):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        simulated(Question(sites=sites, seeds=seeds, scenarios=("storm",)))
        cpu_s, wall_s = time.process_time() - began_cpu_s, time.perf_counter() - began_s
        tell(f"simulate-year-with-report-{seeds}-seeds", wall_s, "s")
        tell(f"simulate-year-with-report-{seeds}-seeds-cpu", cpu_s, "s")


def peers(python: str, ours: float) -> None:
    """Give the peers the same sites, compare what both found, and print the ratios."""
    fleet, assumed = clinic(PEER_SITES, *SUN, "demand_day_cv=0", "battery_round_trip_ratio=1")
    around = world(fleet, assumed, PEER_HOURS)
    still = replace(fleet, requests_per_day=fleet.requests_per_day * 20)
    changes = changes_of([*drawn(still, assumed, factor=0.0, span_s=1.0, seed=7)], len(still.nodes))
    found = simulate_hours(still, changes, around, seed=7, threads=1)
    asked = rates_at(still, around, np.arange(PEER_HOURS), seed=7)
    nodes = still.nodes[: still.sites]
    used = np.minimum(asked * (still.flow_share @ still.service_s) / 3600 / nodes, 1.0)
    idle_w, busy_w = still.idle_w[: still.sites], still.busy_w[: still.sites]
    load_w = nodes * draw_w(used, idle_w, busy_w, BEND_STATED) * still.pue_ratio[: still.sites]
    solar_w = around.solar[still.region_of_site()].T * around.solar_w
    told = {
        "load_w": load_w.T.tolist(),
        "solar_w": solar_w.T.tolist(),
        "battery_wh": around.battery_wh.tolist(),
        "c_rate": assumed["battery_c_rate"],
        "used": used.T.tolist(),
        "idle_w": idle_w.tolist(),
        "busy_w": busy_w.tolist(),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(told, file)
        file.flush()
        words = [python, str(HERE / "plan_simulate_peer.py"), file.name]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    theirs: dict[str, Any] = json.loads(done.stdout)
    ours_wh = float(found.sites[:, SiteColumn.IMPORT_WH].sum())
    apart = abs(theirs["vessim_import_wh"] / ours_wh - 1)
    tell("simulate-vessim-import-difference", apart, "")
    if apart > 1e-6:
        raise SystemExit(f"imports differ: {theirs['vessim_import_wh']:g} and {ours_wh:g} Wh")
    for name in ("vessim", "leaf", "leaf_one_meter"):
        tell(f"simulate-{name}", theirs[f"{name}_per_s"] / 1e3, "k site-steps/s")
        tell(f"simulate-over-{name}", ours / theirs[f"{name}_per_s"], "x")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="a Python that has leafsim and vessim")
    parser.add_argument("--sites", type=int, default=10_000)
    options = parser.parse_args()
    print(f"{options.sites} sites; load {os.getloadavg()[0]:.1f}")
    case = case_of(
        clinic(3)[0],
        scenario_named("calm"),
        assumptions("simulate"),
        weights=shipped_weights(),
        hours=1,
        sample_requests=1000,
    )
    rate = year(options.sites, case.threads)
    requests()
    report(options.sites)
    if options.peers:
        peers(options.peers, rate)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
