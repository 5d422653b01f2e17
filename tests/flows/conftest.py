"""A whole local fleet for the flows: made from an empty folder, started as people start it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FLEET = """\
apiVersion: skerry/v1
kind: Fleet
name: two
domain: two.example
goals: {latency_p95: 500 ms}
tiers:
  closet: {kind: edge, nodes: 1 x mini-pc, feed: 600 W, uplink: 50 Mbit/s}
  room: {kind: regional, nodes: 1 x mini-pc, feed: 600 W, uplink: 1 Gbit/s}
  cloud: {kind: cloud, nodes: 1 x cloud-vm-4}
sites:
  - {name: oslo, tier: closet, region: region-eu, at: [59.91, 10.75], grid: NO, nodes: 2}
  - {name: bergen, tier: closet, region: region-eu, at: [60.39, 5.32], grid: NO}
  - {name: region-eu, tier: room, at: [50.11, 8.68], grid: DE}
  - {name: cloud, tier: cloud, at: [53.34, -6.27], grid: IE}
data:
  health: {stays: site}
  internal: {stays: [NO, DE]}
  public: {stays: anywhere}
models:
  - {name: side, version: v1, place: [closet], data: [health]}
  - name: double
    version: v1
    fallback: double-small
    place: [closet, room, cloud]
    data: [health, internal, public]
  - name: double-small
    version: v1
    place: [closet, room, cloud]
    data: [health, internal, public]
rollout:
  rings: [100 %]
  gate: {hold: 1 s, latency_p95: 500 ms, errors: 1 %, requests: 1}
  on_fail: revert
"""
READY_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Home:
    """A fleet folder, and the commands that people give in it."""

    folder: Path

    def skerry(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run one command as a script would: without a terminal."""
        return subprocess.run(
            [sys.executable, "-m", "skerry", *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def done(self, *words: str) -> str:
        """Run a command that has to succeed; return what it printed."""
        ended = self.skerry(*words)
        assert ended.returncode == 0, f"{words} ended with {ended.returncode}\n{ended.stderr}"
        return ended.stdout

    def add_times(self, name: str, version: int, factor: float) -> None:
        """Add a model that multiplies rows of four numbers by `factor`."""
        from onnx import TensorProto, helper

        nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
        made = helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])
        rows = [helper.make_tensor_value_info(which, TensorProto.FLOAT, ["n", 4]) for which in "xy"]
        self._add(name, version, nodes, rows[:1], rows[1:], made)

    def add_side(self) -> None:
        """Add a model that takes a whole file: whether its first or last bytes weigh more."""
        import numpy as np
        from onnx import TensorProto, helper, numpy_helper

        weights = np.repeat(np.eye(2, dtype=np.float32), 32, axis=0)
        nodes = [
            helper.make_node("Cast", ["x"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["numbers", "weights"], ["y"]),
        ]
        labels = self.folder / "labels.txt"
        labels.write_text("first\nlast\n")
        self._add(
            "side",
            1,
            nodes,
            [helper.make_tensor_value_info("x", TensorProto.INT32, ["n", 64])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
            numpy_helper.from_array(weights, "weights"),
            *("--pre", "bytes_head_tail:head=32,tail=32", "--post", "argmax_label"),
            *("--labels", str(labels)),
        )

    def _add(
        self,
        name: str,
        version: int,
        nodes: list[Any],
        inputs: list[Any],
        outputs: list[Any],
        tensor: Any,
        *more: str,
    ) -> None:
        import onnx

        graph = onnx.helper.make_graph(nodes, name, inputs, outputs, [tensor])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
        model.ir_version = 9
        path = self.folder / f"{name}-{version}.onnx"
        onnx.save(model, path)
        stated = ("--licence", "MIT", "--source", "made here", "--data-class", "health")
        which = ("--name", name, "--version", str(version))
        self.done("model", "add", path.name, *which, *stated, *more)


WaitFor = Callable[..., None]


@pytest.fixture(scope="session")
def wait_for() -> WaitFor:
    """Return a function that waits for a condition, and says what did not come."""

    def wait(true: Callable[[], object], what: str, limit_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + limit_s
        while not true():
            assert time.monotonic() < deadline_s, f"{what} did not come in {limit_s:g} s"
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, wait_for: WaitFor) -> Iterator[Home]:
    """A running fleet: two edge sites, a region and a cloud, from one `skerry up`."""
    home = Home(tmp_path_factory.mktemp("two"))
    (home.folder / "fleet.yaml").write_text(FLEET)
    home.add_side()
    home.add_times("double", 1, 2.0)
    home.add_times("double-small", 1, 2.0)
    output = home.folder / "up.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "skerry", "up", "--json"],
            cwd=home.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(
            lambda: process.poll() is not None or b'"ready"' in output.read_bytes(),
            f"{output.read_text()}\nthe fleet",
            READY_S_MAX,
        )
        assert process.poll() is None, output.read_text()
        assert json.loads((home.folder / ".skerry/run.json").read_text())["nodes"]
        yield home
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
