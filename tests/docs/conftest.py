"""Reads the console blocks of the user pages; a comment above a block says how it is tested."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- test: (?P<marks>[^>]+?) -->\n```console\n(?P<body>.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One console block: its commands, what it shows, and its marks."""

    marks: tuple[str, ...]
    commands: str
    shown: tuple[str, ...]

    @property
    def exits(self) -> set[int]:
        """Exit codes that the page allows: `exit 0,1` behind the name."""
        if "exit" not in self.marks:
            return {0}
        return {int(code) for code in self.marks[self.marks.index("exit") + 1].split(",")}


def blocks(page: Path) -> list[Block]:
    """Return the tested blocks of a page, in order. `$ ` begins a command, `> ` goes on with it."""
    found = []
    for match in BLOCK.finditer(page.read_text()):
        commands, shown = [], []
        for line in match["body"].splitlines():
            if line.startswith(("$ ", "> ")):
                commands.append(line[2:])
            elif line:
                shown.append(line)
        found.append(Block(tuple(match["marks"].split()), "\n".join(commands), tuple(shown)))
    return found


@pytest.fixture(scope="session")
def read_blocks():
    return blocks


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
