"""A cloud endpoint and a site's, as processes: live requests are copied, answers compared."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from skerry.client import AsyncClient
from skerry.proof.agreement import Agreement, agreement
from skerry.schema.shadow import ShadowRule

REQUESTS = 10_000
AT_ONCE = 16
DIFFERS = 0.03
MAIN = "from skerry.cli.main import main; main()"
FREE = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--json")


def threshold(path: Path, at: float) -> None:
    """Two classes of x: the second from `at` on."""
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [1, 2], [-1.0, 1.0]),
        helper.make_tensor("b", TensorProto.FLOAT, [2], [at, -at]),
    ]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        initializer=weights,
    )
    path.parent.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(path),
    )


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[float], str]]:
    processes: list[subprocess.Popen[str]] = []

    def run(at: float) -> str:
        repository = tmp_path / f"models-{len(processes)}"
        threshold(repository / "classes" / "1" / "model.onnx", at)
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "serve", "--repository", str(repository), *FREE],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        processes.append(process)
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1]
        return f"http://127.0.0.1:{json.loads(''.join(lines))['http_port']}"

    yield run
    for process in processes:
        process.kill()
        process.communicate()


async def _run(cloud: str, site: str, folder: Path) -> tuple[list[int], Agreement]:
    """Send `REQUESTS`; return the classes that the caller got, and the agreement."""
    values = np.random.default_rng(7).uniform(size=REQUESTS).astype(np.float32)
    rule = ShadowRule(model="classes", to=site, share=0.25, seed=3)
    async with AsyncClient(cloud, shadow=rule, shadow_folder=folder) as client:
        answers = await client.infer_many(
            "classes", ({"x": np.array([[value]])} for value in values), concurrency=AT_ONCE
        )
        (record,) = await client.shadow_records()
    return [int(one.outputs["y"].argmax()) for one in answers], agreement(record)


@pytest.mark.slow
def test_ten_thousand_requests_and_a_candidate_that_differs_on_a_known_share(
    serve: Callable[[float], str], tmp_path: Path
) -> None:
    from skerry.cli.main import run

    cloud, site = serve(0.5), serve(0.5 + DIFFERS)
    classes, found = asyncio.run(_run(cloud, site, tmp_path / "shadow"))
    values = np.random.default_rng(7).uniform(size=REQUESTS).astype(np.float32)
    assert classes == (values > 0.5).astype(int).tolist(), "every caller got the cloud's answer"
    assert found.requests == REQUESTS
    assert 2300 < found.sampled < 2700
    assert found.compared == found.sampled - sum(found.not_compared.values())
    assert found.compared > 1000
    assert found.same is not None
    assert found.same.low <= 1 - DIFFERS <= found.same.high
    assert found.same.high < 1, "the difference was seen"
    assert found.latency_ms_median_difference is not None
    assert found.abs_difference_max == pytest.approx(DIFFERS, abs=1e-4)

    out = tmp_path / "report.json"
    assert run(["report", "shadow", str(tmp_path / "shadow"), "--out", str(out)]) == 0
    (row,) = json.loads(out.read_text())["shadows"]
    assert row["same"]["value"] == found.same.value


def test_the_report_says_what_was_found_and_what_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import msgspec

    from skerry.cli.main import run
    from skerry.route.shadow_files import write_record
    from skerry.schema.shadow import Paired, ShadowRecord

    rule = ShadowRule(model="m", candidate="new", to="oslo/1")
    record: Any = ShadowRecord(
        model="m",
        to="oslo/1",
        candidate="new",
        share=0.1,
        seed=0,
        requests=1000,
        sampled=100,
        compared=90,
        same=81,
        within=9,
        dropped=10,
        pairs=[Paired(1.0, 3.0)] * 90,
    )
    write_record(tmp_path, rule, msgspec.json.encode(record))
    assert run(["report", "shadow", str(tmp_path)]) == 0
    data, words = capsys.readouterr()
    assert "m      new        oslo/1        90  90.00% (82.08% to 94.65%)" in data
    assert "2.000 (2.000 to 2.000)" in data
    assert "10 of 100 not compared, queue full" in words
    assert run(["report", "shadow", str(tmp_path / "gone")]) == 3
    (tmp_path / "empty").mkdir()
    assert run(["report", "shadow", str(tmp_path / "empty"), "--json"]) == 0
