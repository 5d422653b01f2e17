"""`skerry plan` on the committed example: a table, one JSON document, clear refusals."""

import json
from pathlib import Path

import pytest

from skerry.cli.main import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


def test_the_table_shows_every_goal_beside_the_cloud_and_its_target(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["plan", "-f", str(EXAMPLE), "--requests", "300", "--seeds", "2"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 8
    assert "cloud only" in out
    assert "≤ 50 ms" in out
    assert "Next:  skerry up" in err


def test_the_page_shows_goals_money_and_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "day.html"
    words = ["plan", "-f", str(EXAMPLE), "--requests", "300", "--seeds", "2", "--report", str(page)]
    assert run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert 1.1 < document["pue_ratio"] < 1.3  # closets of 1.1, a room of 1.3
    assert document["cloud_only_pue_ratio"] == pytest.approx(1.15)
    text = page.read_text()
    for wanted in ("What will a day of clinic be like?", "Where the money goes", "room, link"):
        assert wanted in text


def test_json_is_one_document_and_the_same_for_the_same_seed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = []
    for _ in range(2):
        assert run(["plan", "-f", str(EXAMPLE), "--requests", "300", "--seeds", "2", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    values = [[goal["predicted"]["value"] for goal in one["goals"]] for one in found]
    assert values[0] == values[1]
    assert found[0]["seeds"] == [7, 8]
    assert {goal["predicted"]["level"] for goal in found[0]["goals"]} == {"estimate"}


def test_a_bad_trace_ends_with_exit_code_3_and_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,site,model,data_class,bytes\n1,nowhere,magika,health,1\n")
    assert run(["plan", "-f", str(EXAMPLE), "--trace", str(path)]) == 3
    err = capsys.readouterr().err
    assert "error[E0901]" in err
    assert f"{path}:2: column site: 'nowhere'" in err
