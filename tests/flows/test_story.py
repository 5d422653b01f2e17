"""The story, whole: from an empty folder to a verdict, and every promise on the way held."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


def test_the_story_ends_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "skerry", "demo", "--json", "--folder", str(folder)],
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout)
    assert done.returncode == 0, told["exit_reason"]
    assert sum(row["requests"] for row in told["tiers"]) >= 2000
    assert all(row["failed"] == 0 for row in told["tiers"])
    assert len(told["drills"]) == 8
    for drill in told["drills"]:
        assert drill["passed"], drill
        assert (drill["failed"], drill["lost"], drill["twice"], drill["leaked"]) == (0, 0, 0, 0)
    assert [release["outcome"] for release in told["releases"]] == ["done", "reverted"]
    assert told["releases"][1]["rings_reached"] == 1
    assert told["facts"]["raw bytes upstream"] == "0 B"
    assert told["facts"]["A/A run"] == "no difference"
    assert "emulated" in told["verdict"]
    assert told["processes_left"] == 0
    page = (folder / "story.html").read_text()
    # The record lies in the page as data; nothing in it runs.
    assert page.count("<script") == page.count('<script type="application/json"') == 1
    assert len(page) < 1_000_000
