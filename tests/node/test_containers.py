"""Model runtimes in containers: what the engine is told, and what becomes of each."""

import http.client
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.node.container_arguments import Runtime, manifests, run_arguments
from skerry.node.containers import Containers, runtime_of
from skerry.node.errors import ContainerError
from skerry.schema.upstream import decode_upstream

DIGEST = "sha256:" + "ab" * 32
IMAGE = f"nvcr.io/nvidia/tritonserver@{DIGEST}"


def document(**container: Any) -> bytes:
    return msgspec.json.encode(
        {
            "schema": "skerry.upstream/1",
            "kind": "oip",
            "url": "http://127.0.0.1",
            "ready_within_s": 5,
            "container": {"image": IMAGE, "port": 8000, **container},
        }
    )


def place(root: Path, model: str = "resnet", version: int = 3, **container: Any) -> Path:
    folder = root / model / str(version)
    folder.mkdir(parents=True)
    (folder / "upstream.json").write_bytes(document(**container))
    return folder


def runtime(folder: Path = Path("/srv/models/resnet/3"), **container: Any) -> Runtime:
    settings = decode_upstream(document(**container))
    assert settings.container is not None
    return Runtime(
        node="oslo/1",
        model="resnet",
        version=3,
        folder=folder,
        settings=settings,
        container=settings.container,
    )


# What the engine is told.


def test_the_arguments_of_podman_are_these() -> None:
    spec = {"args": ["tritonserver", "--model-repository=/models"], "env": {"A": "b c"}}
    assert run_arguments(runtime(**spec), 20123, engine="podman", user="1000:1000") == [
        "run",
        "--detach",
        "--name=skerry-oslo-1-resnet-3",
        "--label=skerry.node=oslo/1",
        "--label=skerry.model=resnet",
        "--label=skerry.version=3",
        f"--label=skerry.spec={runtime(**spec).digest}",
        "--pull=missing",
        "--restart=no",
        "--init",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--pids-limit=4096",
        "--publish=127.0.0.1:20123:8000/tcp",
        "--mount=type=bind,source=/srv/models/resnet/3,target=/models,readonly",
        "--cpus=1",
        "--memory=2147483648b",
        "--shm-size=67108864b",
        "--stop-timeout=30",
        "--tmpfs=/tmp",
        "--read-only",
        "--env=DO_NOT_TRACK=1",
        "--env=HF_HUB_DISABLE_TELEMETRY=1",
        "--env=HF_HUB_OFFLINE=1",
        "--env=VLLM_NO_USAGE_STATS=1",
        "--env=HOME=/tmp",
        "--env=A=b c",
        IMAGE,
        "tritonserver",
        "--model-repository=/models",
    ]


def test_engines_differ_in_gpus_and_in_who_root_is() -> None:
    gpus = runtime(gpus="0,1", writable=True)
    podman = run_arguments(gpus, 20123, engine="podman", user="7:7")
    assert [one for one in podman if one.startswith(("--device", "--gpus", "--user"))] == [
        "--device=nvidia.com/gpu=0",
        "--device=nvidia.com/gpu=1",
    ]
    assert "--read-only" not in podman
    docker = run_arguments(gpus, 20123, engine="docker", user="7:7")
    assert [one for one in docker if one.startswith(("--device", "--gpus", "--user"))] == [
        "--user=7:7",
        '--gpus="device=0,1"',
    ]
    all_gpus = run_arguments(runtime(gpus="all"), 20123, engine="docker", user="7:7")
    assert "--gpus=all" in all_gpus


@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_no_runtime_gets_the_host(engine: str) -> None:
    arguments = run_arguments(runtime(gpus="all"), 20123, engine=engine, user="7:7")
    text = " ".join(arguments)
    for never in ("--privileged", "--network=host", "--net=host", "--pid=host", "0.0.0.0"):
        assert never not in text


@pytest.mark.parametrize(
    ("container", "why"),
    [
        ({"image": "nvcr.io/nvidia/tritonserver:24.05"}, "sha256"),
        ({"image": f"--privileged@{DIGEST}"}, "sha256"),
        ({"port": 0}, "port"),
        ({"gpus": "0 --privileged"}, "gpus"),
        ({"mount": "models"}, "mount"),
        ({"env": {"A\n": "b"}}, "env"),
        ({"memory_bytes": 1}, "memory_bytes"),
        ({"privileged": True}, "privileged"),
    ],
)
def test_what_may_not_be_asked_for_is_refused_by_name(container: dict[str, Any], why: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=why):
        decode_upstream(document(**container))


def test_the_manifests_of_a_cluster_are_these() -> None:
    found = manifests(runtime(args=["serve"], gpus="0,1"), namespace="edge")
    golden = Path(__file__).parent / "runtime_manifests.json"
    text = json.dumps(found, indent=2) + "\n"
    assert text == golden.read_text()


# What becomes of them, with an engine that is a script and servers that are real.


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of a fake `podman`, which is the only engine in the path."""
    home, bin_ = tmp_path / "engine", tmp_path / "bin"
    home.mkdir()
    bin_.mkdir()
    script = bin_ / "podman"
    fake = Path(__file__).parent / "fake_engine.py"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_ENGINE_HOME", str(home))
    yield home
    for path in home.glob("*.json"):
        try:
            os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
        except ProcessLookupError:
            pass


def containers(tmp_path: Path) -> Containers:
    return Containers("oslo/1", tmp_path / "containers.json", engines=("podman",))


def ports(tmp_path: Path) -> dict[str, int]:
    return json.loads((tmp_path / "containers.json").read_text())


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def names(engine: Path) -> list[str]:
    return sorted(path.stem for path in engine.glob("*.json"))


def test_the_new_one_runs_beside_the_old_until_the_swap(engine: Path, tmp_path: Path) -> None:
    ours = containers(tmp_path)
    ours.start("resnet", 3, place(tmp_path, version=3))
    ours.start("resnet", 4, place(tmp_path, version=4))
    both = ports(tmp_path)
    assert answers(both["resnet/3"])
    assert answers(both["resnet/4"])
    ours.keep_only({"resnet": 4})
    assert names(engine) == ["skerry-oslo-1-resnet-4"]
    assert not answers(both["resnet/3"])
    assert ports(tmp_path) == {"resnet/4": both["resnet/4"]}
    ours.keep_only({})
    assert names(engine) == []


def test_an_agent_that_starts_again_finds_its_own(engine: Path, tmp_path: Path) -> None:
    folder = place(tmp_path)
    containers(tmp_path).start("resnet", 3, folder)
    port = ports(tmp_path)["resnet/3"]
    again = containers(tmp_path)
    assert not again.died("resnet", 3, folder)
    again.start("resnet", 3, folder)
    assert ports(tmp_path) == {"resnet/3": port}
    calls = (engine / "calls").read_text()
    assert calls.count('"run"') == 1


def test_one_that_died_is_started_anew_at_its_port(engine: Path, tmp_path: Path) -> None:
    folder, ours = place(tmp_path), containers(tmp_path)
    ours.start("resnet", 3, folder)
    port = ports(tmp_path)["resnet/3"]
    (path,) = engine.glob("*.json")
    os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
    while answers(port):
        pass
    assert ours.died("resnet", 3, folder)
    ours.start("resnet", 3, folder)
    assert ports(tmp_path)["resnet/3"] == port
    assert answers(port)


def test_one_that_is_never_ready_is_removed_and_told(engine: Path, tmp_path: Path) -> None:
    ours = Containers("oslo/1", tmp_path / "containers.json", engines=("podman",))
    folder = place(tmp_path, args=["never-ready"])
    text = (
        (folder / "upstream.json").read_text().replace('"ready_within_s":5', '"ready_within_s":2.5')
    )
    (folder / "upstream.json").write_text(text)
    with pytest.raises(ContainerError, match="it answered 503"):
        ours.start("resnet", 3, folder)
    assert names(engine) == []
    assert ports(tmp_path) == {}


def test_one_that_ends_at_once_is_told_at_once(engine: Path, tmp_path: Path) -> None:
    """An argument that its server does not know, for example."""
    folder = place(tmp_path)
    ours = containers(tmp_path)
    (engine / "refuses").touch()
    with pytest.raises(ContainerError, match="podman run: Error: no such image"):
        ours.start("resnet", 3, folder)
    assert names(engine) == []


def test_without_an_engine_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ours = Containers("oslo/1", tmp_path / "containers.json")
    with pytest.raises(ContainerError, match=r"podman, docker is in its path") as caught:
        ours.start("resnet", 3, place(tmp_path))
    assert "run-a-container-runtime" in caught.value.hint


def test_a_node_without_containers_needs_no_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ours = Containers("oslo/1", tmp_path / "containers.json")
    folder = tmp_path / "plain" / "1"
    folder.mkdir(parents=True)
    assert runtime_of("oslo/1", "plain", 1, folder) is None
    ours.start("plain", 1, folder)
    assert not ours.died("plain", 1, folder)
    ours.keep_only({"plain": 1})
