"""Orders to the supervisor: carried out, refused in words, or told that nobody is there."""

import socket
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from skerry.local import control as module
from skerry.local.control import Answer, Order, SupervisorControl, serve_control
from skerry.local.errors import ChildError, NotRunningError, OrderRefusedError

pytestmark = pytest.mark.anyio


async def obey(order: Order) -> Answer:
    if order.verb == "release":
        raise ChildError(order.names[0], "was not ready in 30 s", "its last words")
    if order.verb == "hold" and order.names == ("nobody",):
        raise KeyError("nobody")
    return Answer(pids={"oslo/1 worker": 17})


async def serving(tasks: anyio.abc.TaskGroup, path: Path) -> SupervisorControl:
    tasks.start_soon(serve_control, path, obey)
    with anyio.fail_after(5):
        while not path.exists():
            await anyio.sleep(0.005)
        await anyio.sleep(0.01)
    return SupervisorControl(path)


@pytest.mark.parametrize("below", [".skerry", "d" * 150])
async def test_an_order_is_carried_out_however_deep_the_folder(tmp_path: Path, below: str) -> None:
    path = tmp_path / below / "up.sock"
    path.parent.mkdir()
    async with anyio.create_task_group() as tasks:
        control = await serving(tasks, path)
        assert await run_sync(control.pids) == {"oslo/1 worker": 17}
        assert path.stat().st_mode & 0o777 == 0o600
        answer = await run_sync(control.kill, "oslo/1 worker")
        assert answer.error == ""
        tasks.cancel_scope.cancel()
    assert not path.exists()


async def test_an_order_that_fails_is_refused_in_the_words_of_what_failed(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        control = await serving(tasks, tmp_path / "up.sock")
        with pytest.raises(OrderRefusedError, match="was not ready in 30 s"):
            await run_sync(control.release, "oslo/1 worker")
        with pytest.raises(OrderRefusedError, match="no process is called 'nobody'"):
            await run_sync(control.hold, "nobody")
        tasks.cancel_scope.cancel()


async def test_a_fleet_that_does_not_run_is_said_so(tmp_path: Path) -> None:
    control = SupervisorControl(tmp_path / "fleet" / ".skerry" / "up.sock")
    with pytest.raises(NotRunningError, match=f"no fleet runs from {tmp_path}/fleet"):
        await run_sync(control.pids)


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b"x" * 10_000 + b"\n", b"[1]\n"])
async def test_nonsense_is_answered_and_the_next_order_is_obeyed(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "up.sock"

    def send() -> bytes:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            one.connect(str(path))
            one.sendall(line)
            return one.makefile("rb").readline()

    async with anyio.create_task_group() as tasks:
        control = await serving(tasks, path)
        assert b'"error":"' in await run_sync(send)
        assert await run_sync(control.pids)
        tasks.cancel_scope.cancel()


async def test_a_caller_that_says_nothing_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_S_MAX", 0.1)
    path = tmp_path / "up.sock"

    def wait() -> bytes:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            one.connect(str(path))
            return one.recv(10)

    async with anyio.create_task_group() as tasks:
        await serving(tasks, path)
        assert await run_sync(partial(wait)) == b""
        tasks.cancel_scope.cancel()
