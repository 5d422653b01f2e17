"""Reports of plans: the verb's own options, and a page that is always written."""

from pathlib import Path

import pytest

from skerry.cli.main import run
from skerry.cli.report_plan import PAGES, page_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


@pytest.mark.parametrize("report", PAGES)
def test_every_report_has_its_verbs_options_and_its_own_page(report: str) -> None:
    made = page_of(report)
    names = {option.name for option in made.params}
    assert {"page_path", "as_json"} <= names
    page = next(option for option in made.params if option.name == "page_path")
    assert page.opts == ["--out"]
    assert page.default == Path(f"{report}.html")


def test_the_report_of_a_plan_is_written_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["report", "plan", "-f", str(EXAMPLE), "--requests", "200", "--seeds", "1"]
    assert run(words) == 0
    assert "What will a day of clinic be like?" in (tmp_path / "plan.html").read_text()
    assert "plan.html" in capsys.readouterr().err
