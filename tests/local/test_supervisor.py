"""The supervisor: what it starts stays up, what it stops stays down, and nothing outlives it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from skerry.base.processes import is_alive
from skerry.local import supervisor as module
from skerry.local.errors import ChildError
from skerry.local.supervisor import Supervisor

pytestmark = pytest.mark.anyio
READY_S = 20.0
READY = 'import os, time; os.write(1, b\'{"ready": true, "port": 7}\\n\')'
SLEEP = f"{READY}; time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(READY_S):
        while not condition():
            await anyio.sleep(0.01)


async def test_a_child_is_ready_when_it_says_so_and_is_started_again_after_a_kill(
    tmp_path: Path,
) -> None:
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        child = await supervisor.start("one", python(SLEEP), ready_s_max=READY_S)
        assert (child.ready["port"], child.starts) == (7, 1)
        first = child.pid
        supervisor.kill("one")
        await supervisor.wait_ready("one", ready_s_max=READY_S) if child.is_ready.is_set() else None
        await until(lambda: child.is_ready.is_set() and child.pid != first)
        assert child.starts == 2
        await supervisor.stop("one")
        assert not is_alive(child.pid or first)


async def test_a_child_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        code = "import sys; sys.exit('error[E1]: the port is taken')"
        with pytest.raises(ChildError, match=r"ended with code 1:\n.*the port is taken"):
            await supervisor.start("bad", python(code), ready_s_max=READY_S)
        with anyio.fail_after(READY_S):
            await supervisor.children["bad"].gone.wait()
        assert supervisor.children["bad"].starts <= 2


async def test_a_program_that_is_not_there_is_an_error_and_ends_nobody_else(
    tmp_path: Path,
) -> None:
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        other = await supervisor.start("other", python(SLEEP), ready_s_max=READY_S)
        with pytest.raises(ChildError, match="could not be started"):
            await supervisor.start("none", [str(tmp_path / "none")], ready_s_max=READY_S)
        assert is_alive(other.pid)
        await supervisor.stop("other")


async def test_a_child_that_is_never_ready_is_killed(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        with pytest.raises(ChildError, match=r"was not ready in 0\.3 s"):
            await supervisor.start("slow", python("import time; time.sleep(60)"), ready_s_max=0.3)
        with anyio.fail_after(READY_S):
            await supervisor.children["slow"].gone.wait()


async def test_restarts_come_ever_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_S_FIRST", 60.0)
    monkeypatch.setattr(module, "BACKOFF_S_MAX", 60.0)
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        child = supervisor.launch("short", python(READY))
        await until(lambda: child.ends == 2)  # the first restart is at once, the next waits
        await anyio.sleep(0.1)
        assert child.starts == 2
        with anyio.fail_after(1.0):
            await supervisor.stop("short")  # a pause does not hold it up


async def test_a_child_released_right_after_it_was_held_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while its keeper was pausing between two starts."""
    monkeypatch.setattr(module, "BACKOFF_S_FIRST", 0.2)
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        marks = tmp_path / "marks"
        code = (
            f"import os, time; f = open({str(marks)!r}, 'a'); f.write('x'); f.close();"
            f"os.path.getsize({str(marks)!r}) > 2 or os._exit(1); {SLEEP}"
        )
        child = supervisor.launch("one", python(code))
        await until(lambda: child.ends == 2)
        await supervisor.stop("one")
        supervisor.relaunch("one")
        await supervisor.wait_ready("one", ready_s_max=READY_S)
        await anyio.sleep(0.5)
        assert marks.read_text() == "xxx"
        assert child.starts == 3
        await supervisor.stop("one")


async def test_a_child_given_up_and_wanted_again_at_once_keeps_its_one_keeper(
    tmp_path: Path,
) -> None:
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        marks = tmp_path / "marks"
        code = (
            f"import os, time; f = open({str(marks)!r}, 'a'); f.write('x'); f.close();"
            f"os.path.getsize({str(marks)!r}) > 1 or time.sleep(60); {SLEEP}"
        )
        supervisor.launch("slow", python(code))
        await until(marks.exists)
        with pytest.raises(ChildError):
            await supervisor.wait_ready("slow", ready_s_max=0.1)
        supervisor.relaunch("slow")
        await until(lambda: supervisor.children["slow"].is_ready.is_set())
        await anyio.sleep(0.2)
        assert marks.read_text() == "xx"
        await supervisor.stop("slow")


async def test_a_held_child_stays_down_and_a_deaf_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_S", 0.3)
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
        child = await supervisor.start("deaf", python(deaf), ready_s_max=READY_S)
        pid = child.pid
        await supervisor.stop("deaf")
        assert not is_alive(pid)
        assert (child.pid, child.starts, child.is_ready.is_set()) == (0, 1, False)


async def test_a_line_without_end_neither_ends_the_supervisor_nor_hides_the_child(
    tmp_path: Path,
) -> None:
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        code = f"import os, time; os.write(1, b'x' * 500000 + b'\\n'); {SLEEP}"
        child = await supervisor.start("loud", python(code), ready_s_max=READY_S)
        assert is_alive(child.pid)
        await supervisor.stop("loud")


async def test_a_log_is_bounded_while_the_child_goes_on_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_BYTES_MAX", 10_000)
    monkeypatch.setattr(module, "LOG_LOOK_S", 0.02)
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        loud = "while True: os.write(2, b'a line of words\\n' * 50); time.sleep(0.002)"
        code = f"{READY}\n{loud}"
        child = await supervisor.start("loud", python(code), ready_s_max=READY_S)
        aside = tmp_path / "loud.log.1"
        await until(aside.exists)
        await until(lambda: 0 < child.log.stat().st_size < 10_000)
        assert aside.stat().st_size > 10_000
        assert child.last_lines().endswith("a line of words")
        await supervisor.stop("loud")


async def test_what_a_child_leaves_running_does_not_hide_that_it_ended(tmp_path: Path) -> None:
    """A grandchild holds the pipe open; the child is started again all the same."""
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        code = f"import os, subprocess; subprocess.Popen(['sleep', '8']); {READY}"
        child = supervisor.launch("parent", python(code))
        with anyio.fail_after(6.0):
            while child.ends == 0:
                await anyio.sleep(0.02)
        await supervisor.stop("parent")


def test_a_supervisor_that_is_killed_leaves_no_child_behind(tmp_path: Path) -> None:
    child = f"""
import os, sys
from skerry.base.processes import end_with_parent
end_with_parent(int(sys.argv[1]))
{READY}
time.sleep(60)
"""
    code = f"""
import asyncio, os, sys, anyio
from pathlib import Path
from skerry.local.supervisor import Supervisor

async def main():
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, Path({str(tmp_path)!r}))
        command = [sys.executable, "-c", {child!r}, str(os.getpid())]
        one = await supervisor.start("one", command, ready_s_max=20)
        print(one.pid, flush=True)
        await anyio.sleep_forever()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert is_alive(pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    anyio.run(until, lambda: not is_alive(pid))


async def test_a_cancelled_group_lets_its_children_be_stopped_in_order(tmp_path: Path) -> None:
    """Ctrl-C cancels keepers and whoever stops their children alike: nothing is killed."""
    code = (
        "import os, signal, time\n"
        "def end(number, frame):\n"
        "    time.sleep(0.2)\n"
        f"    open({str(tmp_path / 'order')!r}, 'a').write(os.environ['WHO'])\n"
        "    raise SystemExit\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"{SLEEP}"
    )
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, tmp_path)
        try:
            for who in ("first", "then"):
                await supervisor.start(
                    who, python(code), ready_s_max=READY_S, environment={"WHO": who}
                )
            tasks.cancel_scope.cancel()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for who in ("first", "then"):
                    await supervisor.stop(who)
    assert (tmp_path / "order").read_text() == "firstthen"
