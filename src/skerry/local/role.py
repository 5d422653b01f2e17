"""One node of a real fleet on this machine: worker and agent side by side, kept running."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import anyio

from skerry.local.supervisor import Supervisor
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.locked import is_locked
from skerry.node.settings import read_settings

READY_S_MAX = 60.0
HALVES = ("worker", "agent")


async def run_node(state: Path, say: Callable[[str], None]) -> None:
    """Run a joined node until cancelled. Raises `NotJoinedError`, `SettingsError`, `ChildError`."""
    folder = NodeFolder(state)
    settings = read_settings(folder.settings)
    if not is_locked(folder):
        IdentityFiles(folder.identity).load()
    async with anyio.create_task_group() as tasks:
        supervisor = Supervisor(tasks, state / "logs")
        try:
            for half in HALVES:
                command = [sys.executable, "-m", "skerry.node", half, "--state", str(state)]
                command += ["--with-parent", str(os.getpid())]
                child = await supervisor.start(half, command, ready_s_max=READY_S_MAX)
                ports = {k: v for k, v in child.ready.items() if k.endswith("_port")}
                say(f"{settings.node} {half} is ready {ports or ''}".rstrip())
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await supervisor.stop(*supervisor.children)
