"""`skerry serve` as a process: prints where it listens, serves, drains, ends with 0."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def skerry() -> Iterator[Run]:
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from skerry.cli.main import main; main()", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


FREE = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")


def read_document(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or lines[-1] != "}\n":
        line = process.stdout.readline()
        assert line, process.communicate()
        lines.append(line)
    return json.loads("".join(lines))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_with_0(
    skerry: Run, repository: Path, number: signal.Signals
) -> None:
    process = skerry("serve", "--repository", str(repository), *FREE, "--json")
    document = read_document(process)
    assert document["schema"] == "skerry.cli.serve/1"
    assert {row["name"] for row in document["models"]} == {"double", "types"}
    assert document["grpc_port"] > 0
    url = f"http://127.0.0.1:{document['http_port']}/v2/health/ready"
    assert urllib.request.urlopen(url, timeout=5).status == 200
    url = f"http://127.0.0.1:{document['metrics_port']}/metrics"
    assert b"skerry_ready 1" in urllib.request.urlopen(url, timeout=5).read()
    process.send_signal(number)
    _, words = process.communicate(timeout=20)
    assert process.returncode == 0, words


def test_a_port_in_use_ends_with_2_and_names_it(
    skerry: Run, repository: Path, busy_port: int
) -> None:
    for option in ("--http-port", "--grpc-port", "--metrics-port"):
        process = skerry("serve", "--repository", str(repository), *FREE, option, str(busy_port))
        data, words = process.communicate(timeout=20)
        assert process.returncode == 2
        assert f"error[E0410]: cannot listen on 127.0.0.1:{busy_port}: in use" in words
        assert f"{option} (0 takes any free port)" in words
        assert data == ""


def test_a_repository_that_is_not_there_ends_with_2(skerry: Run, tmp_path: Path) -> None:
    process = skerry("serve", "--repository", str(tmp_path / "gone"), *FREE)
    _, words = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "there is no such folder" in words
    assert "<repository>/<model>/<version>/model.onnx" in words


def test_one_stands_before_another_and_follows_its_life(
    skerry: Run, repository: Path, tmp_path: Path
) -> None:
    """Two real processes: a skerry whose model is run by a skerry."""
    behind = skerry("serve", "--repository", str(repository), *FREE, "--json")
    port = read_document(behind)["http_port"]
    place = tmp_path / "front" / "ours" / "1"
    place.mkdir(parents=True)
    upstream = {"schema": "skerry.upstream/1", "kind": "oip", "ready_every_s": 0.1}
    upstream |= {"url": f"http://127.0.0.1:{port}", "model": "double"}
    (place / "upstream.json").write_text(json.dumps(upstream))
    front = skerry("serve", "--repository", str(tmp_path / "front"), *FREE, "--json")
    document = read_document(front)
    assert [row["state"] for row in document["models"]] == ["READY"]
    url = f"http://127.0.0.1:{document['http_port']}/v2/models/ours/infer"
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    asked = urllib.request.Request(url, json.dumps({"inputs": [tensor]}).encode())
    answer = json.loads(urllib.request.urlopen(asked, timeout=5).read())
    assert answer["outputs"][0]["data"] == [2, 4, 6, 8]
    behind.send_signal(signal.SIGTERM)
    behind.communicate(timeout=20)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked, timeout=5)
    assert caught.value.code == 503
    assert json.loads(caught.value.read())["code"] == "E0460"


def loaded_by(code: str) -> set[str]:
    """Return the modules that a process has once it ran some lines."""
    lines = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_server_loads_only_what_every_request_needs() -> None:
    server = loaded_by(
        "from skerry.cli.serve_run import make_server\n"
        "from skerry.serve.settings import ServeSettings\n"
        "make_server(ServeSettings(repository='x'))"
    )
    assert {"onnxruntime", "skerry.learn.explainer"} <= server
    costly = {"grpc", "cryptography", "PIL", "sklearn", "google.protobuf.json_format"}
    assert server & {*costly, "skerry.learn.explanations", "skerry.learn.attribution"} == set()


def test_the_parent_of_workers_loads_nothing_that_runs_models() -> None:
    parent = loaded_by("import skerry.cli.serve_run, skerry.serve.workers")
    assert (
        parent & {"onnxruntime", "google", "grpc", "numpy", "uvloop", "skerry.serve.server"}
        == set()
    )
