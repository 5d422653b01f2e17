"""The planning tutorial, word for word, as a new user would type it."""

import os
import shlex
import shutil
from pathlib import Path

import pytest

from skerry.cli.main import run


def test_the_planning_tutorial_does_what_it_says(
    root: Path,
    read_blocks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(root / "examples/plan/day/requests.csv", tmp_path)
    steps = read_blocks(root / "docs/tutorial/plan.md")
    assert len(steps) >= 8
    for step in steps:
        for line in step.commands.splitlines():
            name, *words = shlex.split(line)
            if name == "cd":
                os.chdir(words[0])
            elif name == "cp":
                shutil.copy(*words)
            else:
                assert name == "skerry"
                assert run(words) == 0, capsys.readouterr().err
        out, err = capsys.readouterr()
        for shown in step.shown:
            assert shown in out + err, f"{step.commands}\nwanted {shown}\n{out}{err}"
    assert "What will a day of clinic be like?" in Path("plan.html").read_text()
