"""The agent: light, and at work without a network, a worker or a region."""

import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles, Login

WAIT_S = 30.0
HEAVY = ("numpy", "onnxruntime", "grpc", "aiohttp", "uvloop")


def test_it_loads_no_library_of_the_data_path() -> None:
    """Its budget is 60 MB; each of these would cost a third of that."""
    code = f"import sys, skerry.node.agent; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert done.stdout.strip() == "[]"


def agent(folder: NodeFolder) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "skerry.node", "agent", "--state", str(folder.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_machine_that_has_not_joined_is_told_how(node_folder: NodeFolder) -> None:
    process = agent(node_folder)
    _, words = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert b"skerry join" in words


@pytest.mark.parametrize("mid_fetch", [False, True])
def test_it_starts_and_stays_with_nothing_else_there(
    node_folder: NodeFolder, fleet: Any, accepted: Any, mid_fetch: bool
) -> None:
    """No NATS, no region, no worker; also where a fetch was cut short and cannot go on."""
    files = IdentityFiles(node_folder.identity)
    fleet.identity(files, now_unix_s=time.time(), by=fleet.region)
    login = Login(
        nats_url="tls://127.0.0.1:9", nats_host="region-eu.clinic.example", jwt="", seed=""
    )
    files.login.write_bytes(msgspec.json.encode(login))
    if mid_fetch:
        accepted(1, a=1).save(node_folder.accepted)
    process = agent(node_folder)
    assert process.stdout is not None
    assert b'"ready":true' in process.stdout.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
    process.terminate()
    _, words = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, words.decode()
    assert b"Traceback" not in words
    if mid_fetch:
        assert b"/blob/" in words
