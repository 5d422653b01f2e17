"""Shifting: all 35 cells of 61 zones of a year, beside the same arithmetic in numpy.

    SKERRY_SHARED=../shared python benchmarks/plan_shift.py

The peer is what one writes without a compiler: each window sorted by numpy, no sharing
between neighbours. It runs on the 14 cells of one zone with a slack of a day and of a week,
as ours does for the ratio, and both sides' means are compared. Without the year's signal
one of the same size is made up; the work does not depend on the values.
"""

import os
import time
from pathlib import Path

import numpy as np
from measured import tell

from skerry.plan.energy.shift import cell, table
from skerry.plan.energy.shift_kernel import starts_of
from skerry.plan.energy.signals import Series, Signal, read_signal

ZONES, HOURS = 61, 8760
PEER_SLACKS = (24, 168)


def signal_at_hand() -> tuple[Signal, str]:
    """Return the year of 61 zones, or one like it."""
    folder = Path(os.environ.get("SKERRY_SHARED", "../shared")) / "data" / "grid-carbon-hourly-2022"
    path = folder / "carbon_intensity_2022_hourly.csv"
    if path.is_file():
        return read_signal(path), "61 zones, 2022"
    rng = np.random.default_rng(7)
    day = 100 * np.sin(np.arange(HOURS) * 2 * np.pi / 24)
    factor = {f"Z{n}": 300 + day + rng.normal(0, 40, HOURS) for n in range(ZONES)}
    made_up = Signal(path="made up", start_unix_s=0.0, hours=HOURS, factor=factor)
    return made_up, "61 zones, made up"


def by_numpy(actual: Series, job_h: int, slack_h: int) -> tuple[float, float]:
    """Return the means of the best start and of the best hours, window by window."""
    starts = starts_of(len(actual), job_h=job_h, slack_h=slack_h)
    sums = np.convolve(actual, np.ones(job_h), "valid")
    piece, free = np.empty(starts), np.empty(starts)
    for i in range(starts):
        end = min(len(actual), i + slack_h + job_h)
        piece[i] = sums[i : end - job_h + 1].min()
        free[i] = np.sort(actual[i:end])[:job_h].sum()
    return float(piece.mean()), float(free.mean())


def main() -> None:
    """Time both, compare what they found, and print the lines."""
    signal, what = signal_at_hand()
    zone = signal.zones[0]
    actual = signal.factor[zone]
    print(f"{what}; load {os.getloadavg()[0]:.1f}")
    began_s = time.perf_counter()
    cell(zone, actual, job_h=1, slack_h=1)
    tell("shift-kernels-ready", time.perf_counter() - began_s, "s")
    began_s = time.perf_counter()
    cells = table(signal, zones=signal.zones)
    tell(f"shift-{len(cells)}-cells", time.perf_counter() - began_s, "s")
    began_s = time.perf_counter()
    ours = table(signal, zones=(zone,), slacks_h=PEER_SLACKS)
    ours_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    peer = [by_numpy(actual, one.job_h, one.slack_h) for one in ours]
    peer_s = time.perf_counter() - began_s
    apart = max(
        abs(mean / expected - 1)
        for one, means in zip(ours, peer, strict=True)
        for mean, expected in zip((one.contiguous_g, one.interruptible_g), means, strict=True)
    )
    tell(f"shift-numpy-{len(peer)}-cells", peer_s, "s")
    tell("shift-over-numpy", peer_s / ours_s, "x")
    tell("shift-means-apart", apart, "ratio")


if __name__ == "__main__":
    main()
