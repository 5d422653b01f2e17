"""What every benchmark here shares: one line per figure, and the state of the machine."""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from skerry.base.processes import rss_bytes

BUILD = Path(__file__).parent.parent / "build" / "bench"


def tell(name: str, value: float, unit: str) -> None:
    """Print one figure as `name value unit`; run.py reads these lines."""
    print(f"{name} {value:.4g} {unit}" if value < 10_000 else f"{name} {value:.0f} {unit}")
    sys.stdout.flush()


def median_ms(work: Callable[[], object], *, times: int, warm: int = 1) -> float:
    """Return the median duration of some work, in milliseconds."""
    for _ in range(warm):
        work()
    durations_s = []
    for _ in range(times):
        started_s = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - started_s)
    return statistics.median(durations_s) * 1000


def mib_of(pid: int) -> float:
    """Return a process's resident memory in MiB, pages that it shares with others in full."""
    return rss_bytes(pid) / 2**20


def plain_environment() -> dict[str, str]:
    """Return the environment with byte code allowed, as an installed program has it."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
