"""How a process of skerry begins and ends: options, ready line, signals, errors, exit code.

A process says that it is ready in one line of JSON on stdout, ends on SIGTERM or SIGINT, and
tells an error that a user can meet in four parts on stderr.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.base.processes import end_with_parent

Run = Callable[[Path], Coroutine[object, object, None]]
"""Runs a process on its state folder until cancelled."""


def run_process(prog: str, description: str, run: Run) -> int:
    """Be the process of one state folder, as its command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--state", type=Path, required=True, help="the process's state folder")
    parser.add_argument(
        "--with-parent", action="store_true", help="stop when the process that started it ends"
    )
    wishes = parser.parse_args()
    if wishes.with_parent:
        end_with_parent(os.getppid())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # asyncio remarks on every TLS connection that a caller closes first.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    return exit_code_of(lambda: asyncio.run(until_told(run(wishes.state))))


def exit_code_of(work: Callable[[], object]) -> int:
    """Do the work; an error that a user can meet is told on stderr and gives its exit code."""
    try:
        work()
    except SkerryError as error:
        hint = f"  = help: {error.hint}\n" if error.hint else ""
        sys.stderr.write(f"error[{error.code}]: {error}\n{hint}")
        return int(error.exit_code)
    return 0


async def until_told(work: Coroutine[object, object, None]) -> None:
    """Run until the work ends or a signal says to stop; then it is cancelled and cleans up."""
    process = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.cancel)
    try:
        await process
    except asyncio.CancelledError:
        pass


def say_ready(**facts: int) -> None:
    """Tell whoever started this process that it is ready, and where it listens."""
    sys.stdout.write(json.dumps({"ready": True, **facts}) + "\n")
    sys.stdout.flush()
