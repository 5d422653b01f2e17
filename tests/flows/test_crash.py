"""A local fleet that is killed, whole or in parts: nothing is left, and it goes on where it was."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from skerry.base.errors import Exit
from skerry.base.ports import free_ports
from skerry.client.operator import Operator
from skerry.learn.declaration import declare
from skerry.learn.importer import add_file
from skerry.local.control import SupervisorControl
from skerry.local.folder import LocalFolder
from skerry.local.up import operator_of
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.schema.api import StoredEvent
from skerry.schema.run_file import read_run_file
from skerry.serve.onnx_engine import OnnxModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SEED = 7
NODES = ("bergen/1", "oslo/1", "region-eu/1")
VICTIMS = ("oslo/1 worker", "bergen/1 agent", "region-eu region", "central")

FLEET = """\
apiVersion: skerry/v1
kind: Fleet
name: two
domain: two.example
goals: {latency_p95: 50 ms}
tiers:
  closet: {kind: edge, nodes: 1 x mini-pc, feed: 600 W, uplink: 50 Mbit/s}
  room: {kind: regional, nodes: 1 x mini-pc, feed: 600 W, uplink: 1 Gbit/s}
sites:
  - {name: oslo, tier: closet, region: region-eu, at: [59.91, 10.75], grid: NO}
  - {name: bergen, tier: closet, region: region-eu, at: [60.39, 5.32], grid: NO}
  - {name: region-eu, tier: room, at: [50.11, 8.68], grid: DE}
data:
  health: {stays: site}
models:
  - {name: double, version: v1, fallback: double-small, place: [closet, room], data: [health]}
  - {name: double-small, version: v1, place: [closet, room], data: [health]}
rollout:
  rings: [100 %]
  gate: {hold: 1 s, latency_p95: 500 ms, errors: 1 %, requests: 0}
  on_fail: revert
"""


@dataclass(slots=True)
class Home:
    """The folder of a fleet, and the logs of the commands that ran in it."""

    folder: LocalFolder
    starts: list[Path] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder.root

    def command(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start a command with its output in a log of its own, the last of `starts`."""
        log = self.root / f"run{len(self.starts)}.log"
        self.starts.append(log)
        with log.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "skerry", *words], cwd=self.root, stdout=file, stderr=file
            )

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run `up` until it is ready and as long as the block; kill -9 where it still runs."""
        up = self.command("up", "--json")
        log = self.starts[-1]
        try:
            wait_for(lambda: b'"ready"' in log.read_bytes(), log.read_text, 60)
            yield up
        finally:
            up.kill()
            up.wait()
            wait_for(lambda: not left(self.root), lambda: f"left: {left(self.root)}", 10)

    @property
    def central(self) -> Operator:
        return operator_of(
            self.folder, "two.example", read_run_file(self.folder.run_file).central_url
        )

    def identities(self) -> dict[str, tuple[str, bytes]]:
        """Return each node's name in its certificate and its lasting key."""
        found = {}
        for node in NODES:
            files = IdentityFiles(NodeFolder(self.folder.node(node)).identity)
            found[node] = (str(files.load().id), files.enrolment_key.read_bytes())
        return found

    def swaps(self) -> list[StoredEvent]:
        return self.central.events(kind="release.swapped")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A fleet folder with two versions of one model, of which the file names the first."""
    root = tmp_path_factory.mktemp("crash")
    (root / "fleet.yaml").write_text(FLEET)
    for name, version in (("double", 1), ("double-small", 1), ("double", 2)):
        add_model(root, name, version)
    return Home(LocalFolder(root).make())


def add_model(home: Path, name: str, version: int) -> None:
    """Add a model of four numbers, doubled."""
    import onnx
    from onnx import TensorProto, helper

    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        f"{name}-{version}",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, home / f"{name}.onnx")
    card = {"name": name, "version": version, "licence": "MIT", "source": "made here"}
    add_file(
        home / f"{name}.onnx",
        declare(card | {"data_class": "health"}),
        home / "models",
        load=lambda path: OnnxModel(path.name, path),
        lock_folder=home,
    )


def wait_for(true: Callable[[], bool], told: Callable[[], str], limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline_s, told()
        time.sleep(0.05)


def left(root: Path) -> dict[int, str]:
    """Return the processes whose words name a folder or that work in it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = os.readlink(process / "cwd")
        except OSError:
            continue  # it ended meanwhile
        if str(root) in words or Path(place).is_relative_to(root):
            found[int(process.name)] = words
    return found


def test_a_port_that_somebody_took_is_named_and_nothing_stays_behind(home: Home) -> None:
    """The fleet never came up yet; one port is chosen already, and taken."""
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        home.folder.ports.write_bytes(msgspec.json.encode({"oslo/1/http": port}))
        up = home.command("up")
        assert up.wait(timeout=30) == Exit.WRONG_USE
        told = home.starts[-1].read_text()
        assert f"port {port} of oslo/1/http is taken" in told
        assert "Traceback" not in told
    assert not left(home.root)


def test_a_killed_fleet_leaves_no_process_and_goes_on_from_its_state(home: Home) -> None:
    with home.running() as up:
        second = home.command("up")
        assert second.wait(timeout=30) == Exit.WRONG_USE
        assert f"in use by process {up.pid}" in home.starts[-1].read_text()
        assert len(left(home.root)) > 8
        assert up.poll() is None
        wait_for(lambda: len(home.swaps()) == len(NODES), lambda: str(home.swaps()), 15)
        before = home.identities()
        generation = home.central.status().generation
        swaps = [stored.n for stored in home.swaps()]

    with home.running():
        assert home.identities() == before
        assert home.central.status().generation == generation
        wait_for(
            lambda: all(n.in_sync and n.state == "ok" for n in home.central.status().nodes),
            lambda: shown(home),
            15,
        )
        started = len(NODES) * 2
        wait_for(
            lambda: len(home.central.events(kind="agent.started")) >= started,
            lambda: "the agents' second start did not reach central",
            15,
        )
        assert [stored.n for stored in home.swaps()] == swaps


def test_a_change_goes_through_while_every_kind_of_process_is_killed(home: Home) -> None:
    rng = random.Random(SEED)
    moments = sorted((rng.uniform(0.0, 3.0), name) for name in VICTIMS)
    file = home.root / "fleet.yaml"
    with home.running():
        file.write_text(file.read_text().replace("double, version: v1", "double, version: v2"))
        control = SupervisorControl(home.folder.control)
        apply = home.command("apply", "--yes", "--no-wait")
        assert apply.wait(timeout=40) == Exit.DONE, home.starts[-1].read_text()
        began_s = time.monotonic()
        for at_s, name in moments:
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            pid = control.pids()[name]
            assert pid > 0
            os.kill(pid, signal.SIGKILL)

        def in_sync() -> bool:
            try:
                status = home.central.status()
            except Exception:  # central is among those that were killed
                return False
            return status.generation == 2 and sorted(
                (node.node, node.in_sync, {m.name: m.version for m in node.observed.models})
                for node in status.nodes
                if node.observed is not None
            ) == [(node, True, {"double": 2, "double-small": 1}) for node in NODES]

        wait_for(in_sync, lambda: f"{moments}: {shown(home)}", 45)
        wait_for(lambda: home.central.rollout().phase == "done", lambda: shown(home), 30)


def shown(home: Home) -> str:
    try:
        return json.dumps(msgspec.to_builtins(home.central.status()), indent=1)
    except Exception as error:
        return repr(error)
