"""Write THIRD_PARTY.md: every package in the lock with its licence, from its own metadata."""

import re
import sys
from importlib import metadata
from pathlib import Path

LOCKED = re.compile(r"^([A-Za-z0-9_.-]+)==", re.MULTILINE)
PAGE = Path("THIRD_PARTY.md")
NOT_STATED = {"cedarpy": "Apache-2.0", "sigstore-models": "MIT"}
"""What the LICENSE file says where a package's metadata says nothing."""


def licence(name: str) -> str:
    """Return a package's licence as it states it, in a few words."""
    facts = metadata.metadata(name)
    stated = facts.get("License-Expression") or ""
    classes = [
        c.rsplit(" :: ", 1)[-1] for c in facts.get_all("Classifier", []) if "License ::" in c
    ]
    text = stated or ", ".join(classes) or (facts.get("License") or "").strip().split("\n")[0]
    return text[:60] or NOT_STATED.get(name, "see the package")


def page() -> str:
    """Return the page; packages for other platforms, which are not installed here, say so."""
    rows = []
    for name in sorted(set(LOCKED.findall(Path("requirements.lock").read_text()))):
        try:
            rows.append(f"| {name} | {licence(name)} |")
        except metadata.PackageNotFoundError:
            rows.append(f"| {name} | only on other platforms |")
    return "\n".join(
        [
            "# Third-party notices",
            "",
            "Skerry ships no third-party code. These packages are its dependencies, each under",
            "its own licence; made by `tools/make_notices.py` from the packages' own metadata.",
            "",
            "| package | licence |",
            "|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)
