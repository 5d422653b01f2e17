"""`skerry custody`: a machine's life by two people's signatures, in a folder, with no network."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.base.errors import Exit
from skerry.cli.main import run
from skerry.schema.tamper import TamperWord
from skerry.trust.tamper_journal import TamperJournal

Captured = pytest.CaptureFixture[str]
Say = Callable[..., str]
PEOPLE = {
    "maker": "made, shipped",
    "carrier": "shipped, received",
    "site": "received, installed, window, visit, opened, repaired, seal, scrapped",
    "anna": "received, installed, window, visit, opened, repaired, seal, scrapped",
}


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Say:
    """Run a verb in a fleet folder whose file names four signers; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "clinic"]) == Exit.DONE
    monkeypatch.chdir(tmp_path / "clinic")
    lines = []
    for name, may in PEOPLE.items():
        capsys.readouterr()
        assert run(["custody", "key", f"{name}.pem"]) == Exit.DONE
        key = capsys.readouterr().out.strip()
        lines.append(f'      - {{name: {name}, key: "{key}", may: [{may}]}}\n')
    text = Path("fleet.yaml").read_text()
    trust = "trust:\n  custody:\n    required: true\n    signers:\n" + "".join(lines)
    Path("fleet.yaml").write_text(text.replace("rollout:  ", f"{trust}rollout:  ", 1))

    def say(*words: str, code: Exit = Exit.DONE) -> str:
        capsys.readouterr()
        assert run(["custody", *words]) == code
        shown = capsys.readouterr()
        return shown.out + shown.err

    return say


def add(say: Say, step: str, giver: str, taker: str, *more: str, code: Exit = Exit.DONE) -> str:
    hands = ["--giver", giver, "--giver-key", f"{giver}.pem"]
    hands += ["--taker", taker, "--taker-key", f"{taker}.pem"]
    return say("add", "SN-1", step, *hands, "--book", "book", *more, code=code)


def install(say: Say) -> None:
    add(say, "made", "maker", "maker", "--left", "S1, S2", "--fact", f"ek_sha256={'ab' * 32}")
    add(say, "shipped", "maker", "carrier")
    add(say, "received", "carrier", "site", "--place", "oslo")
    add(say, "installed", "site", "anna", "--place", "oslo/1")


def test_a_life_is_written_down_shown_and_verified_offline(say: Say) -> None:
    install(say)
    assert "SN-1 is in-service oslo/1, held by anna" in say("show", "SN-1", "--book", "book")
    assert "4 entries, whole" in say("verify", "SN-1", "--book", "book")
    say("export", "SN-1", "--out", "chain.jsonl", "--book", "book")
    assert "seals S1, S2" in say("verify", "--file", "chain.jsonl")
    assert "SN-1" in say("show", "--book", "book")
    document = json.loads(say("verify", "--file", "chain.jsonl", "--json").split("SN-1: 4")[0])
    assert document["whole"] is True


def test_a_missing_step_and_a_wrong_seal_are_named_and_exit_6(say: Say) -> None:
    add(say, "made", "maker", "maker", "--left", "S1")
    add(say, "shipped", "maker", "carrier")
    add(say, "installed", "site", "anna", "--found", "S7")
    said = say("verify", "SN-1", "--book", "book", code=Exit.REFUSED)
    assert "entry 2 (installed): received is missing before it [STEP]" in said
    assert "found seals S7, wanted S1 [SEAL]" in said
    assert "E0282" in said
    assert "✗" in say("show", "SN-1", "--book", "book")


def test_two_people_sign_on_machines_of_their_own(say: Say) -> None:
    install(say)
    hands = ["--giver", "site", "--giver-key", "site.pem", "--taker", "anna", "--book", "book"]
    window = ["window", "SN-1", "oslo/1", "--from", "2027-03-01T10:00", "--hours", "2"]
    assert "cannot sign without a key" in say(*window, *hands, code=Exit.WRONG_USE)
    assert "waits for the signature of anna" in say(*window, *hands, "--out", "window.jsonl")
    assert "4 entries, whole" in say("verify", "SN-1", "--book", "book")
    sign = ["sign", "window.jsonl", "--book", "book"]
    assert "neither giver nor taker" in say(
        *sign, "--as", "maker", "--key", "maker.pem", code=Exit.WRONG_USE
    )
    assert "signed by both" in say(*sign, "--as", "anna", "--key", "anna.pem")
    assert "5 entries, whole" in say("verify", "SN-1", "--book", "book")


def test_a_visit_has_a_badge_and_seals_before_and_after(say: Say) -> None:
    install(say)
    span = ["--from", "2027-03-01T10:00", "--to", "2027-03-01T11:00"]
    add(say, "visit", "site", "anna", "--badge", "17", "--left", "S1,S3", *span)
    said = say("show", "SN-1", "--book", "book")
    assert "S1, S3" in said
    assert "17" in said


def test_a_signature_that_is_not_the_signers_is_not_kept(say: Say) -> None:
    install(say)
    hands = ["--giver", "site", "--giver-key", "anna.pem", "--taker", "anna"]
    hands += ["--taker-key", "anna.pem", "--book", "book"]
    said = say("add", "SN-1", "seal", *hands, code=Exit.REFUSED)
    assert "not signed by site" in said
    assert "4 entries" in say("verify", "SN-1", "--book", "book")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "../x", "--book", "book"], Exit.FILE_INVALID),
        (["verify", "SN-9", "--book", "book"], Exit.FILE_INVALID),
        (["verify", "SN-1"], Exit.UNREACHABLE),
        (["export", "SN-9", "--book", "book", "--out", "x"], Exit.WRONG_USE),
        (["add", "SN-1", "eaten", "--giver", "a", "--taker", "b"], Exit.WRONG_USE),
    ],
)
def test_what_cannot_be_done_has_its_exit_code(say: Say, words: list[str], code: Exit) -> None:
    say(*words, code=code)


def test_a_nodes_own_journal_is_read_and_checked_without_writing_to_it(
    say: Say, tmp_path: Path
) -> None:
    journal = TamperJournal(tmp_path / "state" / "tamper", node="oslo/1", boot="b")
    for word in (TamperWord.WATCH_STARTED, TamperWord.LID_OPEN, TamperWord.REACTED):
        journal.append(word, at_unix_ms=1, monotonic_ms=1, sensor="lid")
    journal.close()
    read = ["events", "oslo/1", "--state", str(tmp_path / "state")]
    said = say(*read)
    assert "LID_OPEN" in said
    assert "3 events of oslo/1, each signed, none missing" in said
    with sqlite3.connect(tmp_path / "state" / "tamper" / "tamper.db") as base:
        base.execute("DELETE FROM event WHERE n = 2")
    assert "tamper event 2 is missing" in say(*read, code=Exit.REFUSED)
    say("events", "oslo/2", "--state", str(tmp_path / "state"), code=Exit.REFUSED)
    say("events", "oslo/1", "--state", str(tmp_path), code=Exit.REFUSED)
