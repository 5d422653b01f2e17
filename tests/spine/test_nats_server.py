"""The NATS child: ready in moments, one per folder, gone with its parent, fresh certificates."""

import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from skerry.base.files import FolderBusyError
from skerry.base.processes import is_alive
from skerry.spine.errors import (
    BusUnreachableError,
    ReloadNotAppliedError,
    ServerBinaryError,
    ServerStartError,
)
from skerry.spine.nats_server import BINARY_VARIABLE, NatsServer, free_port

pytestmark = pytest.mark.anyio


async def test_it_is_ready_in_under_a_second_and_stops_in_order(tiers: Any) -> None:
    server = await tiers.start("central")
    pid = server.pid
    await server.stop()
    took_s = await server.start()
    assert took_s < 1.0
    assert not is_alive(pid)
    assert await server.healthy()
    text = (tiers.folder / "central" / "nats.conf").read_text()
    assert '"sync_interval": "always"' in text
    assert (tiers.folder / "central" / "nats.conf").stat().st_mode & 0o077 == 0
    await server.stop()
    assert server.pid is None
    assert not await server.healthy()


async def test_a_second_server_on_the_same_folder_is_refused(tiers: Any) -> None:
    server = await tiers.start("eu")
    twin = NatsServer(server._config, tiers.folder / "eu")
    with pytest.raises(FolderBusyError):
        await twin.start()
    assert await server.healthy()


async def test_a_taken_port_is_named_from_the_log(tiers: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = await tiers.start("eu")
        await server.stop()
        blocked = NatsServer(
            replace(server._config, client_port=taken.getsockname()[1]), tiers.folder / "eu"
        )
        with pytest.raises(ServerStartError, match="address already in use"):
            await blocked.start()
        await blocked.stop()


async def test_a_missing_program_is_said_with_both_ways_out(
    tiers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BINARY_VARIABLE, "/nowhere/nats-server")
    with pytest.raises(ServerBinaryError, match="/nowhere/nats-server") as caught:
        await tiers.start("eu")
    assert BINARY_VARIABLE in caught.value.hint


async def test_rotated_certificates_are_served_after_a_reload(tiers: Any, until: Any) -> None:
    server = await tiers.start("eu")
    bus = await tiers.node("oslo")
    before = await served(tiers, server, until)
    tiers.authority.files("eu.test")  # the same paths, new bytes
    await server.reload()
    assert differs(tiers, server, before)
    assert bus.connected  # who was connected stays


async def test_a_reload_that_the_server_did_not_take_is_said_by_name(tiers: Any) -> None:
    """A certificate that does not go with its key: nats-server logs a line and keeps the old."""
    server = await tiers.start("eu")
    files = tiers.authority.files("eu.test")
    files.key.write_bytes(tiers.authority.files("other.test").key.read_bytes())
    with pytest.raises(ReloadNotAppliedError, match="RELOAD_NOT_APPLIED") as caught:
        await server.reload(deadline_s=0.5)
    assert "private key" in caught.value.log_tail
    assert await server.healthy()
    tiers.authority.files("eu.test")
    await server.reload()


async def served(tiers: Any, server: Any, until: Any) -> bytes:
    found = handshake(tiers, server)
    assert found is not None
    return found


def differs(tiers: Any, server: Any, before: bytes) -> bool:
    found = handshake(tiers, server)
    return found is not None and found != before


def handshake(tiers: Any, server: Any) -> bytes | None:
    host, _, port = server.client_url.removeprefix("tls://").rpartition(":")
    context: ssl.SSLContext = tiers.authority.context(tiers.client_files)
    with socket.create_connection((host, int(port)), 2) as plain:
        plain.recv(4096)  # INFO comes before TLS
        with context.wrap_socket(plain, server_hostname="eu.test") as secure:
            return secure.getpeercert(binary_form=True)


async def test_a_server_that_is_killed_is_noticed_and_started_again(tiers: Any, until: Any) -> None:
    server = await tiers.start("eu")
    bus = await tiers.region("eu")
    os.kill(server.pid, signal.SIGKILL)
    assert await server.watch() == -signal.SIGKILL
    await until(lambda: not bus.connected, what="the loss")
    with pytest.raises(BusUnreachableError):
        await bus.publish("status.eu.eu.1", b"")
    await server.start()
    await bus.wait_connected(timeout_s=10)


PARENT = """
import asyncio, sys
from pathlib import Path
from skerry.spine.nats_config import ServerConfig, TlsFiles
from skerry.spine.nats_operator import create_operator
from skerry.spine.nats_server import NatsServer

folder, certificate, key, ca, port = sys.argv[1:]
operator = create_operator(Path(folder) / "operator", fleet="test", regions=["eu"])
kit = operator.server_kit("central", ends_unix_s=2**31, now_unix_s=1)
tls = TlsFiles(certificate=Path(certificate), key=Path(key), ca=Path(ca))
server = NatsServer(ServerConfig(kit=kit, tls=tls, client_port=int(port)), Path(folder) / "s")

async def main():
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_no_server_outlives_a_parent_that_was_killed(tiers: Any, until: Any) -> None:
    files = tiers.authority.files("orphan.test")
    arguments = [str(tiers.folder / "p"), str(files.certificate), str(files.key), str(files.ca)]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments, str(free_port())],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    await until(lambda: not is_alive(pid), within_s=5, what="the end of the child")


async def test_secrets_are_readable_by_their_owner_only(tiers: Any) -> None:
    await tiers.start("eu")
    for name in ("operator/keys.json", "eu/nats.conf", "eu/leaf.creds"):
        assert (Path(tiers.folder) / name).stat().st_mode & 0o077 == 0, name
    assert "SU" not in repr(tiers.kits["eu"]) + repr(tiers.kits["eu"].process)


async def test_a_bus_closes_in_time_while_it_is_reconnecting(tiers: Any) -> None:
    server = await tiers.start("eu")
    for pause_s in (0.0, 0.05, 0.15, 0.3):
        bus = await tiers.node("oslo")
        await server.stop()
        await anyio.sleep(pause_s)
        await server.start()
        with anyio.fail_after(5):
            await bus.close()


async def test_a_server_that_goes_leaves_no_remark_of_asyncio(
    tiers: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = await tiers.start("eu")
    bus = await tiers.node("oslo")
    await server.stop()
    await until(lambda: not bus.connected, what="the loss")
    logging.getLogger("asyncio").warning("something else")
    assert [line.message for line in caplog.records if line.name == "asyncio"] == ["something else"]
