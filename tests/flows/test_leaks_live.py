"""Live node processes under random requests and faults: no process receives what it must not.

`benchmarks/leaks_live.py` is the same run with 1,000,000 requests.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "leaks_live.py"

pytestmark = pytest.mark.slow


def run(*words: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, str(RUN), *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_nothing_is_received_where_the_policy_keeps_it_from() -> None:
    code, told = run("--requests", "6000", "--seed", "11")
    assert told["leaks"] == 0, told["leaked"]
    assert (code, told["requests"]) == (0, 6000)
    assert told["seen elsewhere"] > 300, "content did travel"
    assert told["status 403"] > 300, "and was kept at home"


def test_a_filter_that_lets_everything_through_is_caught() -> None:
    code, told = run("--requests", "1500", "--broken")
    assert code == 1
    assert told["leaks"] > 0, "random traffic finds the hole within a thousand requests"
