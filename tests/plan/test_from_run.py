"""Measured figures: what fits no model of the fleet is said, by every verb that reads them."""

import json
from pathlib import Path

import pytest

from skerry.cli.main import run
from skerry.fleet.load import load_fleet
from skerry.plan.from_run import run_notes
from skerry.schema.run_figures import RunFigures

CLINIC = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"
DAY = ("--requests", "200")


def test_models_that_do_not_meet_are_named_on_both_sides() -> None:
    fleet = load_fleet(CLINIC)
    names = [model.name for model in fleet.models]
    assert run_notes(None, fleet) == ()
    assert run_notes(RunFigures(at_unix_s=0), fleet) == ()
    whole = RunFigures(at_unix_s=0, service_ms=dict.fromkeys(names, 3.0))
    assert run_notes(whole, fleet) == ()
    some = RunFigures(at_unix_s=0, service_ms={"nope": 3.0, **dict.fromkeys(names[1:], 3.0)})
    stranger, missing = run_notes(some, fleet)
    assert "nope" in stranger
    assert clinic_names(missing) == names[:1]


def clinic_names(note: str) -> list[str]:
    return [model.name for model in load_fleet(CLINIC).models if model.name in note]


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--seeds", "1", *DAY),
        ("plan", "cost", "--requests-per-month", "10000"),
        ("plan", "compare", *DAY),
        ("plan", "place", *DAY),
        ("plan", "local", "--seeds", "1", *DAY),
        ("plan", "simulate", "--hours", "24", "--seeds", "1"),
    ],
)
def test_every_verb_says_so(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"at_unix_s": 0, "service_ms": {"nope": 3.0}}')
    assert run([*words, "-f", str(CLINIC), "--from-run", str(path), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert [note for note in notes if "nope" in note]
    assert [note for note in notes if "the run has no service time of" in note]
