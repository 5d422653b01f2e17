"""`skerry model runtime`: an upstream becomes a version; a container becomes manifests."""

import json
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from skerry.cli.model_runtime import runtime
from skerry.schema.model import Card, Manifest
from skerry.schema.openai import INPUTS

IMAGE = "docker.io/vllm/vllm-openai@sha256:" + "ab" * 32


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    document = {
        "schema": "skerry.upstream/1",
        "kind": "openai",
        "url": "http://127.0.0.1/v1",
        "container": {"image": IMAGE, "port": 8000},
        **changes,
    }
    (folder / "upstream.json").write_bytes(msgspec.json.encode(document))
    return folder


def added(tmp_path: Path, source: Path, *more: str) -> Any:
    arguments = ["add", str(source), "--name", "chat", "--licence", "MIT", "--source", "us"]
    where = ["--repository", str(tmp_path / "models"), "--json"]
    return CliRunner().invoke(runtime, [*arguments, *where, *more])


def test_a_folder_becomes_a_version_with_every_file_in_its_manifest(tmp_path: Path) -> None:
    source = written(tmp_path / "vllm")
    (source / "weights").mkdir()
    (source / "weights" / "a.safetensors").write_bytes(b"abc")
    result = added(tmp_path, source)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "models" / "chat" / "1"
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    members = [member.path for member in manifest.members]
    assert members == ["card.json", "upstream.json", "weights/a.safetensors"]
    card = msgspec.json.decode((folder / "card.json").read_bytes(), type=Card)
    assert card.inputs == INPUTS
    assert added(tmp_path, source).exit_code == 0  # the same bytes again are no change
    (source / "weights" / "a.safetensors").write_bytes(b"abd")
    assert added(tmp_path, source).exit_code != 0
    assert added(tmp_path, source, "--version", "2").exit_code == 0


def test_a_file_that_cannot_be_used_is_not_added(tmp_path: Path) -> None:
    source = written(tmp_path / "vllm", url="ftp://there")
    assert added(tmp_path, source).exit_code != 0
    assert not (tmp_path / "models").exists()


def test_manifests_are_json_as_kubectl_takes_it(tmp_path: Path) -> None:
    folder = written(tmp_path / "models" / "chat" / "1")
    result = CliRunner().invoke(runtime, ["manifests", str(folder), "--namespace", "edge"])
    assert result.exit_code == 0, result.output
    deployment, service = json.loads(result.output)["items"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert service["metadata"]["namespace"] == "edge"
    plain = written(tmp_path / "models" / "plain" / "1", container=None)
    assert CliRunner().invoke(runtime, ["manifests", str(plain)]).exit_code != 0
