"""Ports that are looked at before a start: a taken one is named, a late one is waited for."""

import socket

import anyio
import pytest

from skerry.base.errors import Exit
from skerry.base.ports import free_ports
from skerry.local import ports_free
from skerry.local.errors import PortTakenError
from skerry.local.ports import LOOPBACK

pytestmark = pytest.mark.anyio


async def test_a_port_that_stays_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports_free, "FREE_S_MAX", 0.2)
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} of oslo/1/http") as raised:
            await ports_free.until_free({"oslo/1/http": port}, "ports.json")
    assert raised.value.exit_code is Exit.WRONG_USE
    assert str(port) in raised.value.hint


async def test_a_port_that_is_let_go_of_in_time_is_waited_for() -> None:
    (port,) = free_ports(1)
    late = socket.create_server((LOOPBACK, port))

    async def let_go() -> None:
        await anyio.sleep(0.2)
        late.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let_go)
        await ports_free.until_free({"a": port}, "ports.json")
    socket.create_server((LOOPBACK, port)).close()
