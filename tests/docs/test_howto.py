"""The how-to on serving, word for word: a plain repository, stock clients, a load."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
TOOLS = Path(sys.executable).parent
READY_S_MAX = 30


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Serve the story's model as the page says, on free ports; gives the folder and the address."""
    folder = tmp_path_factory.mktemp("serve")
    subprocess.run([TOOLS / "skerry", "model", "add", "magika"], cwd=folder, check=True)
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    log = folder / "serve.json"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [TOOLS / "skerry", "serve", "--repository", "models", *ports, "--json"],
            cwd=folder,
            stdout=out,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        deadline_s = time.monotonic() + READY_S_MAX
        while not log.read_text().rstrip().endswith("}"):
            assert server.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        yield folder, f"127.0.0.1:{json.loads(log.read_text())['http_port']}"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(READY_S_MAX) == 0


def examples(page: str) -> list[str]:
    found: list[str] = PYTHON.findall((ROOT / "docs" / page).read_text())
    assert found
    return found


@pytest.mark.parametrize("page", ["serve-a-repository", "come-from-tritonclient"])
def test_python_examples_run(served: tuple[Path, str], page: str) -> None:
    folder, address = served
    for code in examples(f"how-to/{page}.md"):
        code = code.replace("127.0.0.1:8000", address)
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout


def test_a_model_is_loaded_again_by_the_command_of_the_page(served: tuple[Path, str]) -> None:
    folder, address = served
    text = (ROOT / "docs/how-to/serve-a-repository.md").read_text()
    command = "http://127.0.0.1:8000/v2/repository/models/magika/load"
    assert f"$ curl -X POST {command}\n" in text
    done = subprocess.run(
        ["curl", "-sf", "-X", "POST", command.replace("127.0.0.1:8000", address)], cwd=folder
    )
    assert done.returncode == 0
