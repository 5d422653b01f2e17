"""The worker as a process: it starts from its folder alone, once, and lets in nodes only."""

import http.client
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.quarantine import add_cause
from skerry.node.settings import NodeSettings, read_settings, write_settings
from skerry.node.worker_admin import WorkerAdmin, worker_pid
from skerry.schema.quarantine import QuarantineCause
from skerry.trust.authority import Authority
from skerry.trust.identity import Identity
from skerry.trust.spiffe import SpiffeId, node_id
from skerry.trust.tls import client_context

DOMAIN = "clinic.example"
WAIT_S = 30.0
Start = Callable[[Path], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def start(state: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "skerry.node", "worker", "--state", str(state)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def ready_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read().decode() if process.stderr else ""
    return msgspec.json.decode(line, type=dict[str, Any])


def status(connection: http.client.HTTPConnection, path: str) -> int:
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_machine_that_has_not_joined_is_alive_and_serves_nothing(
    tmp_path: Path, node_settings: NodeSettings, start: Start
) -> None:
    """Also in a folder so deep that its socket's path is longer than the kernel takes."""
    folder = NodeFolder(tmp_path / ("d" * 90) / ("e" * 90)).make()
    write_settings(folder.settings, node_settings)
    process = start(folder.root)
    ready = ready_line(process)
    assert (ready["ready"], ready["peer_port"], ready["refused"]) == (True, 0, [])
    admin = WorkerAdmin(folder.admin_socket)
    assert admin.alive()
    assert admin.serving() == {}
    assert worker_pid(folder) == process.pid
    assert read_settings(folder.settings).http_port == ready["http_port"]
    door = http.client.HTTPConnection("127.0.0.1", ready["http_port"], timeout=5)
    assert status(door, "/v2/health/live") == 200

    process.send_signal(signal.SIGHUP)
    assert admin.alive()

    second = start(folder.root)
    _, words = second.communicate(timeout=WAIT_S)
    assert second.returncode == 2
    assert b"is in use by process" in words

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=WAIT_S) == 0
    assert worker_pid(folder) == 0
    assert not folder.admin_socket.exists()


def test_a_killed_worker_leaves_nothing_that_stops_the_next_one(
    node_folder: NodeFolder, start: Start
) -> None:
    first = start(node_folder.root)
    ready_line(first)
    first.kill()
    first.wait(timeout=WAIT_S)
    assert node_folder.worker.exists()
    assert worker_pid(node_folder) == 0
    assert ready_line(start(node_folder.root))["ready"] is True


def test_a_number_that_is_another_process_by_now_is_no_worker(node_folder: NodeFolder) -> None:
    """After a reboot the worker's old number may be anyone's; a signal would end it."""
    with subprocess.Popen(["sleep", "60"]) as other:
        node_folder.worker.write_bytes(msgspec.json.encode({"pid": other.pid}))
        assert worker_pid(node_folder) == 0
        other.kill()


def test_a_port_that_is_taken_is_said_with_its_address(
    node_folder: NodeFolder, node_settings: NodeSettings, start: Start
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write_settings(node_folder.settings, msgspec.structs.replace(node_settings, http_port=port))
        process = start(node_folder.root)
        _, words = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in words.decode()


def test_settings_that_are_torn_end_it_with_the_code_for_files(
    node_folder: NodeFolder, start: Start
) -> None:
    node_folder.settings.write_bytes(b"{")
    process = start(node_folder.root)
    _, words = process.communicate(timeout=WAIT_S)
    assert process.returncode == 3
    assert b"node.json" in words
    assert b"Traceback" not in words


def test_only_nodes_of_the_fleet_come_in_and_a_new_identity_is_shown_at_once(
    node_folder: NodeFolder, fleet: Any, start: Start
) -> None:
    now = time.time()
    files = IdentityFiles(node_folder.identity)
    fleet.identity(files, now_unix_s=now, by=fleet.region)
    process = start(node_folder.root)
    port = ready_line(process)["peer_port"]
    name = node_id(DOMAIN, "region-eu", "oslo", 1).host
    roots = fleet.root.certificate_pem

    def knock(identity: Identity | None, trusted: bytes = roots) -> tuple[int, bytes]:
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        with client_context(identity, trusted).wrap_socket(plain, server_hostname=name) as tls:
            shown = tls.getpeercert(True) or b""
            tls.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = tls.recv(4096)
            if not answer:
                raise ConnectionResetError
            return int(answer.split()[1]), shown

    def someone(authority: Authority, spiffe: SpiffeId) -> Identity:
        return authority.issue_identity(spiffe, now_unix_s=now)

    bergen = fleet.region.issue_site("bergen", now_unix_s=now)
    code, shown = knock(someone(bergen, node_id(DOMAIN, "region-eu", "bergen", 1)))
    assert code == 200
    central = fleet.root.issue_central(now_unix_s=now)
    assert knock(someone(central, SpiffeId(DOMAIN, "operator/anna")))[0] == 403
    assert knock(someone(fleet.region, SpiffeId(f"region-eu.{DOMAIN}", "region")))[0] == 403
    foreign = fleet.foreign_root.issue_region("region-eu", now_unix_s=now)
    stranger = someone(foreign, node_id("other.example", "region-eu", "oslo", 1))
    for nobody in (None, stranger):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            knock(nobody)

    files.renew_alone(now_unix_s=now)
    process.send_signal(signal.SIGHUP)
    node = someone(bergen, node_id(DOMAIN, "region-eu", "bergen", 1))
    until_s = time.monotonic() + WAIT_S
    while knock(node)[1] == shown and time.monotonic() < until_s:
        time.sleep(0.02)
    assert knock(node)[1] != shown

    files.identity.unlink()
    add_cause(
        node_folder.quarantine,
        "tamper",
        QuarantineCause(word="LID_OPEN", text="the lid", at_unix_s=now),
    )
    process.send_signal(signal.SIGHUP)
    while time.monotonic() < until_s:
        try:
            knock(node)
        except (ssl.SSLError, ConnectionResetError):
            break  # the key is gone from the running process too
        time.sleep(0.02)
    else:
        pytest.fail("the worker still shows an identity that was taken from it")
