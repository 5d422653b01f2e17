"""`init`, `check` and `diff` as people and scripts meet them."""

from pathlib import Path

import msgspec
import pytest

from skerry.base.errors import Exit
from skerry.cli.main import run
from skerry.fleet.applied import write_applied
from skerry.fleet.load import load_fleet


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "shops"]) == Exit.DONE
    monkeypatch.chdir(tmp_path / "shops")
    return tmp_path / "shops"


def test_init_writes_a_fleet_that_checks_and_never_overwrites_one(
    shops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_fleet(shops / "fleet.yaml").domain == "shops.example"
    assert (shops / ".skerry" / "fleet.schema.json").is_file()
    capsys.readouterr()
    assert run(["check"]) == Exit.DONE
    assert capsys.readouterr().out.startswith("fleet.yaml  5 sites, 2 models, 2 rules  ok\n")
    assert run(["init", "shops", "--folder", str(shops)]) == Exit.WRONG_USE
    assert run(["init", "../up"]) == Exit.WRONG_USE


def test_check_prints_problems_for_people_and_for_scripts(
    shops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shops / "fleet.yaml"
    path.write_text(path.read_text().replace("tier: room", "teir: room"))
    capsys.readouterr()
    assert run(["check"]) == Exit.FILE_INVALID
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "= help: did you mean `tier`?" in printed.err
    assert run(["check", "--json"]) == Exit.FILE_INVALID
    document = msgspec.json.decode(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["problems"][0]["path"] == "sites.3.teir"


def test_resolved_is_one_document_with_units_in_its_names(
    shops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["check", "--resolved"]) == Exit.DONE
    assert msgspec.json.decode(capsys.readouterr().out)["tiers"]["closet"]["feed_w"] == 600.0


def test_diff_compares_with_what_was_applied_last(
    shops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff", "--exit-code"]) == Exit.DIFFERENT
    assert "Nothing has been applied" in capsys.readouterr().err
    write_applied(shops, load_fleet(shops / "fleet.yaml"))
    assert run(["diff", "--exit-code"]) == Exit.DONE
    path = shops / "fleet.yaml"
    path.write_text(path.read_text().replace("feed: 600 W", "feed: 700 W"))
    assert run(["diff"]) == Exit.DONE
    assert "~ tier closet" in capsys.readouterr().out
    (shops / ".skerry" / "applied.json").write_text("{")
    assert run(["diff"]) == Exit.FILE_INVALID
