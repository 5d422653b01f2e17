"""`plan consolidate`: a rule judged on days it has not seen, and no gain said as such."""

import json
from pathlib import Path

import numpy as np
import pytest

from skerry.cli.main import run
from skerry.plan.capacity.trace import Work
from skerry.plan.energy.consolidate import days_of

TRACE = Path(__file__).parents[2] / "examples" / "plan" / "consolidate" / "trace.csv"
BOX = ["--machines", "4", "--idle-w", "40", "--busy-w", "140"]


def consolidate(capsys: pytest.CaptureFixture[str], trace: Path, *words: str) -> dict[str, object]:
    line = ["plan", "consolidate", "--trace", str(trace), "--service", "service_s", "--json"]
    assert run([*line, *words]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_office_hours_let_machines_rest_at_night(capsys: pytest.CaptureFixture[str]) -> None:
    found = consolidate(capsys, TRACE, *BOX)
    assert (found["answer"], found["days"]) == ("yes", 4)
    assert 0.3 < found["saving_ratio"] <= found["bound_saving_ratio"]  # type: ignore[operator]
    on = found["rule_machines_on"]
    assert isinstance(on, list)
    assert (min(on), len(on)) == (1, 24)
    (advice,) = found["advice"]  # type: ignore[misc]
    assert advice["regret"]["unseen"].startswith("days 3 to 4")
    assert advice["regret"]["ratio"] >= 0


def test_one_machine_has_nothing_to_rest(capsys: pytest.CaptureFixture[str]) -> None:
    found = consolidate(capsys, TRACE, "--machines", "1", "--idle-w", "40", "--busy-w", "140")
    assert (found["answer"], found["saving_ratio"]) == ("no", 0)
    assert str(found["lead"]).startswith("no gain: ")
    assert any("capacity comes first" in note for note in found["notes"])  # type: ignore[attr-defined]


def test_less_than_two_days_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,service_s\n0,40\n80000,40\n")
    found = consolidate(capsys, path, *BOX)
    assert found["answer"] == "unknown"
    assert "saving_ratio" not in found


def test_a_surprise_wakes_everybody_and_is_paid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quiet on the first day, one busy hour on the second."""
    quiet = [f"{hour * 3600},1" for hour in range(24)]
    busy = [f"{86_400 + hour * 3600},{3000 if hour == 12 else 1}" for hour in range(24)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["arrival_s,service_s", *quiet, *busy]))
    found = consolidate(capsys, path, *BOX)
    assert found["steps_short"] == 1
    assert found["true_ratio"] < found["bound_saving_ratio"]  # type: ignore[operator]


def test_days_are_whole_and_begin_at_midnight() -> None:
    """Timestamps from 18:00 over two and a half days hold two whole days."""
    arrival = np.arange(0, 60 * 3600, 3600.0)
    work = Work(
        source="x", arrival_s=arrival, service_s=np.full(60, 36.0), start_unix_s=18 * 3600.0
    )
    days = days_of(work, first_s=18 * 3600.0, step_s=3600)
    assert days.load.shape == (2, 24)
    assert days.load == pytest.approx(0.01)


def test_the_example_runs_as_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(TRACE.parent)
    lines = Path("README.md").read_text().splitlines()
    (words,) = [line.removeprefix("$ skerry ") for line in lines if line.startswith("$ skerry ")]
    assert run(words.split()) == 0
    assert capsys.readouterr().out.startswith("yes: a rule by the time of day saves")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--service", "service_s"], 2, "give --tier, or --machines"),
        (["--service", "service_s", *BOX, "--keep", "9"], 2, "keep is 9"),
        (["--service", "nothing", *BOX], 3, "column nothing"),
        (["--service", "service_s", *BOX, "--step-min", "7"], 2, "step_s is 420"),
    ],
)
def test_wrong_use_is_told(
    words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "consolidate", "--trace", str(TRACE), *words]) == code
    assert text in capsys.readouterr().err


def test_a_tier_of_the_fleet_gives_machines_and_draw(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = TRACE.parents[2] / "clinic" / "fleet.yaml"
    found = consolidate(capsys, TRACE, "-f", str(fleet), "--tier", "closet")
    assert found["machines"] == 1
    line = ["plan", "consolidate", "--trace", str(TRACE), "--service", "service_s"]
    assert run([*line, "-f", str(fleet), "--tier", "attic"]) == 2
    assert "no tier 'attic'" in capsys.readouterr().err
