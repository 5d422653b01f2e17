"""Fuzz for long: the tests of this folder with many more examples each.

    python tests/fuzz/long.py [EXAMPLES] [pytest's options]

Ten thousand examples by default, which takes an hour or so. Failures come with the smallest
input that shows them; keep it as an `@example` of its test.
"""

import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run pytest on this folder."""
    examples, options = 10_000, sys.argv[1:]
    if options and options[0].isdigit():
        examples, options = int(options[0]), options[1:]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--timeout",
        "0",
        "-v",
        "--hypothesis-show-statistics",
    ]
    environment = {**os.environ, "SKERRY_FUZZ_EXAMPLES": str(examples)}
    folder = str(Path(__file__).parent)
    return subprocess.run([*command, *options, folder], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
