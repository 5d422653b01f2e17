"""The docs are true: made pages are current, links and anchors lead somewhere, codes are unique.

Run by `make check`; exits 1 with each finding.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import make_docs

LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def dead_links() -> list[str]:
    """Return each relative link of a Markdown page that leads nowhere."""
    pages = [*Path("docs").rglob("*.md"), *Path().glob("*.md"), *Path("benchmarks").glob("*.md")]
    found = []
    for page in sorted(pages):
        for target, anchor in LINK.findall(FENCE.sub("", page.read_text())):
            if "://" in target:
                continue
            goal = page.parent / target if target else page
            if not goal.exists():
                found.append(f"{page}: {target} does not exist")
            elif anchor and goal.suffix == ".md" and anchor not in anchors(goal):
                found.append(f"{page}: {target}#{anchor} is no heading there")
    return found


def shared_codes() -> list[str]:
    """Return each error code that two unrelated classes carry."""
    owners: dict[str, list[type]] = defaultdict(list)
    for kind in make_docs.error_classes():
        if "code" in vars(kind):
            owners[kind.code].append(kind)
    return [
        f"code {code} is used by {', '.join(kind.__name__ for kind in kinds)}"
        for code, kinds in owners.items()
        if not any(all(issubclass(kind, root) for kind in kinds) for root in kinds)
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
