"""`python -m skerry.node agent|worker --state DIR`: one half of a node, as a process."""

import argparse
import asyncio
import gc
import sys
from pathlib import Path

from skerry.base.errors import SkerryError
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
    try:
        if options.half == "worker":
            _worker(options.state)
        else:
            from skerry.node.agent import run_agent

            asyncio.run(run_agent(options.state, announce=True))
    except SkerryError as error:
        sys.stderr.write(f"error[{error.code}]: {error}\n")
        if error.hint:
            sys.stderr.write(f"  = help: {error.hint}\n")
        return int(error.exit_code)
    return 0


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
