"""Switch each defence off in turn, see that exactly its own tests go red, and write the report.

    python tools/attacks.py [ROW ...]      docs/reference/attacks.md, from the rows that were run

First comes a run of tests/attacks with every defence in place, which notes who reaches which. Then
each row's defence is taken out (`--without`), and its own tests and all that reach it run again: no
other test can tell the difference. Exits 1 if a test fails with its defence in place, if an
attack goes unnoticed without it, or if a test of another row fails too.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TESTS = "tests/attacks"
AT_ONCE = 2
"""Rows that run at a time: most of a row is waiting."""
PAGE = Path("docs/reference/attacks.md")
HEAD = """# Attacks

Every row is a test in `tests/attacks`, named after it. The last column is what was measured: with
the named defence taken out of the code, the tests of this row fail and no other does. Made by
`python tools/attacks.py`.

`U` are attacks on the update channel, `A` attacks and faults in a fleet.

| row | attack | refused as | defence | without it |
|---|---|---|---|---|
"""


def run(*options: str, tests: Iterable[str] = (TESTS,)) -> dict[str, Any]:
    """Run attacks, and return rows and outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
        subprocess.run(
            [*command, "--told", str(told), *options, *tests],
            stdout=subprocess.DEVNULL,
            check=False,
        )
        return dict(json.loads(told.read_text()))


def without(row: str, facts: dict[str, Any]) -> str:
    """Return what happened with a row's defence off: `red`, or what is wrong with the test."""
    tests = {*facts["tests"], *facts["reached"]} if facts["reached"] else {TESTS}
    seen = run("--without", row, tests=sorted(tests))
    failed = {*seen["failed"], *seen["error"]}
    own = set(facts["tests"])
    if not own & failed:
        return "**unnoticed**"
    if failed - own:
        return f"**{len(failed - own)} others fail too**"
    return "red"


def kept(page: Path) -> dict[str, str]:
    """Return the last column of the page as it stands, by row."""
    lines = page.read_text().splitlines() if page.exists() else []
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {row[0]: row[-1] for row in cells if row[0][0] in "UA"}


def main() -> int:
    """Run, write the page, and return the exit status."""
    whole = run()
    bad = {*whole["failed"], *whole["error"]}
    for name in sorted(bad):
        print(f"fails with every defence in place: {name}")
    outcome = kept(PAGE)
    rows = {
        row: facts
        for row, facts in sorted(whole["attacks"].items())
        if not sys.argv[1:] or row in sys.argv[1:]
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for row, said in zip(rows, pool.map(without, rows, rows.values()), strict=True):
            outcome[row] = said
            print(f"{row}  {said}  {rows[row]['title']}", flush=True)
            write(whole["attacks"], outcome)
    return int(bool(bad) or any(outcome.get(row) != "red" for row in whole["attacks"]))


def write(attacks: dict[str, Any], outcome: dict[str, str]) -> None:
    """Write the page as far as it is known."""
    lines = [
        f"| {row} | {facts['title']} | `{facts['refused']}` | "
        f"{', '.join(f'`{name}`' for name in facts['off'])} | {outcome.get(row, 'not run')} |"
        for row, facts in sorted(attacks.items())
    ]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
