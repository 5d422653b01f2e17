"""A fleet of real machines, here on one: founded, started role by role, joined by ticket,
and upgraded process by process from an older version."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.schema.context import read_context, write_context

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CENTRAL, REGION = "founding/central", "founding/regions/region-eu"

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
  - {name: region-eu, tier: room, at: [50.11, 8.68], grid: DE}
data:
  health: {stays: site}
models:
  - {name: double, version: v1, place: [closet, room], data: [health]}
rollout:
  rings: [100 %]
  gate: {hold: 1 s, latency_p95: 500 ms, errors: 1 %, requests: 1}
  on_fail: revert
"""


ROOT = Path(__file__).parents[2]
NEW = ROOT / "src"
OLDER = "d224781c7c5fbe5f8d6d7d5c4d79a71b58870963"
"""The oldest version that a fleet may be upgraded from."""


def skerry(*words: str, folder: Path, source: Path = NEW) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "skerry", *words],
        cwd=folder,
        env=environment(source),
        capture_output=True,
        text=True,
        timeout=120,
    )


def environment(source: Path) -> dict[str, str]:
    """Return what makes a process run one version's source, whatever is installed."""
    return {**os.environ, "PYTHONPATH": str(source)}


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def rewrite(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A fleet folder with one model of four numbers, doubled."""
    import onnx
    from onnx import TensorProto, helper

    (tmp_path / "fleet.yaml").write_text(FLEET)
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, tmp_path / "double.onnx")
    added = skerry(
        *("model", "add", "double.onnx", "--name", "double", "--licence", "MIT"),
        *("--source", "made here", "--summary", "doubles", "--data-class", "health"),
        folder=tmp_path,
    )
    assert added.returncode == 0, added.stderr
    return tmp_path


class Roles:
    """Starts roles as processes of one version or another, and ends them with the test."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str, state: str, source: Path = NEW) -> None:
        log = self._home / f"{Path(state).name}.log"
        with log.open("wb") as sink:
            self._running[state] = subprocess.Popen(
                [sys.executable, "-m", "skerry", "up", "--role", role, "--state", state],
                cwd=self._home,
                env=environment(source),
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        wanted = 2 if role == "node" else 1  # a node is ready twice: worker and agent
        wait_for(lambda: log.read_bytes().count(b"ready") >= wanted, role, self._home)

    def stop(self, state: str) -> None:
        process = self._running.pop(state)
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)

    def replace(self, role: str, state: str, source: Path) -> None:
        """Do what an upgrade does on one machine: the new program on the same state."""
        self.stop(state)
        self.start(role, state, source)

    def end(self) -> None:
        for state in reversed(list(self._running)):
            self.stop(state)


@pytest.fixture
def roles(home: Path) -> Iterator[Roles]:
    made = Roles(home)
    yield made
    made.end()


def wait_for(true: Any, what: str, home: Path, limit_s: float = 40.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not true():
        logs = "\n".join(path.read_text() for path in home.glob("*.log"))
        assert time.monotonic() < deadline_s, f"{what} did not come\n{logs}"
        time.sleep(0.1)


def found(home: Path, roles: Roles, source: Path = NEW) -> None:
    """Make the keys, start central and the region, let two nodes in (not started yet)."""
    made = skerry("trust", "init", "--central-address", "127.0.0.1", folder=home, source=source)
    assert made.returncode == 0, made.stderr
    central_api, central_nats, leaf, region_api, region_nats = free_ports(5)
    founding = home / "founding"
    rewrite(
        founding / "central/central.json",
        api_port=central_api,
        nats_port=central_nats,
        leaf_port=leaf,
    )
    rewrite(
        founding / "regions/region-eu/region.json",
        api_port=region_api,
        nats_port=region_nats,
        advertise="127.0.0.1",
        central_url=f"https://127.0.0.1:{central_api}",
        hub_url=f"tls://127.0.0.1:{leaf}",
    )
    assert read_context(home) is not None
    rewrite(
        home / ".skerry/context.json",
        central_url=f"https://127.0.0.1:{central_api}",
        region_urls={"region-eu": f"https://127.0.0.1:{region_api}"},
    )
    roles.start("central", CENTRAL, source)
    roles.start("region", REGION, source)
    for node, state in (("region-eu/1", "room"), ("oslo/1", "node")):
        assert skerry("trust", "ticket", node, folder=home, source=source).returncode == 0
        joined = skerry(
            "join", "--ticket", "ticket.json", "--state", state, folder=home, source=source
        )
        assert joined.returncode == 0, joined.stderr


def test_a_fleet_is_founded_started_joined_and_changed_with_commands_alone(
    home: Path, roles: Roles
) -> None:
    found(home, roles)
    again = skerry("join", "--ticket", "ticket.json", "--state", "thief", folder=home)
    assert again.returncode == 6
    assert "used" in again.stderr
    roles.start("node", "room")
    roles.start("node", "node")

    applied = skerry("apply", "--yes", "--timeout", "60", folder=home)
    assert applied.returncode == 0, applied.stderr
    ask(home)

    def counted() -> bool:
        shown = json.loads(skerry("status", "--json", folder=home).stdout)
        return any(g["measured"] for g in shown["goals"]) and shown["status"]["marker"] == ""

    wait_for(counted, "the count of one request at central", home)
    cut_off_take_back_and_remove(home)


def cut_off_take_back_and_remove(home: Path) -> None:
    def nodes() -> dict[str, Any]:
        shown = json.loads(skerry("status", "--json", folder=home).stdout)
        return {one["node"]: one for one in shown["status"]["nodes"]}

    def trust(*words: str) -> "subprocess.CompletedProcess[str]":
        return skerry("trust", *words, "--reason", "a drill", folder=home)

    assert trust("ban", "oslo/1").returncode == 0
    wait_for(lambda: nodes()["oslo/1"]["banned"], "the ban at central", home)
    assert trust("lift", "oslo/1").returncode == 0
    wait_for(lambda: not nodes()["oslo/1"]["banned"], "the end of the ban at central", home)
    early = trust("remove", "oslo")
    assert early.returncode == 2
    assert "take it out of fleet.yaml" in early.stderr
    file = home / "fleet.yaml"
    lines = [line for line in file.read_text().splitlines() if "name: oslo" not in line]
    text = "\n".join(lines).replace("place: [closet, room]", "place: [room]")
    file.write_text(text.replace("requests: 1", "requests: 0") + "\n")  # nobody asks meanwhile
    sent = skerry("apply", "--yes", "--timeout", "60", folder=home)
    assert sent.returncode == 0, sent.stderr
    removed = trust("remove", "oslo")
    assert removed.returncode == 0, removed.stderr
    wait_for(lambda: set(nodes()) == {"region-eu/1"}, "the end of oslo at central", home)
    busy = skerry("leave", "--state", "node", "--yes", folder=home)
    assert busy.returncode == 2
    assert "is in use by process" in busy.stderr


def ask(home: Path) -> None:
    """Ask the node at the site, and see that it was the one to answer."""
    import numpy as np

    np.save(home / "x.npy", np.ones((1, 4), np.float32))
    worker = json.loads((home / "node/worker.json").read_text())
    url = f"http://127.0.0.1:{worker['http_port']}"
    answer = skerry("infer", "double", "--url", url, "--input", "x.npy", folder=home)
    assert answer.returncode == 0, answer.stderr
    assert "served by oslo/1" in answer.stderr


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of an older version, out of the history that a clone carries."""
    folder = tmp_path_factory.mktemp("older")
    made = subprocess.run(
        ["git", "-C", str(ROOT), "archive", OLDER, "src"], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs the git history")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=made.stdout, check=True)
    source = folder / "src"
    asked = [sys.executable, "-c", "import skerry; print(skerry.__file__)"]
    ran = subprocess.run(asked, env=environment(source), capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()).is_relative_to(source)  # and not what is installed
    return source


def test_a_fleet_is_upgraded_process_by_process_and_changed_after_each(
    home: Path, roles: Roles, older: Path
) -> None:
    """Nodes, then the region, then central, then the machine of the person who signs."""
    found(home, roles, older)
    roles.start("node", "room", older)
    roles.start("node", "node", older)
    change(home, 500, older)
    order = (("node", "room"), ("node", "node"), ("region", REGION), ("central", CENTRAL))
    for step, (role, state) in enumerate(order, start=501):
        roles.replace(role, state, NEW)
        change(home, step, older)
    change(home, 600, NEW)


def change(home: Path, limit_ms: int, source: Path) -> None:
    """Send a change with one version's command, and see both nodes take it and one answer."""
    file = home / "fleet.yaml"
    text = re.sub(
        r"latency_p95: \d+ ms, errors", f"latency_p95: {limit_ms} ms, errors", file.read_text()
    )
    file.write_text(text.replace("requests: 1}", "requests: 0}"))
    sent = skerry("apply", "--yes", "--timeout", "60", folder=home, source=source)
    assert sent.returncode == 0, sent.stderr
    ask(home)
    shown = json.loads(skerry("status", "--json", folder=home, source=source).stdout)
    nodes = {one["node"]: one for one in shown["status"]["nodes"]}
    assert set(nodes) == {"oslo/1", "region-eu/1"}
    assert all(one["in_sync"] for one in nodes.values()), nodes


def test_a_context_reads_back_as_written_and_is_private(home: Path) -> None:
    assert skerry("trust", "init", folder=home).returncode == 0
    context = read_context(home)
    assert context is not None
    write_context(home, context)
    assert read_context(home) == context
    assert (home / ".skerry/context.json").stat().st_mode & 0o777 == 0o600
