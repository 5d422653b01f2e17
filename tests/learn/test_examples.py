"""The example beside the how-to page does what the page says."""

import subprocess
import sys
from pathlib import Path

import pytest

from skerry.cli.main import run

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"


def test_the_digits_example_trains_adds_and_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [sys.executable, EXAMPLES / "digits.py"], capture_output=True, text=True, check=True
    )
    assert float(done.stdout.split()[-1]) > 0.85
    add = ["model", "add", "digits.joblib", "--trust-pickle", "--check", "digits.npz"]
    assert run([*add, "--card", str(EXAMPLES / "digits.yaml")]) == 0
    assert capsys.readouterr().out == "models/digits/1\n"
    assert run(["model", "show", "digits"]) == 0
    assert "decode_image > resize > normalise > flatten" in capsys.readouterr().out
