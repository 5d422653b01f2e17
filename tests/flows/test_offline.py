"""A site on its own: it answers, follows its rules and keeps its identity, and heals by itself.

One fleet for all of it, with certificates that live seconds where a real one's live an hour.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skerry.base.https import https_call
from skerry.client import Client
from skerry.client.answer import Answer
from skerry.learn.declaration import declare
from skerry.learn.importer import add_file
from skerry.local.control import SupervisorControl
from skerry.local.folder import LocalFolder
from skerry.local.up import operator_of
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles, issued_by_site
from skerry.node.signals import write_signals
from skerry.region.settings import RegionFolder, RegionSettings, write_settings
from skerry.schema.run_file import RunFile, read_run_file
from skerry.serve.onnx_engine import OnnxModel
from skerry.spine.link import LinkControl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LIFE_S = 8.0
"""How long a node's certificate from its region lives here."""
RULE_S_MAX = 2.0
HALVES = ("worker", "agent")

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
rules:
  - {when: power.source == ups, do: prefer double-small}
rollout:
  rings: [100 %]
  gate: {hold: 1 s, latency_p95: 500 ms, errors: 1 %, requests: 0}
  on_fail: revert
"""


@dataclass(frozen=True, slots=True)
class Running:
    """The fleet that runs, and hands on it. Its site `oslo` is the one that is left alone."""

    folder: LocalFolder
    log: Path

    @property
    def run(self) -> RunFile:
        return read_run_file(self.folder.run_file)

    @property
    def control(self) -> SupervisorControl:
        return SupervisorControl(self.folder.control)

    @property
    def links(self) -> LinkControl:
        return LinkControl(self.folder.links_control)

    @property
    def place(self) -> NodeFolder:
        return NodeFolder(self.folder.node("oslo/1"))

    @property
    def identity(self) -> IdentityFiles:
        return IdentityFiles(self.place.identity)

    def ask(self) -> Answer:
        """Have oslo's own node answer; nobody else is asked."""
        with Client(self.run.at_site("oslo")[0].http_url) as client:
            return client.infer("double", {"x": np.ones((1, 4), np.float32)}, deadline_s=2.0)

    def answers(self) -> bool:
        try:
            return self.ask().site == "oslo"
        except Exception:  # whatever is wrong now, the deadline of the caller decides
            return False

    def turn_links(self, state: Callable[[LinkControl, str], None]) -> int:
        names = [name for name in self.links.status() if name.startswith("oslo>")]
        for name in names:
            state(self.links, name)
        return len(names)

    def wait_for(self, true: Callable[[], bool], what: str, limit_s: float = 20.0) -> float:
        began_s = time.monotonic()
        while not true():
            if time.monotonic() > began_s + limit_s:
                logs = [self.log, *self.folder.logs.glob("oslo*.log")]
                told = "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in logs)
                raise AssertionError(f"{what} did not come in {limit_s:g} s\n{told}")
            time.sleep(0.05)
        return time.monotonic() - began_s


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A fleet that is up, with second-long certificates; it ends with the module."""
    home = tmp_path_factory.mktemp("offline")
    (home / "fleet.yaml").write_text(FLEET)
    for name in ("double", "double-small"):
        add_model(home, name)
    folder = LocalFolder(home).make()
    region = RegionFolder(folder.region("region-eu"))
    region.folder.mkdir(parents=True)
    wish = RegionSettings(
        fleet="two",
        domain="two.example",
        region="region-eu",
        central_url="",
        hub_url="",
        certificate_life_s=LIFE_S,
    )
    write_settings(region.settings, wish)  # `up` fills in the addresses and keeps the rest
    running = Running(folder, home / "up.log")
    with running.log.open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "skerry", "up", "--json"], cwd=home, stdout=log, stderr=log
        )
    try:
        running.wait_for(lambda: b'"ready"' in running.log.read_bytes(), "the fleet", 60)
        yield running
    finally:
        up.terminate()
        assert up.wait(timeout=40) == 0
    assert not list(home.glob(".skerry/nodes/*/worker.json")), "a worker was killed, not stopped"


def add_model(home: Path, name: str) -> None:
    """Add a model of four numbers, doubled."""
    import onnx
    from onnx import TensorProto, helper

    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, home / f"{name}.onnx")
    card = {"name": name, "version": 1, "licence": "MIT", "source": "made here"}
    add_file(
        home / f"{name}.onnx",
        declare(card | {"data_class": "health"}),
        home / "models",
        load=lambda path: OnnxModel(path.name, path),
        lock_folder=home,
    )


def test_a_site_whose_links_are_all_cut_answers_also_after_its_processes_died(
    fleet: Running,
) -> None:
    assert fleet.turn_links(LinkControl.cut) >= 2
    try:
        assert fleet.ask().served_by == "oslo/1"
        before = fleet.control.pids()
        fleet.control.kill("oslo/1 worker", "oslo/1 agent")

        def others() -> bool:
            now = fleet.control.pids()
            return all(
                now[f"oslo/1 {half}"] not in (0, before[f"oslo/1 {half}"]) for half in HALVES
            )

        fleet.wait_for(lambda: others() and fleet.answers(), "an answer from a new process")
    finally:
        fleet.turn_links(LinkControl.heal)


def test_a_site_that_starts_while_all_else_is_down_answers(fleet: Running) -> None:
    url = fleet.run.at_site("oslo")[0].http_url
    names = [name for name in fleet.control.pids() if name != "links"]
    fleet.control.hold(*names)
    try:
        with pytest.raises(OSError, match="refused"):
            HTTPConnection(url.removeprefix("http://"), timeout=1).connect()
        fleet.control.release("oslo/1 worker")
        fleet.wait_for(fleet.answers, "an answer from a cold start")
        alive = {name for name, pid in fleet.control.pids().items() if pid}
        assert alive == {"links", "oslo/1 worker"}
    finally:
        for name in names:
            fleet.control.release(name)


def test_a_rule_acts_within_two_seconds_and_ends_with_its_cause_all_offline(
    fleet: Running,
) -> None:
    fleet.turn_links(LinkControl.cut)
    try:
        fleet.wait_for(lambda: fleet.ask().fallback_reason is None, "the large model")
        write_signals(fleet.place.signals, {"power.source": "ups"})
        fleet.wait_for(lambda: fleet.ask().model == "double-small", "the stand-in", RULE_S_MAX)
        stood_in = fleet.ask()
        assert (stood_in.fallback_reason or "").startswith("rule:")
        assert stood_in.outputs["y"].tolist() == [[2.0] * 4]
        fleet.place.signals.unlink()
        fleet.wait_for(lambda: fleet.ask().model == "double", "the large model", RULE_S_MAX)
        assert fleet.ask().fallback_reason is None
    finally:
        fleet.turn_links(LinkControl.heal)


def test_a_cut_site_renews_alone_keeps_its_door_and_returns_to_its_region_unaided(
    fleet: Running,
) -> None:
    files = fleet.identity
    enrolled = files.enrolment_key.read_bytes()

    def from_region() -> bool:
        identity = files.load()
        return not issued_by_site(identity) and identity.ends_unix_s > time.time()

    fleet.wait_for(from_region, "a live certificate from the region", 40)
    first = files.load()
    assert first.ends_unix_s - first.starts_unix_s <= LIFE_S * 1.1 + 1
    fleet.wait_for(lambda: files.load().serial != first.serial, "a renewal before its end", LIFE_S)
    assert time.time() < first.ends_unix_s

    fleet.turn_links(LinkControl.cut)
    cut_s = time.monotonic()
    try:
        fleet.wait_for(lambda: issued_by_site(files.load()), "a certificate made alone", 20)
        alone = files.load()
        assert alone.id == first.id
        while time.monotonic() < cut_s + 2 * LIFE_S:
            assert fleet.answers()
            time.sleep(0.25)
        assert peer_door_says_ready(fleet) == alone.serial
        assert status_of(fleet) != "ok"
    finally:
        fleet.turn_links(LinkControl.heal)
    fleet.wait_for(from_region, "a renewal at the region", 40)
    fleet.wait_for(lambda: status_of(fleet) == "ok", "central's good word", 20)
    assert files.enrolment_key.read_bytes() == enrolled


def peer_door_says_ready(fleet: Running) -> int:
    """Call the node's peer door as a node of its site; returns the serial that the door shows."""
    node, files = fleet.run.at_site("oslo")[0], fleet.identity
    host, tls = files.load().id.host, files.client_tls()
    reply = https_call("GET", node.peer_url, "/v2/health/ready", tls=tls, name=host)
    assert reply.status == 200
    address = ("127.0.0.1", int(node.peer_url.rpartition(":")[2]))
    with (
        socket.create_connection(address, timeout=5) as plain,
        tls.wrap_socket(plain, server_hostname=host) as secure,
    ):
        shown = secure.getpeercert()
    assert shown is not None
    return int(str(shown["serialNumber"]), 16)


def status_of(fleet: Running) -> str:
    """Return what central says of oslo's node now."""
    central = operator_of(fleet.folder, "two.example", fleet.run.central_url)
    seen: dict[str, Any] = {node.node: node for node in central.status().nodes}
    return str(seen["oslo/1"].state.value)
