"""The docs are true: made pages are current, links lead somewhere, error codes are unique.

Run by `make check`; exits 1 with each finding.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import make_docs

LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")


def dead_links() -> list[str]:
    """Return each relative link of a Markdown page that leads nowhere."""
    pages = [*Path("docs").rglob("*.md"), *Path().glob("*.md"), *Path("benchmarks").glob("*.md")]
    return [
        f"{page}: {target} does not exist"
        for page in sorted(pages)
        for target in LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]


def shared_codes() -> list[str]:
    """Return each error code that two unrelated classes carry."""
    owners: dict[str, list[type]] = defaultdict(list)
    for kind in make_docs.error_classes():
        if "code" in vars(kind):
            owners[kind.code].append(kind)
    return [
        f"code {code} is used by {', '.join(kind.__name__ for kind in kinds)}"
        for code, kinds in owners.items()
        if len(kinds) > 1
    ]


def main() -> int:
    """Print every finding; return the exit code."""
    found = dead_links() + shared_codes()
    if found:
        print("\n".join(found), file=sys.stderr)
    sys.argv.append("--check")
    return 1 if make_docs.main() or found else 0


if __name__ == "__main__":
    sys.exit(main())
