"""Ten million requests to one server: what it holds in memory before and after.

    python benchmarks/soak.py [--requests 10000000] [--callers 16]

wrk on one core, the server on the other. The first twentieth warms caches and allocators
and is not counted; after it, memory is read between slices of the load, when nothing is
under way. Half an hour at most, some six minutes where the doors are fast.
"""

import argparse
import sys
import time

from measured import BUILD, mib_of, tell
from served import fresh, served, small_model, wrk

SLICE_S = 10
SECONDS_MAX = 1800


def main() -> None:
    """Load in slices until enough was answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--slice-s", type=float, default=SLICE_S)
    chosen = parser.parse_args()
    folder = fresh(BUILD / "soak")
    small_model(folder / "repository" / "small" / "1" / "model.onnx")
    answered = wrong = 0
    sizes: list[float] = []
    with served(folder / "repository") as server:
        started_s = time.monotonic()
        while answered < chosen.requests and time.monotonic() - started_s < SECONDS_MAX:
            how = {"callers": chosen.callers, "seconds": chosen.slice_s, "folder": folder}
            more, bad = wrk(server.http, "small", **how)
            answered, wrong = answered + more, wrong + bad
            if answered >= chosen.requests / 20:
                sizes.append(mib_of(server.pid))
                sys.stderr.write(f"{answered} requests, {sizes[-1]:.1f} MiB\n")
    tell("soak-requests", answered, "requests")
    tell("soak-wrong", wrong, "requests")
    tell("soak-memory", sizes[-1], "MiB")
    tell("soak-memory-growth", sizes[-1] - sizes[0], "MiB")
    tell("soak-memory-spread", max(sizes) - min(sizes), "MiB")


if __name__ == "__main__":
    main()
