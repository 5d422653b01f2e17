"""The tutorial, word for word: one fleet, started and used as the page says."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

UP_S_MAX = 90
STEP_S_MAX = 200
STOP_S_MAX = 30
NUMBER = re.compile(r"\b[0-9a-f]{12,}\b|\d+(?:[.e]\+?-?\d+)*")


PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
PATH = re.compile(r"/\S*/(?=\.skerry)")


def shape(line: str) -> str:
    """Return a line without what differs from run to run: digits, digests, widths, folders."""
    return " ".join(NUMBER.sub("#", PATH.sub("", line)).split())


def environment() -> dict[str, str]:
    tools = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


class Shell:
    """Runs blocks one after the other, as a terminal in one folder that a block may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.background: list[subprocess.Popen[bytes]] = []

    def run(self, commands: str) -> tuple[int, str]:
        """Return exit code and everything printed; `cd` holds for later blocks too."""
        for one in self.background:
            if re.search(r"^wait$", commands, re.MULTILINE):
                one.wait(STEP_S_MAX)
        done = subprocess.run(
            ["bash", "-c", f'set -e\n{commands}\necho "::$PWD"'],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            timeout=STEP_S_MAX,
        )
        out = done.stdout.decode()
        if "::" in out:
            out, _, folder = out.rpartition("::")
            self.folder = Path(folder.strip())
        return done.returncode, out + done.stderr.decode()

    def start(self, commands: str) -> None:
        self.background.append(
            subprocess.Popen(
                ["bash", "-c", f"{commands}\nwait"], cwd=self.folder, env=environment()
            )
        )


@contextmanager
def up(folder: Path, log: Path) -> Iterator[None]:
    """Run the fleet as the first terminal does; it has to end in order at Ctrl-C."""
    with log.open("wb") as sink:
        fleet = subprocess.Popen(["skerry", "up"], cwd=folder, env=environment(), stderr=sink)
        try:
            deadline_s = time.monotonic() + UP_S_MAX
            while "is up" not in log.read_text():
                assert fleet.poll() is None, log.read_text()
                assert time.monotonic() < deadline_s, log.read_text()
                time.sleep(0.2)
            yield
        finally:
            fleet.send_signal(signal.SIGINT)
            code = fleet.wait(STOP_S_MAX)
    assert code == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_does_what_it_says(root: Path, read_blocks, tmp_path: Path) -> None:
    steps = read_blocks(root / "docs/tutorial/first-light.md")
    assert len(steps) >= 12
    shell, log = Shell(tmp_path), tmp_path / "up.log"
    first = next(index for index, step in enumerate(steps) if "up" in step.marks)
    for step in steps[:first]:
        play(shell, step)
    with up(shell.folder, log):
        assert_shown(steps[first].shown, log.read_text())
        for step in steps[first + 1 :]:
            if "background" in step.marks:
                shell.start(step.commands)
            else:
                play(shell, step)
        run_sdk_examples(root, shell.folder)
    for one in shell.background:
        one.wait(STEP_S_MAX)
    assert not (shell.folder / ".skerry" / "run.json").exists()


def run_sdk_examples(root: Path, fleet: Path) -> None:
    """The SDK page's examples, sent to the first node of the running fleet."""
    url = json.loads((fleet / ".skerry" / "run.json").read_text())["nodes"][0]["http_url"]
    (fleet / "scan.pdf").write_bytes(b"%PDF-1.4\n" + b"1 0 obj <<>> endobj\n" * 200)
    for code in PYTHON.findall((root / "docs/reference/sdk.md").read_text()):
        code = code.replace("http://127.0.0.1:8000", url)
        done = subprocess.run([sys.executable, "-c", code], cwd=fleet, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert b"oslo/1" in done.stdout


def play(shell: Shell, step) -> None:
    code, out = shell.run(step.commands)
    assert code in step.exits, f"{step.commands}\nended with {code}:\n{out}"
    if "varies" not in step.marks:
        assert_shown(step.shown, out)


def assert_shown(shown: tuple[str, ...], out: str) -> None:
    """Each line of the page is in the output; the two streams may mix in any order."""
    seen = {shape(line) for line in out.splitlines()}
    missing = [line for line in shown if shape(line) not in seen]
    assert not missing, f"{missing} not in:\n{out}"
