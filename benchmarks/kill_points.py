"""100 kills (SIGKILL) of a node's way up, at seeded points: records lost and records doubled.

    python benchmarks/kill_points.py [--points 100] [--seed 7]

The same code as `tests/simulation/test_kill_points.py`, which kills ten times.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from measured import tell

TEST = Path(__file__).parent.parent / "tests" / "simulation" / "test_kill_points.py"


def main() -> int:
    """Kill, count, print; 0 only if every record is there once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    spec = importlib.util.spec_from_file_location("kill_points_simulation", TEST)
    assert spec is not None
    assert spec.loader is not None
    simulation = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = simulation  # dataclasses look their module up
    spec.loader.exec_module(simulation)
    with tempfile.TemporaryDirectory() as folder:
        kept = simulation.kill_points(Path(folder), chosen.points, chosen.seed)
    sys.stderr.write(f"kill points {kept.points}, lost {kept.lost}, doubled {kept.doubled}\n")
    tell("kill-points", kept.points, "kills")
    tell("kill-points-requests", kept.requests, "requests")
    tell("kill-points-sent-again", kept.sent_again, "records")
    tell("kill-points-lost", kept.lost, "records")
    tell("kill-points-doubled", kept.doubled, "records")
    return int(kept.lost > 0 or kept.doubled > 0)


if __name__ == "__main__":
    sys.exit(main())
