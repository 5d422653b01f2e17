"""`--write`: a plan's values go into the fleet file, whole or not at all."""

import shutil
from pathlib import Path

import pytest

from skerry.cli.plan_show import show
from skerry.fleet.load import load_fleet
from skerry.schema.file_errors import FleetFileError
from skerry.schema.fleet_edit import EditError
from skerry.schema.plan_report import PlanReport

CLINIC = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


@pytest.fixture
def fleet_path(tmp_path: Path) -> Path:
    return Path(shutil.copy(CLINIC, tmp_path))


def write(path: Path, changes: dict[str, str], *, as_json: bool = False) -> None:
    report = PlanReport(verb="test", question="?", lead="so it is", changes=changes)
    show(report, as_json=as_json, page_path=None, write_path=path)


def test_the_file_is_changed_and_the_lines_are_shown(
    fleet_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fleet_path, {"sites.hamburg.nodes": "3"})
    assert "+    nodes: 3" in capsys.readouterr().err
    assert load_fleet(fleet_path).site("hamburg").nodes == 3
    assert [path.name for path in fleet_path.parent.iterdir()] == ["fleet.yaml"]
    write(fleet_path, {"sites.hamburg.nodes": "3"}, as_json=True)
    assert '"written_lines": []' in capsys.readouterr().out


def test_what_would_be_no_fleet_leaves_the_file_alone(fleet_path: Path) -> None:
    before = fleet_path.read_bytes()
    with pytest.raises(FleetFileError, match="nowhere"):
        write(fleet_path, {"models.magika.place": "[nowhere]"})
    with pytest.raises(EditError, match="no value for a fleet file"):
        write(fleet_path, {})
    assert fleet_path.read_bytes() == before
    assert [path.name for path in fleet_path.parent.iterdir()] == ["fleet.yaml"]
