"""`python -m skerry.node agent|worker --state DIR`: one half of a node, as a process."""

import argparse
import asyncio
import gc
import os
import sys
from pathlib import Path

from skerry.base.entry import exit_code_of
from skerry.base.processes import end_with_parent


def main() -> int:
    """Run one half until it is told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="skerry.node")
    parser.add_argument("half", choices=("agent", "worker"))
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--with-parent", type=int, default=0, metavar="PID")
    options = parser.parse_args()
    if options.with_parent:
        end_with_parent(options.with_parent)
    half = _worker if options.half == "worker" else _agent
    return exit_code_of(lambda: half(options.state))


def _agent(state: Path) -> None:
    from skerry.node.agent import run_agent

    if asyncio.run(run_agent(state, announce=True)):
        # The keys are gone from the disk; a new image of the process holds none of its memory.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def _worker(state: Path) -> None:
    """Run the data path on uvloop where it is; freeze what start-up made, so the collector
    need not look at it between requests.
    """
    from skerry.node.worker import run_worker

    gc.collect()
    gc.freeze()
    work = run_worker(state, announce=True)
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    sys.exit(main())
