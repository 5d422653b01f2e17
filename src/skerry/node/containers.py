"""Model runtimes in containers: started, health-gated, watched and stopped by the agent.

A version whose `upstream.json` names a container gets it before the worker is told to load
it: the new one runs beside the old until the worker has swapped, then the old one ends. An
agent that starts again finds its own by their labels; one that died is started anew. Which
loopback port each has is kept in `containers.json`, where the worker reads it.

Blocking, like all of the agent's hands. Units: seconds.
Errors:  ContainerError.
"""

import contextlib
import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.base.files import write_private
from skerry.base.ports import free_ports
from skerry.node.container_arguments import (
    LABEL,
    Runtime,
    inspect_arguments,
    list_arguments,
    remove_arguments,
    run_arguments,
    stop_arguments,
)
from skerry.node.errors import ContainerError
from skerry.schema.upstream import UPSTREAM_FILE, decode_upstream

ENGINES = ("podman", "docker")
COMMAND_S_MAX = 30.0
START_S_MAX = 1800.0
"""A first start pulls the image, which may be many gigabytes."""
STOP_S_MAX = 3700.0
LOOK_S = 0.25
PROBE_S_MAX = 2.0
_RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One of this node's containers, as the engine tells it."""

    id: str
    running: bool
    key: str
    spec: str


def runtime_of(node: str, model: str, version: int, folder: Path) -> Runtime | None:
    """Read a version's folder; None where its runtime is in no container."""
    path = folder / UPSTREAM_FILE
    try:
        settings = decode_upstream(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContainerError(str(path), str(error)) from error
    if settings.container is None:
        return None
    return Runtime(
        node=node,
        model=model,
        version=version,
        folder=folder.resolve(),
        settings=settings,
        container=settings.container,
    )


class Containers:
    """The containers of one node."""

    def __init__(
        self,
        node: str,
        ports: Path,
        *,
        engines: Collection[str] = ENGINES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._node, self._ports_file = node, ports
        self._engines, self._sleep = engines, sleep

    def start(self, model: str, version: int, folder: Path) -> None:
        """Have a version's container run and be ready; nothing to do where it has none."""
        runtime = runtime_of(self._node, model, version, folder)
        if runtime is None:
            return
        if "," in str(runtime.folder):
            raise ContainerError(str(runtime.folder), "a comma in its path cannot be mounted")
        running = False
        for one in self._found():
            if one.key != runtime.key:
                continue
            if one.running and one.spec == runtime.digest:
                running = True
            else:  # it died, or was started another way
                self._engine(remove_arguments(one.id))
        ports = self._ports()
        if not running:
            # The port of before, so that a worker which knows it need not be told.
            port = ports.setdefault(runtime.key, free_ports(1)[0])
            engine = Path(self._program()).name
            user = f"{os.getuid()}:{os.getgid()}"
            try:
                self._engine(
                    run_arguments(runtime, port, engine=engine, user=user), seconds=START_S_MAX
                )
            except ContainerError:
                self._stop(runtime.key)  # the port may be why: the next try takes another
                raise
            self._keep(ports)
        try:
            self._wait_ready(runtime, ports.get(runtime.key, 0))
        except ContainerError:
            if not running:  # what ran before is the worker's to judge: it has a breaker
                self._stop(runtime.key)
            raise

    def died(self, model: str, version: int, folder: Path) -> bool:
        """Say whether a version should have a container that runs, and has none."""
        runtime = runtime_of(self._node, model, version, folder)
        if runtime is None:
            return False
        return not any(one.key == runtime.key and one.running for one in self._found())

    def keep_only(self, versions: dict[str, int]) -> None:
        """Stop and remove those of every other version, once nobody asks them any more."""
        wanted = {f"{model}/{version}" for model, version in versions.items()}
        others = set(self._ports()) - wanted
        if not others and not self._ports_file.exists():
            return  # this node never had any, and may well have no engine
        for key in sorted({one.key for one in self._found()} - wanted | others):
            self._stop(key)

    def _stop(self, key: str) -> None:
        for one in self._found():
            if one.key == key:
                if one.running:
                    self._engine(stop_arguments(one.id), seconds=STOP_S_MAX)
                self._engine(remove_arguments(one.id))
        ports = self._ports()
        if ports.pop(key, None) is not None:
            self._keep(ports)

    def _found(self) -> list[Found]:
        ids = self._engine(list_arguments(self._node)).split()
        if not ids:
            return []
        rows = self._engine(inspect_arguments(ids)).splitlines()
        found = []
        for row in rows:
            container_id, _, rest = row.strip().partition(" ")
            status, _, text = rest.partition(" ")
            labels = msgspec.json.decode(text or "{}", type=dict[str, str])
            key = f"{labels.get(f'{LABEL}.model', '')}/{labels.get(f'{LABEL}.version', '')}"
            spec = labels.get(f"{LABEL}.spec", "")
            found.append(Found(id=container_id, running=status == _RUNNING, key=key, spec=spec))
        return found

    def _wait_ready(self, runtime: Runtime, port: int) -> None:
        path = runtime.settings.ready_at(runtime.model)
        end_s = time.monotonic() + runtime.settings.ready_within_s
        why = "no answer"
        while time.monotonic() < end_s:
            try:
                why = _look(port, path)
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            if not why:
                return
            if not any(one.key == runtime.key and one.running for one in self._found()):
                why = "it ended by itself; its engine's logs say why"
                break
            self._sleep(LOOK_S)
        raise ContainerError(f"{runtime.name} is not ready at {path}", why)

    def _program(self) -> str:
        for name in self._engines:
            path = shutil.which(name)
            if path is not None:
                return path
        raise ContainerError(
            f"this model runs in a container, and node {self._node} has no engine",
            f"none of {', '.join(self._engines)} is in its path",
        )

    def _engine(self, arguments: list[str], *, seconds: float = COMMAND_S_MAX) -> str:
        program = self._program()
        what = f"{Path(program).name} {arguments[0]}"
        try:
            done = subprocess.run(
                [program, *arguments], capture_output=True, text=True, timeout=seconds, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ContainerError(what, str(error)) from error
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise ContainerError(what, said[-1][:400] if said else f"ended {done.returncode}")
        return done.stdout

    def _ports(self) -> dict[str, int]:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._ports_file.read_bytes(), type=dict[str, int])
        return {}

    def _keep(self, ports: dict[str, int]) -> None:
        write_private(self._ports_file, msgspec.json.encode(ports))


def _look(port: int, path: str) -> str:
    """Return why a server is not ready; empty if it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_S_MAX)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    finally:
        connection.close()
    return "" if 200 <= status < 300 else f"it answered {status}"
