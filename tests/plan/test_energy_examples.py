"""The examples on energy and carbon run as they are written, and each makes its page."""

import shlex
from pathlib import Path

import pytest

from skerry.cli.main import run

EXAMPLES = Path(__file__).parents[2] / "examples" / "plan"


@pytest.mark.parametrize(
    ("question", "starts"),
    [
        ("batching", ["yes: batches up to 300 keep to 30 ms", "yes: batches up to 7 keep"]),
        ("cooling", ["air with aisles apart: PUE 1.24", "no: impossible: the feed of 5.5 kW"]),
        ("local", ["no: local draws", "unknown: it hangs on network_kwh_per_gb"]),
    ],
)
def test_an_example_answers_what_its_page_says(
    question: str,
    starts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(EXAMPLES / question)
    lines = Path("README.md").read_text().splitlines()
    commands = [line.removeprefix("$ skerry ") for line in lines if line.startswith("$ skerry ")]
    for words, start in zip(commands, starts, strict=True):
        assert run(shlex.split(words)) == 0
        assert capsys.readouterr().out.startswith(start)


QUESTIONS = ("shift", "carbon", "energy", "consolidate", "batching", "cooling", "local")


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_example_makes_its_page(
    question: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES / question)
    lines = Path("README.md").read_text().splitlines()
    for number, line in enumerate(line for line in lines if line.startswith("$ skerry ")):
        page = tmp_path / f"{number}.html"
        words = shlex.split(line.removeprefix("$ skerry "))
        assert run([*words, "--report", str(page)]) == 0
        assert "</html>" in page.read_text()
