"""A key ceremony at the command line: made, shown, signed one by one, and founded when enough."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from tests.conftest import Token

from skerry.base.errors import Exit
from skerry.cli.main import run
from skerry.trust import ceremony
from skerry.trust.ceremony_changes import Rotation, rotation
from skerry.trust.roles import OfflineKeys

Captured = pytest.CaptureFixture[str]
Answer = Callable[..., None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Type answers to the prompts that follow, in their order."""

    def typed(*texts: str) -> None:
        left = list(texts)
        monkeypatch.setattr(click, "prompt", lambda *_, **__: left.pop(0))

    return typed


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "clinic"]) == Exit.DONE
    monkeypatch.chdir(tmp_path / "clinic")
    capsys.readouterr()
    return tmp_path / "clinic"


def test_a_fleet_is_founded_once_enough_holders_signed(
    clinic: Path, answer: Answer, capsys: Captured
) -> None:
    answer("correct horse a")
    assert run(["trust", "holder", "alice", "--role", "root", "--role", "models"]) == Exit.DONE
    assert "root  " in capsys.readouterr().out
    answer("correct horse b")
    words = ["trust", "init", "--holders", "alice/holder.json,bob", "--threshold", "root=2"]
    assert run([*words, "--json"]) == Exit.DONE
    pending = json.loads(capsys.readouterr().out)["pending"]
    assert run(["trust", "publish", pending, "--founding", "founding"]) == Exit.REFUSED
    assert "1 of 2 keys signed it: bob; able to sign: alice" in capsys.readouterr().err
    assert not (clinic / "founding/central/repository").exists()
    answer("correct horse a")
    assert run(["trust", "sign", pending, "--keys", "alice", "--yes"]) == Exit.DONE
    shown = capsys.readouterr()
    assert "of alice signs root" in shown.out
    assert "skerry trust publish" in shown.err
    assert run(["trust", "publish", pending, "--founding", "founding"]) == Exit.DONE
    for region in ("region-eu", "cloud"):
        assert (clinic / f"founding/regions/{region}/keys/1.root.json").exists()
    assert (clinic / "founding/central/repository/metadata/timestamp.json").exists()
    assert run([*words]) == Exit.DONE  # what exists is kept, and nobody is asked for it


def test_a_passphrase_that_is_short_is_refused(clinic: Path, answer: Answer) -> None:
    answer("short")
    assert run(["trust", "holder", "alice"]) == Exit.WRONG_USE
    assert not (clinic / "alice").exists()


def test_a_holder_who_never_saw_the_fleet_compares_its_root_once(
    clinic: Path, answer: Answer, capsys: Captured
) -> None:
    assert run(["trust", "init"]) == Exit.DONE
    answer("correct horse v")
    assert run(["trust", "holder", "vendor", "--role", "models"]) == Exit.DONE
    repository = clinic / "founding/central/repository/metadata"
    published = ceremony.Published(
        roots=((repository / "1.root.json").read_bytes(),),
        roles={
            role: (repository / f"1.{role}.json").read_bytes()
            for role in ("targets", "models", "canary")
        },
    )
    from skerry.base.clock import SystemClock
    from skerry.trust.ceremony_keys import read_holder

    change = Rotation(roles=("models",), add=read_holder(clinic / "vendor/holder.json"))
    file = rotation("clinic", published, change, now_unix_s=SystemClock().unix_s())
    (clinic / "file.json").write_bytes(ceremony.write_signing(file))
    words = ["trust", "sign", "file.json", "--keys", "vendor", "--yes"]
    assert run([*words, "--root", "1234"]) == Exit.WRONG_USE
    assert "that is another root" in capsys.readouterr().err
    answer("correct horse v")
    right = ceremony.fingerprint(published.roots[0])
    outcome = run([*words, "--root", right])  # not asked for: targets is signed by the operator
    assert outcome == Exit.REFUSED
    assert "wanted: operator" in capsys.readouterr().err


def test_a_threshold_that_cannot_be_is_named(clinic: Path, capsys: Captured) -> None:
    assert run(["trust", "init", "--holders", "alice", "--threshold", "gold=2"]) == Exit.WRONG_USE
    assert "is no threshold" in capsys.readouterr().err
    assert run(["trust", "init", "--threshold", "root=2"]) == Exit.WRONG_USE


def test_keys_of_a_folder_say_what_they_ask_for(tmp_path: Path) -> None:
    from skerry.trust.ceremony_keys import sealed_by

    OfflineKeys.create(tmp_path / "open")
    OfflineKeys.create(tmp_path / "sealed", passphrase="correct horse", roles=("models",))
    assert (sealed_by(tmp_path / "open"), sealed_by(tmp_path / "sealed")) == ("", "passphrase")


def test_a_holder_whose_keys_are_on_a_token_signs_with_a_pin(
    clinic: Path, answer: Answer, capsys: Captured, token: Token
) -> None:
    answer(token.pin)
    words = ["--module", token.module, "--token", token.label]
    assert run(["trust", "holder", "alice", *words, "--role", "root"]) == Exit.DONE
    answer("correct horse b")
    holders = ["--holders", "alice/holder.json,bob", "--threshold", "root=2"]
    assert run(["trust", "init", *holders]) == Exit.DONE
    file = "founding/founding.signing.json"
    answer("00000")
    assert run(["trust", "sign", file, "--keys", "alice", "--yes"]) == Exit.FILE_INVALID
    assert "the PIN is another" in capsys.readouterr().err
    answer(token.pin)
    assert run(["trust", "sign", file, "--keys", "alice", "--yes"]) == Exit.DONE
    assert run(["trust", "publish", file, "--founding", "founding"]) == Exit.DONE
