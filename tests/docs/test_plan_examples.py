"""Every command of `examples/plan` runs in its folder and prints what its page shows."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from skerry.cli.main import run

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGES = sorted((EXAMPLES / "plan").glob("*/README.md"))
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Return a page's commands, lines joined, each with the lines shown below it."""
    found: list[tuple[str, list[str]]] = []
    for body in BLOCK.findall(page.read_text()):
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line:
                found[-1][1].append(line)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_an_example_does_what_its_page_says(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(EXAMPLES / "clinic", tmp_path / "clinic")
    folder = tmp_path / "plan" / page.parent.name
    shutil.copytree(page.parent, folder)
    monkeypatch.chdir(folder)
    steps = commands(page)
    assert steps, "a page without a command"
    for command, shown in steps:
        name, *words = shlex.split(command)
        assert name == "skerry"
        code = run(words)
        out, err = capsys.readouterr()
        assert code == 0, f"{command}\n{out}{err}"
        for line in shown:
            assert line in out + err, f"{command}\nwanted: {line}\n{out}{err}"


def test_every_example_says_where_its_data_come_from() -> None:
    for page in PAGES:
        assert (page.parent / "SOURCE.md").is_file(), page.parent.name
