"""Verbs where no fleet runs: clean data on stdout, words on stderr, one code per outcome."""

import json
from pathlib import Path

import pytest

from skerry.base.errors import Exit
from skerry.cli.main import run
from skerry.testing.simulated_boot import loaded, simulated_boot
from skerry.trust.attest.event_log import build_event_log

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Path:
    """A fleet folder fresh from its template, as the working folder."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "clinic"]) == Exit.DONE
    monkeypatch.chdir(tmp_path / "clinic")
    capsys.readouterr()
    return tmp_path / "clinic"


@pytest.mark.parametrize(
    "words",
    [["check"], ["diff"], ["plan"], ["model", "list"]],
    ids=" ".join,
)
def test_json_is_one_stamped_document_with_nothing_around_it(
    clinic: Path, capsys: Captured, words: list[str]
) -> None:
    assert run([*words, "--json"]) == Exit.DONE
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["schema"].startswith("skerry.cli.")
    assert document["generated_at"].endswith("Z")


@pytest.mark.parametrize("words", [["check"], ["diff"], ["plan"]], ids=" ".join)
def test_what_is_printed_has_no_escape_codes_and_the_next_step_is_on_stderr(
    clinic: Path, capsys: Captured, words: list[str]
) -> None:
    assert run(words) == Exit.DONE
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "Next:" in shown.err
    assert "Next:" not in shown.out


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["logs"],
        ["infer", "magika", "--site", "oslo", "--input", "fleet.yaml"],
        ["apply"],
        ["apply", "--dry-run"],
        ["apply", "--yes"],
        ["drill", "wan-cut"],
        ["pilot"],
        ["trust", "ticket", "oslo/1"],
    ],
    ids=" ".join,
)
def test_a_verb_that_needs_a_fleet_says_how_to_start_one(
    clinic: Path, capsys: Captured, words: list[str]
) -> None:
    assert run(words) == Exit.UNREACHABLE
    shown = capsys.readouterr()
    assert shown.out == ""
    said, advice = shown.err.splitlines()
    assert said.startswith("error[E1")
    assert "no fleet runs" in said
    assert advice.startswith("  = help: start")
    assert "skerry up" in advice


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["check"], Exit.DONE),
        (["drill", "no-such-drill"], Exit.WRONG_USE),
        (["infer", "magika", "--input", "fleet.yaml"], Exit.WRONG_USE),
        (["join", "--ticket", "no.json", "--state", "node"], Exit.WRONG_USE),
        (["serve", "--repository", "nowhere"], Exit.WRONG_USE),
        (["check", "-f", "no.yaml"], Exit.FILE_INVALID),
        (["report", "story"], Exit.FILE_INVALID),
        (["status"], Exit.UNREACHABLE),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.name,
)
def test_every_outcome_has_its_exit_code(clinic: Path, words: list[str], code: Exit) -> None:
    assert run(words) == code


@pytest.mark.parametrize(
    "words", [["drill", "no-such-drill"], ["status", "--nonsense"], ["nonsense"]], ids=" ".join
)
def test_wrong_use_is_json_too_where_json_was_asked_for(
    clinic: Path, capsys: Captured, words: list[str]
) -> None:
    """A script that reads stderr as JSON must not meet a usage text there."""
    assert run([*words, "--json"]) == Exit.WRONG_USE
    shown = capsys.readouterr()
    assert shown.out == ""
    error = json.loads(shown.err)["error"]
    assert (error["code"], error["exit_code"]) == ("E0002", 2)
    assert "no" in error["text"].lower()
    assert "--help" in error["hint"]


def test_reference_values_are_collected_from_logs_and_what_is_new_is_shown(
    tmp_path: Path, capsys: Captured
) -> None:
    events, out = simulated_boot(), tmp_path / "reference.json"
    for name, more in (("one", []), ("two", [loaded(b"loader 2.12")])):
        (tmp_path / name).write_bytes(build_event_log([*events, *more]))
    words = ["trust", "reference", "--out", str(out), "--json", "--log"]
    assert run([*words, str(tmp_path / "one")]) == Exit.DONE
    capsys.readouterr()
    assert run([*words, str(tmp_path / "two")]) == Exit.DONE
    new = json.loads(capsys.readouterr().out)["new"]
    assert {pcr: digests for pcr, digests in new.items() if digests} == {
        "4": [loaded(b"loader 2.12").digest.hex()]
    }
