"""`python -m skerry.central --state DIR`: one line of JSON when ready, SIGTERM to stop."""

import sys

from skerry.base.entry import run_process, say_ready
from skerry.central.process import run_central


def main() -> int:
    """Run central until told to stop; return the exit code."""
    return run_process(
        "skerry.central", str(__doc__), lambda state: run_central(state, on_ready=_say_ready)
    )


def _say_ready(api_port: int, nats_port: int, leaf_port: int) -> None:
    say_ready(api_port=api_port, nats_port=nats_port, leaf_port=leaf_port)


if __name__ == "__main__":
    sys.exit(main())
