"""What each process of a fleet holds in memory when idle: the clinic, with its two models.

    python benchmarks/fleet_memory.py [--folder build/bench/fleet]

Starts the whole local fleet, waits until nothing moves, reads `/proc`, and stops it.
Figures are medians over the fleet's processes of one kind.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measured import BUILD, mib_of, plain_environment, tell

from skerry.fleet.start import start_from
from skerry.learn.magika import add_magika
from skerry.learn.standin import add_standin
from skerry.schema.run_file import read_run_file
from skerry.serve.onnx_engine import OnnxModel

IDLE_S = 10.0
UP_S_MAX = 120.0


def load(path: Path) -> OnnxModel:
    """Open a model file with the runtime that serves it."""
    return OnnxModel(path.name, path)


def main() -> None:
    """Start, wait, weigh, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=BUILD / "fleet")
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    start_from("clinic", "clinic", folder)
    add_magika(folder / "models", load=load, lock_folder=folder)
    add_standin(folder / "models", load=load, lock_folder=folder)
    command = [sys.executable, "-m", "skerry", "up", "--folder", folder]
    command += ["--with-parent", str(os.getpid())]
    with (folder / "up.log").open("wb") as log:
        started_s = time.monotonic()
        fleet = subprocess.Popen(command, env=plain_environment(), stdout=log, stderr=log)
    try:
        while "is up:" not in (folder / "up.log").read_text():
            if fleet.poll() is not None or time.monotonic() > started_s + UP_S_MAX:
                raise SystemExit((folder / "up.log").read_text())
            time.sleep(0.1)
        tell("fleet-up", time.monotonic() - started_s, "s")
        time.sleep(IDLE_S)
        run = read_run_file(folder / ".skerry" / "run.json")
        tell("agent-rss", statistics.median(mib_of(node.agent_pid) for node in run.nodes), "MiB")
        tell("worker-rss", statistics.median(mib_of(node.worker_pid) for node in run.nodes), "MiB")
        tell("region-rss", max(mib_of(region.pid) for region in run.regions.values()), "MiB")
        tell("central-rss", mib_of(run.central_pid), "MiB")
    finally:
        fleet.terminate()
        fleet.wait(timeout=60)


if __name__ == "__main__":
    main()
