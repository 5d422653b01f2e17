"""The NATS server as a supervised child: started whole, watched, never orphaned.

    files -> start -> ports file -> /healthz 200 -> ready

The child gets a signal from the kernel when its parent dies, kill -9 included. The kernel
ties that to the *thread* that started it, so `start` must be called from a thread that lives
as long as the process: the main one, where the event loop runs. The state folder is locked,
because nats-server itself would let two servers write to one store.

Errors: ServerBinaryError, ServerStartError, ReloadNotAppliedError, FolderBusyError.
"""

import asyncio
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from skerry.base.files import FolderLock, private_folder, write_private
from skerry.base.ports import free_ports
from skerry.base.processes import end_with_parent
from skerry.spine.errors import ReloadNotAppliedError, ServerBinaryError, ServerStartError
from skerry.spine.nats_config import ServerConfig, render
from skerry.spine.nats_jwt import ServerKit

RELOAD_S_MAX = 5.0
BINARY_VARIABLE = "SKERRY_NATS_SERVER"
_POLL_S = 0.02
_ANSWER_S = 2.0
_LOG_TAIL_BYTES = 2048
_ANSWER_BYTES_MAX = 4 << 20


def server_binary() -> Path:
    """Find the program: `SKERRY_NATS_SERVER`, else beside this Python, else on PATH."""
    chosen = os.environ.get(BINARY_VARIABLE)
    if chosen is not None:
        if not os.access(chosen, os.X_OK):
            raise ServerBinaryError(f"{BINARY_VARIABLE}={chosen}")
        return Path(chosen)
    beside = Path(sys.executable).parent / "nats-server"
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise ServerBinaryError(f"{beside} and PATH")
    return Path(found)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago."""
    return free_ports(1, host)[0]


class NatsServer:
    """One nats-server child and its state folder."""

    def __init__(self, config: ServerConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._lock: FolderLock | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._monitor_port = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        running = self._child is not None and self._child.poll() is None
        return self._child.pid if running and self._child is not None else None

    @property
    def client_url(self) -> str:
        """Where clients connect."""
        return f"tls://{self._config.host}:{self._config.client_port}"

    @property
    def leaf_url(self) -> str:
        """Where regions' servers connect; empty if this server takes none."""
        port = self._config.leaf_port
        return "" if port is None else f"tls://{self._config.host}:{port}"

    async def start(self, *, deadline_s: float = 10.0) -> float:
        """Start the child and wait until it is healthy; returns the seconds that took."""
        began_s = time.monotonic()
        binary = server_binary()
        if self._lock is None:
            lock = FolderLock(self._folder)
            lock.__enter__()
            self._lock = lock  # held until `stop`, across restarts of the child
        try:
            self._write_files()
            self._child = self._spawn(binary)
            await self._wait_ready(began_s + deadline_s)
        except BaseException:
            await self.stop(deadline_s=1.0)
            raise
        return time.monotonic() - began_s

    def _write_files(self) -> None:
        private_folder(self._folder)
        for stale in self._folder.glob("*.ports"):
            stale.unlink(missing_ok=True)
        self._write_leaf_login()
        text = render(self._config, self._folder)
        write_private(self._folder / "nats.conf", text.encode())

    def _spawn(self, binary: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(binary), "-c", str(self._folder / "nats.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # it logs to its own file, bounded by its configuration
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us first; we stop the child in order
            preexec_fn=partial(end_with_parent, os.getpid()),
        )

    async def _wait_ready(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            if self.pid is None:
                code = self._child.returncode if self._child is not None else None
                raise ServerStartError(str(self._folder), f"ended with {code}", self.log_tail())
            if self._read_ports() and await self.healthy():
                return
            await asyncio.sleep(_POLL_S)
        raise ServerStartError(str(self._folder), "did not become healthy", self.log_tail())

    def _read_ports(self) -> bool:
        path = self._folder / f"nats-server_{self.pid}.ports"
        try:
            ports = msgspec.json.decode(path.read_bytes())
            self._monitor_port = int(ports["monitoring"][0].rpartition(":")[2])
        except (OSError, msgspec.DecodeError, KeyError, IndexError, ValueError):
            return False  # not there yet, or half written
        return True

    async def healthy(self) -> bool:
        """Ask `/healthz`, which also says whether every stream was recovered."""
        status, _ = await self._look("/healthz")
        return status == 200

    async def leafs(self) -> int:
        """Return how many leaf links are up."""
        return int((await self.figures("leafz")).get("leafnodes", 0))

    async def figures(self, page: str) -> dict[str, Any]:
        """Return a page of the server's own figures (`varz`, `connz`, `leafz`, `jsz`)."""
        status, body = await self._look(f"/{page}")
        return dict(msgspec.json.decode(body)) if status == 200 else {}

    async def _look(self, path: str) -> tuple[int, bytes]:
        if not self._monitor_port or self.pid is None:
            return 0, b""
        return await asyncio.to_thread(_get, self._monitor_port, path)

    def log_tail(self) -> str:
        """Return the last lines of the child's log, for people."""
        try:
            with (self._folder / "nats.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return " | ".join(line.strip() for line in lines[-3:])

    async def reload(self, *, deadline_s: float = RELOAD_S_MAX) -> None:
        """Make the child read its files again, and see that it has taken them.

        It keeps all that it had if anything is wrong with them, and says so in its log only:
        raises `ReloadNotAppliedError` then.
        """
        pid, until_s = self.pid, time.monotonic() + deadline_s
        if pid is None:
            return  # it reads them when it is started again
        before = await self._loaded_at()
        os.kill(pid, signal.SIGHUP)
        while not taken(before, await self._loaded_at()):
            if time.monotonic() > until_s:
                raise ReloadNotAppliedError(str(self._folder), self.log_tail())
            await asyncio.sleep(_POLL_S)

    async def _loaded_at(self) -> str:
        """Return when the child last took its files as a whole: it says so to the nanosecond."""
        return str((await self.figures("varz")).get("config_load_time", ""))

    def _write_leaf_login(self) -> None:
        leaf = self._config.kit.leaf
        if self._config.hub is not None and leaf is not None:
            write_private(self._folder / "leaf.creds", leaf.file_text().encode())

    def use_kit(self, kit: ServerKit) -> None:
        """Have the leaf dial with this kit's login from now on, and start with it the next time.

        The configuration stays until then: a running server refuses one with another operator
        as a whole, and with it a new certificate.
        """
        self._config = replace(self._config, kit=kit)
        self._write_leaf_login()

    def end(self) -> None:
        """Let the child end in order; whoever watches starts it again."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    async def watch(self) -> int:
        """Wait until the child ends, and return its exit status; then `start` it again."""
        while self._child is not None and self._child.poll() is None:
            await asyncio.sleep(0.25)
        return -1 if self._child is None else int(self._child.returncode)

    async def stop(self, *, deadline_s: float = 5.0) -> None:
        """End the child in order, or by force at the deadline, and free the folder."""
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            if not await _until(lambda: child.poll() is not None, deadline_s):
                child.kill()
                await _until(lambda: child.poll() is not None, deadline_s)
        self._child, self._monitor_port = None, 0
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None


def taken(before: str, after: str) -> bool:
    """Tell whether a server has taken its files since it last said when it did."""
    return bool(after) and after != before


async def _until(true: Callable[[], bool], deadline_s: float) -> bool:
    until_s = time.monotonic() + deadline_s
    while not true():
        if time.monotonic() >= until_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
