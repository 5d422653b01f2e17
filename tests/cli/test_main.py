"""The command line: quick to help, one exit-code table, errors in four parts, last on screen."""

import json
import subprocess
import sys

import pytest

from skerry.base.errors import Exit
from skerry.cli.main import VERBS, run

HEAVY = ("numpy", "onnxruntime", "grpc", "aiohttp", "nats", "tuf", "cryptography", "yaml", "jinja2")


def test_help_names_every_verb_and_imports_no_craft() -> None:
    program = (
        "import sys; from skerry.cli.main import run; code = run(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == "[]\n"
    assert all(f"  {verb} " in done.stdout for verb in VERBS)


def test_every_verb_explains_itself() -> None:
    for verb in VERBS:
        assert run([verb, "--help"]) == Exit.DONE


def test_an_unknown_verb_and_an_unknown_option_are_wrong_use() -> None:
    assert run(["aply"]) == Exit.WRONG_USE
    assert run(["check", "--colour"]) == Exit.WRONG_USE


def test_an_error_goes_to_stderr_with_its_code_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["help", "E9999"]) == Exit.WRONG_USE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "error[E0002]: there is no error code 'E9999'\n"
        "  = help: codes look like E0312 and stand in brackets after error\n"
    )


def test_with_json_an_error_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "-f", "does-not-exist.yaml", "--json"]) == Exit.FILE_INVALID
    shown = capsys.readouterr()
    error = json.loads(shown.err)["error"]
    assert error["exit_code"] == 3
    assert "does-not-exist.yaml" in error["text"]


def test_a_code_is_explained_offline(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "e0020"]) == Exit.DONE
    assert "FolderBusyError" in capsys.readouterr().out
