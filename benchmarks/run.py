"""Run benchmarks and print what they measured, with the goal beside each figure.

    python benchmarks/run.py [NAME ...]          names: those of BENCHMARKS; none: all
                                               but those of ONLY_BY_NAME

Not tests: a slow or busy machine makes them slow, and nothing fails for it. Take figures
when the machine is quiet; the load is printed with them.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = {
    "command-line": ("command_line.py",),
    "install": ("install.py",),
    "serving": ("serving.py",),
    "sdk": ("sdk.py",),
    "control": ("control.py",),
    "fleet-memory": ("fleet_memory.py",),
    "identity": ("identity.py",),
    "failover": ("failover.py",),
    "router": ("router.py",),
    "access": ("access.py",),
    "residency": ("residency.py", "--decisions", "100000"),
    "attestation": ("attestation.py",),
    "kill-points": ("kill_points.py",),
    "ledger": ("ledger.py",),
    "plan-capacity": ("plan_capacity.py",),
    "plan-shift": ("plan_shift.py",),
    "plan-simulate": ("plan_simulate.py",),
    "plan-site": ("plan_site.py",),
    "shadow": ("shadow.py",),
    "swap": ("swap.py",),
    "overload": ("overload.py",),
    "soak": ("soak.py",),
}
ONLY_BY_NAME = ("overload", "soak")
"""Minutes of full load: they are run when they are asked for."""
GOALS: dict[str, tuple[str, float]] = {
    "help": ("<=", 100),
    "serve-cold-start": ("<=", 0.35),
    "serve-rss": ("<=", 70),
    "http-p50": ("<=", 0.12),
    "grpc-p50": ("<=", 0.15),
    "agent-rss": ("<=", 60),
    **{
        f"update-check-10k-{kind}{what}": ("<=", 50)
        for kind in ("unchanged", "other-changed", "own-changed")
        for what in ("", "-bytes")
    },
    "policy-decision": ("<=", 100),
    "access-decision-p50": ("<=", 100),
    "access-allowed-on-error": ("<=", 0),
    "outbox-start": ("<=", 1000),
    "revoke-to-cut": ("<=", 2000),
    "enrolment": ("<=", 5000),
    "renewals-alone": (">=", 100),
    "renew-storm-peak-over-mean": ("<=", 5),
    "login-storm-healthy-p99": ("<=", 1000),
    "killed-p95": ("<=", 50),
    "killed-failed": ("<=", 0),
    "black-hole-added": ("<=", 2),
    "black-hole-slow": ("<=", 4),
    "black-hole-failed": ("<=", 0),
    "node-of-two-sent-again": ("<=", 16),
    "node-of-two-failed": ("<=", 0),
    "router-local-path": ("<=", 3),
    "residency-leaked": ("<=", 0),
    "shift-2135-cells": ("<=", 60),
    "ledger-events": (">=", 5000),
    "ledger-kills-lost": ("<=", 0),
    "ledger-kills-doubled": ("<=", 0),
    "attest-verdict": ("<=", 50),
    "attest-enrol": ("<=", 5),
    "attest-log-longest": ("<=", 100),
    "attest-log-endless": ("<=", 100),
    "kill-points-lost": ("<=", 0),
    "kill-points-doubled": ("<=", 0),
    "swap-failed": ("<=", 0),
    "overload-p99-over-reference": ("<=", 1.5),
    "overload-refused-p99": ("<=", 5),
    "overload-failed": ("<=", 0),
    "overload-memory-growth": ("<=", 5),
    "soak-wrong": ("<=", 0),
    "soak-memory-growth": ("<=", 5),
}
"""Figure to what is wanted of it, in the figure's own unit."""

Figure = tuple[str, float, str]


def figures(name: str) -> list[Figure]:
    """Run one benchmark and read its figures; raises `SystemExit` if it fails."""
    script, *options = BENCHMARKS[name]
    command = [sys.executable, str(HERE / script), *options]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if name in ("failover", "residency"):  # they say more than figures, as one document
        return (_failover if name == "failover" else _residency)(json.loads(ended.stdout))
    if ended.returncode:
        raise SystemExit(f"{script} ended with {ended.returncode}")
    lines = (line.split() for line in ended.stdout.splitlines())
    return [(figure, float(value), unit) for figure, value, unit in lines]


def _failover(document: list[dict]) -> list[Figure]:
    killed, hole, two = document
    return [
        ("healthy-p95", killed["healthy"]["p95_ms"], "ms"),
        ("killed-p95", killed["faulty"]["p95_ms"], "ms"),
        ("killed-failed", killed["faulty"]["failed"], "requests"),
        ("black-hole-added", hole["added_p99_ms"] / hole["healthy"]["p95_ms"], "x-healthy-p95"),
        ("black-hole-slow", hole["slow_requests"], "requests"),
        ("black-hole-failed", hole["faulty"]["failed"], "requests"),
        ("node-of-two-sent-again", two["sent_again"], "requests"),
        ("node-of-two-failed", two["faulty"]["failed"], "requests"),
    ]


def _residency(document: dict) -> list[Figure]:
    per_s = document["decisions"] / document["seconds"]
    return [
        ("residency-leaked", document["leaked"], "decisions"),
        ("residency-judged", per_s, "decisions/s"),
    ]


def row(figure: Figure) -> str:
    """Return one figure as a line of the table: what was measured, the goal, their ratio."""
    name, value, unit = figure
    line = f"{name:<30}{value:>12.4g} {unit:<14}"
    if name in GOALS:
        direction, wanted = GOALS[name]
        ratio = f"{value / wanted:.2f}x" if wanted else ("met" if value == 0 else "missed")
        line += f"{direction} {wanted:<10g}{ratio:>7}"
    return line.rstrip()


def main() -> int:
    """Run what was named, or everything."""
    names = sys.argv[1:] or [name for name in BENCHMARKS if name not in ONLY_BY_NAME]
    if unknown := set(names) - set(BENCHMARKS):
        sys.stderr.write(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}\n")
        return 2
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    print(f"{time.strftime('%Y-%m-%d')}, {cores} cores, Python {python}")
    print(f"{'figure':<30}{'measured':>12} {'unit':<14}{'goal':<12}{'ratio':>8}")
    for name in names:
        load = os.getloadavg()[0]
        print(f"# {name} (load {load:.1f} before)", flush=True)
        for figure in figures(name):
            print(row(figure), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
