"""How a process begins and ends: one ready line, a clean stop on a signal, errors in four parts."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skerry.base.entry import exit_code_of
from skerry.base.errors import SkerryError, UsageError

CHILD = """
import asyncio, sys
from skerry.base.entry import run_process, say_ready

async def run(state):
    try:
        say_ready(api_port=7)
        await asyncio.Event().wait()
    finally:
        (state / "closed").touch()

sys.exit(run_process("skerry.child", "A child.", run))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_cleanly_after_it_said_ready(
    tmp_path: Path, number: signal.Signals
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, "--state", str(tmp_path), "--with-parent"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == '{"ready": true, "api_port": 7}\n'
    child.send_signal(number)
    _, errors = child.communicate(timeout=10)
    assert (child.returncode, errors) == (0, "")
    assert (tmp_path / "closed").exists()


def test_an_error_is_told_with_its_code_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise UsageError("this was wrong", "do that")

    assert exit_code_of(fail) == 2
    assert capsys.readouterr().err == "error[E0002]: this was wrong\n  = help: do that\n"


def test_an_error_without_advice_has_no_help_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise SkerryError("this broke")

    assert exit_code_of(fail) == 1
    assert capsys.readouterr().err == "error[E0001]: this broke\n"


def test_work_that_ends_well_gives_0() -> None:
    assert exit_code_of(lambda: None) == 0
