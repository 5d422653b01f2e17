"""`python -m skerry.region --state DIR`: one line of JSON when ready, SIGTERM to stop."""

import sys

from skerry.base.entry import run_process, say_ready
from skerry.region.process import run_region


def main() -> int:
    """Run a region until told to stop; return the exit code."""
    return run_process(
        "skerry.region", str(__doc__), lambda state: run_region(state, on_ready=_say_ready)
    )


def _say_ready(api_port: int, nats_port: int) -> None:
    say_ready(api_port=api_port, nats_port=nats_port)


if __name__ == "__main__":
    sys.exit(main())
