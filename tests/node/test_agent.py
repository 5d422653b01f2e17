"""The agent: light, and at work without a network, a worker or a region."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles, Login
from skerry.node.quarantine import read_quarantine
from skerry.node.settings import NodeSettings, write_settings
from skerry.schema.tamper import Sensor
from skerry.trust.tamper_events import check_events
from skerry.trust.tamper_journal import TamperJournal

WAIT_S = 30.0
KEYS_GONE_S_MAX = 5.0
"""1 s is the promise; a busy machine may take longer to give the process its turn."""
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


def test_an_open_lid_takes_the_keys_and_the_agent_goes_on_without_them(
    node_folder: NodeFolder, node_settings: NodeSettings, fleet: Any, tmp_path: Path
) -> None:
    """No network at all. The process is the same one, with a new memory; a stop ends it."""
    value = tmp_path / "intrusion0_alarm"
    value.write_bytes(b"0\n")
    sensor = Sensor(name="lid", path=str(value), period_s=0.1)
    write_settings(node_folder.settings, msgspec.structs.replace(node_settings, sensors=(sensor,)))
    files = IdentityFiles(node_folder.identity)
    fleet.identity(files, now_unix_s=time.time(), by=fleet.region)
    login = Login(
        nats_url="tls://127.0.0.1:9", nats_host="region-eu.clinic.example", jwt="", seed=""
    )
    files.login.write_bytes(msgspec.json.encode(login))
    process = agent(node_folder)
    assert process.stdout is not None
    assert b'"ready":true' in process.stdout.readline()
    value.write_bytes(b"1\n")
    until_s = time.monotonic() + KEYS_GONE_S_MAX
    while files.identity.exists() or files.login.exists() or files.site_authority.exists():
        assert time.monotonic() < until_s
        time.sleep(0.01)
    again = process.stdout.readline()
    assert b'"locked":true' in again, again
    assert f'"pid":{process.pid},'.encode() in again
    assert "LID_OPEN" in read_quarantine(node_folder.quarantine).reason
    process.terminate()
    _, words = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, words.decode()
    assert b"Traceback" not in words
    journal = TamperJournal(node_folder.tamper, node="oslo/1", boot="reader")
    signed = [event for _, event in journal.after(0)]
    told = [event.word for event in check_events(signed, node="oslo/1")]
    assert told == ["WATCH_STARTED", "LID_OPEN", "REACTED", "WATCH_STARTED"]
