"""What every plan verb prints: one report as text, as JSON and as a page."""

import json
from pathlib import Path

import pytest

from skerry.cli.plan_show import show
from skerry.cli.progress import progress
from skerry.schema.plan_report import Advice, Answer, Bars, PlanReport, Regret, Section, Table

REPORT = PlanReport(
    verb="cost",
    question="What does it cost?",
    lead="1.20 USD per 1,000",
    answer=Answer.NO,
    figures={"usd_per_1k": 1.2},
    advice=(
        Advice(
            choice="edge",
            reason="it is cheaper",
            runner_up="cloud",
            flip="load falls",
            regret=Regret(
                chosen="edge",
                best="cloud",
                chosen_cost=2.0,
                best_cost=1.0,
                unit="USD",
                ratio=1.0,
                unseen="June",
            ),
        ),
    ),
    sections=(
        Section(
            title="Bill",
            blocks=(
                Table(
                    title="Rows",
                    heads=("row", "USD"),
                    rows=(("power", 12345.6), ("room", None), *(("more", 1.0),) * 60),
                ),
                Bars(title="bars", unit="USD", rows=(("a", 1.0),)),
            ),
        ),
    ),
    notes=("stated",),
)


def test_a_report_is_read_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    show(REPORT, as_json=False, page_path=None)
    out, err = capsys.readouterr()
    assert out.startswith("no: 1.20 USD per 1,000\n")
    assert "power  12,346" in out
    assert "choose edge: it is cheaper" in err
    assert "next best: cloud; it wins if load falls" in err
    assert "regret on June: 100.0% (best there: cloud)" in err
    assert "22 more rows" in err
    assert "note: stated" in err


def test_json_has_the_figures_at_the_top(capsys: pytest.CaptureFixture[str]) -> None:
    show(REPORT, as_json=True, page_path=None)
    document = json.loads(capsys.readouterr().out)
    assert document["usd_per_1k"] == 1.2
    assert document["schema"] == "skerry.cli.plan.cost/1"
    assert document["answer"] == "no"
    assert "goals" not in document  # empty parts are left out


def test_the_page_is_written_where_it_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "out.html"
    show(REPORT, as_json=False, page_path=page)
    assert "What does it cost?" in page.read_text()
    assert str(page) in capsys.readouterr().err


def test_a_bar_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("working") as tell:
        tell(0.5, "half")
        tell(0.2)
        tell(2.0)
    assert capsys.readouterr() == ("", "")
