"""`skerry model profile` and `explain`: measured once, used at load, and told with its reasons."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from skerry.cli.main import run
from skerry.serve import profile
from skerry.serve.server import Server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setattr(profile, "VARIANT_S", 0.004)
    monkeypatch.chdir(repository.parent)


def output(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_profile_is_written_beside_the_newest_version(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["model", "profile", "double", "--repository", "repository"]
    assert run([*arguments, "--json"]) == 0
    told = output(capsys)
    assert told["written"] == "repository/double/2/profile.json"
    assert told["profile"]["chosen"]["batch_max"] > 1
    assert told["profile"]["input_shapes"] == [[1, 4]]
    assert run(["model", "explain", "double", "--repository", "repository"]) == 0
    out = capsys.readouterr().out
    assert "profile       used\n" in out
    assert "batches up to" in out
    assert "providers     cpu\n" in out


def test_a_profile_of_other_bytes_is_not_used_and_that_is_said(
    repository: Path, models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["model", "profile", "double", "--repository", "repository"])
    capsys.readouterr()
    models.scale(repository / "double" / "2" / "model.onnx", 7.0)
    run(["model", "explain", "double", "--repository", "repository"])
    assert "not used: measured with another model file" in capsys.readouterr().out


def test_a_single_file_is_measured_and_nothing_written_that_no_server_reads(
    models: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.scale(tmp_path / "flat.onnx", 2.0)
    assert run(["model", "profile", str(tmp_path / "flat.onnx")]) == 0
    captured = capsys.readouterr()
    assert "not written" in captured.err
    assert "US PER RUN" in captured.out
    assert not list(tmp_path.glob("*.json"))


def test_what_is_not_there_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "rows.npz", z=np.zeros(3))
    for arguments, text in (
        (["profile", "nothing"], "no model nothing in repository"),
        (["profile", "double", "--version", "9"], "no model double version 9"),
        (["explain", "../x"], "no model ../x"),
        (["profile", "double", "--samples", str(tmp_path / "rows.npz")], "no array named x"),
    ):
        assert run(["model", *arguments, "--repository", "repository"]) == 2
        assert text in capsys.readouterr().err
    assert run(["model", "explain", "double", "--url", "ftp://x"]) == 2
    assert run(["model", "explain", "double", "--url", "http://127.0.0.1:1"]) == 5


def test_a_running_server_is_asked_by_its_address(
    live: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{live.ports.http}"
    assert run(["model", "explain", "double", "--url", url]) == 0
    out = capsys.readouterr().out
    assert "version       double 2, the default" in out
    assert "runs on       cpu" in out
    assert "no profile: measured quickly at load" in out
    assert run(["model", "explain", "double", "--url", url, "--json"]) == 0
    assert [one["version"] for one in output(capsys)["runtime"]["versions"]] == [1, 2]
    assert run(["model", "explain", "nothing", "--url", url]) == 2
    assert "answered 404" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "code", "text"),
    [
        ("--memory-max", "2", 3, "has no unit"),
        ("--memory-max", "2 GHz", 3, "unknown unit"),
        ("--provider", "cudaa", 2, "execution provider 'cudaa'"),
    ],
)
def test_a_bound_without_a_unit_and_an_unknown_provider_stop_the_start(
    capsys: pytest.CaptureFixture[str], option: str, value: str, code: int, text: str
) -> None:
    assert run(["serve", "--repository", "repository", option, value]) == code
    assert text in capsys.readouterr().err


def window_model(models: Any, path: Path, *names: str) -> None:
    """[n, samples] that wants 8 samples, as Silero VAD wants 576: zeros of length 1 fail."""
    models.save(
        [
            helper.make_node("Reshape", ["audio", "eights"], ["windows"]),
            helper.make_node("ReduceSum", ["windows", "last"], ["out"], keepdims=1),
        ],
        [("audio", TensorProto.FLOAT, list(names) or [None, None])],
        [("out", TensorProto.FLOAT, [names[0] if names else None, 1])],
        path,
        [
            helper.make_tensor("eights", TensorProto.INT64, [2], [-1, 8]),
            helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        ],
    )


@pytest.mark.anyio
async def test_a_server_uses_the_profile_for_what_it_cannot_find_out_alone(
    start: Any, models: Any, repository: Path
) -> None:
    window_model(models, repository / "window" / "1" / "model.onnx")
    server = await start(repository)
    assert server.service.repository.get("window").lane.batch_max == 1
    np.savez("rows.npz", audio=np.ones((3, 8), np.float32))
    assert (
        run(["model", "profile", "window", "--repository", "repository", "--samples", "rows.npz"])
        == 0
    )
    await server.service.load("window")
    slot = server.service.repository.get("window")
    assert slot.loaded.profile_note == "profile used"
    assert slot.lane.batch_max == slot.loaded.profile.chosen.batch_max > 1
    assert slot.lane.run_s > 0


@pytest.mark.anyio
async def test_a_server_passes_over_a_profile_of_other_bytes_and_says_so(
    start: Any, models: Any, repository: Path
) -> None:
    (repository / "double" / "model.json").write_text('{"latest": 1}')
    assert run(["model", "profile", "double", "--repository", "repository"]) == 0
    server = await start(repository)
    slot = server.service.repository.get("double")
    assert (slot.loaded.profile_note, slot.lane.batch_max > 1) == ("profile used", True)
    models.scale(repository / "double" / "2" / "model.onnx", 7.0)
    await server.service.load("double")
    slot = server.service.repository.get("double")
    assert slot.loaded.profile_note == "profile not used: measured with another model file"
    assert slot.lane.batch_max == 1


@pytest.mark.anyio
async def test_a_model_that_zeros_do_not_suit_is_no_failed_warm_up(
    start: Any, models: Any, repository: Path
) -> None:
    window_model(models, repository / "window" / "1" / "model.onnx", "n", "samples")
    (repository / "window" / "model.json").write_text('{"batching": "on", "batch_max": 6}')
    server = await start(repository)
    assert server.refused == []
    assert server.service.repository.get("window").lane.batch_max == 6
