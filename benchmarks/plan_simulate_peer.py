"""LEAF and Vessim on sites that `plan_simulate.py` describes; run by a Python that has both.

Vessim: one microgrid per site, a load, a sun, a battery and the grid; a controller adds up
what is imported. LEAF: one node per site whose utilisation is set each hour, read by a meter
of its own or by one meter for all. Prints one JSON object; rates are per CPU second.
"""

import json
import logging
import sys
import time
from typing import Any

import pandas as pd
import simpy
import vessim
from leaf.infrastructure import Node
from leaf.power import PowerMeter, PowerModelNode

HOUR_S = 3600


class Import(vessim.Controller):
    """Adds up what all sites take from the grid."""

    def __init__(self) -> None:
        self.wh = 0.0

    def step(self, now: object, microgrid_states: dict[str, Any]) -> None:
        """Take in one hour of every site."""
        for state in microgrid_states.values():
            self.wh += max(-state["p_grid"], 0.0)


def by_vessim(told: dict[str, Any]) -> tuple[float, float]:
    """Return site-steps per second, and the energy imported."""
    hours = len(told["load_w"][0])
    index = [hour * HOUR_S for hour in range(hours)]
    environment = vessim.Environment(sim_start="2024-01-01", step_size=HOUR_S)
    for site, (load_w, solar_w) in enumerate(zip(told["load_w"], told["solar_w"], strict=True)):
        environment.add_microgrid(
            name=f"site{site}",
            actors=[
                vessim.Consumer("load", vessim.Trace(pd.Series(load_w, index=index))),
                vessim.Producer("sun", vessim.Trace(pd.Series(solar_w, index=index))),
            ],
            dispatchables=[
                vessim.SimpleBattery(
                    "battery", capacity=told["battery_wh"][site], c_rate=told["c_rate"]
                ),
                vessim.GridConnection(),
            ],
        )
    total = Import()
    environment.add_controller(total)
    began_s = time.process_time()
    environment.run(until=hours * HOUR_S)
    return len(told["load_w"]) * hours / (time.process_time() - began_s), total.wh


def by_leaf(told: dict[str, Any], *, own_meters: bool) -> float:
    """Return node-steps per second."""
    hours = len(told["used"][0])
    environment = simpy.Environment()
    nodes = [
        Node(f"n{n}", cu=1.0, power_model=PowerModelNode(max_power=busy_w, static_power=idle_w))
        for n, (idle_w, busy_w) in enumerate(zip(told["idle_w"], told["busy_w"], strict=True))
    ]

    def work() -> Any:
        for hour in range(hours):
            for node, used in zip(nodes, told["used"], strict=True):
                node.used_cu = used[hour]
            yield environment.timeout(1)

    watched = nodes if own_meters else [nodes]
    meters = [PowerMeter(one, measurement_interval=1) for one in watched]
    environment.process(work())
    for meter in meters:
        environment.process(meter.run(environment, delay=0.5))
    began_s = time.process_time()
    environment.run(until=hours)
    assert all(len(meter.measurements) == hours for meter in meters)
    return len(nodes) * hours / (time.process_time() - began_s)


def main() -> None:
    """Run both and print what they came to."""
    logging.disable(logging.CRITICAL)
    with open(sys.argv[1], encoding="utf-8") as file:
        told = json.load(file)
    vessim_per_s, import_wh = by_vessim(told)
    found = {
        "vessim_per_s": vessim_per_s,
        "vessim_import_wh": import_wh,
        "leaf_per_s": by_leaf(told, own_meters=True),
        "leaf_one_meter_per_s": by_leaf(told, own_meters=False),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
