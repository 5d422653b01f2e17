"""How long a person waits for `skerry --help` and `skerry check`: medians of 20 processes.

python benchmarks/command_line.py
"""

import subprocess
import sys
from pathlib import Path

from measured import median_ms, plain_environment, tell

ROOT = Path(__file__).parent.parent
SKERRY = Path(sys.executable).with_name("skerry")


def main() -> None:
    """Measure whole processes, the interpreter's own start included."""

    def run(*arguments: str) -> None:
        subprocess.run(
            [SKERRY, *arguments],
            env=plain_environment(),
            cwd=ROOT / "examples" / "clinic",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    tell("help", median_ms(lambda: run("--help"), times=20), "ms")
    tell("check", median_ms(lambda: run("check"), times=20), "ms")


if __name__ == "__main__":
    main()
