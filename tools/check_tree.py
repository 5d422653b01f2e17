"""Nothing in the tree belongs to one machine or one package index.

Looks at the files that git tracks: no absolute path of a home or work folder, no
package-index address, no unfinished marks in the source. Exits 1 with each finding.
"""

import re
import subprocess
import sys
from pathlib import Path

FORBIDDEN = (
    (re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w"), "a path of one machine"),
    (re.compile(r"(?i)--(?:extra-)?index-url|files\.pythonhosted|/simple/"), "an index address"),
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b|raise NotImplementedError")


def main() -> int:
    """Print every finding; return the exit code."""
    names = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout
    found = []
    for name in names.decode().split("\0"):
        path = Path(name)
        if not name or path == Path(__file__).relative_to(Path.cwd()) or not path.is_file():
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            found += [f"{name}:{number}: {what}" for rule, what in FORBIDDEN if rule.search(line)]
            if name.startswith("src/") and UNFINISHED.search(line):
                found.append(f"{name}:{number}: unfinished")
    if found:
        print("\n".join(found), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
