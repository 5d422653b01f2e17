"""What plan verbs say of input they cannot use: what is there, what is wanted, what to do."""

from pathlib import Path

import pytest

from skerry.cli.main import run

CLINIC = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"
COOLING = ("cooling", "--it-kw", "5", "--mean-c", "9")


def said(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    assert run(["plan", *words]) == code
    found = capsys.readouterr()
    return found.out + found.err


def test_a_signal_without_a_zone_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "signal.csv"
    path.write_text("hour_utc\n2026-01-01T00:00Z\n2026-01-01T01:00Z\n")
    for more in ([], ["--zone", "DE"]):
        words = ["shift", "--signal", str(path), "--job-hours", "1", "--slack-hours", "1", *more]
        assert "signal.csv:1: no zone beside hour_utc, wanted" in said(capsys, 3, *words)


def test_a_file_that_is_not_there_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = str(tmp_path / "none.csv")
    text = said(capsys, 3, "-f", str(CLINIC), "--trace", none)
    assert "none.csv: No such file or directory, wanted" in text
    text = said(capsys, 3, *COOLING, "--assume", none)
    assert "none.csv cannot be read: No such file or directory" in text


def test_a_tier_that_is_not_there_is_named_before_anything_is_computed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in (CLINIC, CLINIC.parent):
        words = ("-f", str(file), "--write", "--tier", "nope", "--assume", "none.csv")
        text = said(capsys, 2, *COOLING, *words)
        assert "no tier is called 'nope'" in text
        assert "tiers: closet, room" in text


def test_a_site_that_is_not_there_is_named_before_anything_is_computed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in (CLINIC, CLINIC.parent):
        words = ("-f", str(file), "--write", "--site", "nope", "--assume", "none.csv")
        text = said(capsys, 2, "carbon", "--place", "DEU", *words)
        assert "no site is called 'nope'" in text
        assert "sites: " in text
        assert "oslo" in text


def test_a_trace_too_short_to_judge_says_what_is_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s\n0\n10\n")
    machines = ("--machines", "2", "--idle-w", "5", "--busy-w", "10")
    text = said(capsys, 0, "consolidate", "--trace", str(path), "--service", "1", *machines)
    assert text.startswith("unknown: the trace has fewer than 2 whole days")
    text = said(capsys, 3, "local", "-f", str(CLINIC), "--requests", "1", "--seeds", "1")
    assert "one half of the trace has no request" in text
    assert "longer trace" in text
    assert "edge" not in text.partition("help")[2]
