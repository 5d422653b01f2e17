"""`python -m skerry.region --state DIR`: one line of JSON when ready, SIGTERM to stop."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from skerry.base.errors import SkerryError
from skerry.base.processes import end_with_parent
from skerry.region.process import run_region


def main() -> int:
    """Run a region until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="skerry.region", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the region's state folder")
    parser.add_argument(
        "--with-parent", action="store_true", help="stop when the process that started it ends"
    )
    wishes = parser.parse_args()
    if wishes.with_parent:
        end_with_parent(os.getppid())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # asyncio remarks on every TLS connection that a caller closes first.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    try:
        asyncio.run(_run(wishes.state))
    except SkerryError as error:
        hint = f"\n  = help: {error.hint}" if error.hint else ""
        print(f"error[{error.code}]: {error}{hint}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    return 0


async def _run(state: Path) -> None:
    process = asyncio.ensure_future(run_region(state, on_ready=_say_ready))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.cancel)
    try:
        await process
    except asyncio.CancelledError:
        pass


def _say_ready(api_port: int, nats_port: int) -> None:
    print(  # noqa: T201
        f'{{"ready": true, "api_port": {api_port}, "nats_port": {nats_port}}}', flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
