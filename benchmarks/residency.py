"""1,000,000 random routing decisions with faults, judged by an oracle of its own: leaks.

    python benchmarks/residency.py [--decisions 1000000] [--seed 7]

The same code as `tests/simulation/test_residency.py`, which runs 100,000 of them.
"""

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path

TEST = Path(__file__).parent.parent / "tests" / "simulation" / "test_residency.py"


def main() -> int:
    """Run and print one JSON document; 0 only if nothing leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    spec = importlib.util.spec_from_file_location("residency_simulation", TEST)
    assert spec is not None
    assert spec.loader is not None
    simulation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulation)
    started_s = time.perf_counter()
    seen = simulation.decisions(chosen.decisions, chosen.seed)
    took_s = time.perf_counter() - started_s
    told = {"decisions": chosen.decisions, "seed": chosen.seed, "seconds": round(took_s, 1)}
    print(json.dumps({**told, "leaked": seen["leaked"], **seen}, indent=2))
    return int(seen["leaked"] > 0 or seen["wrongly judged"] > 0)


if __name__ == "__main__":
    sys.exit(main())
