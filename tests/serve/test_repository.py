"""The repository: checked before it serves, swapped whole, untouched by what cannot serve."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from skerry.base.clock import SystemClock
from skerry.schema.model import CheckSample
from skerry.serve.batch_axes import BatchAxes
from skerry.serve.errors import ModelFileError, RepositoryError, SampleError, UnknownModelError
from skerry.serve.onnx_engine import OnnxModel
from skerry.serve.repository import Repository

pytestmark = pytest.mark.anyio


def opened(folder: Path) -> Repository:
    return Repository(folder, queue_len_max=8, clock=SystemClock())


async def test_every_version_is_loaded_and_the_newest_answers(repository: Path) -> None:
    models = opened(repository)
    assert await models.load_all() == []
    assert models.get("double").version == 2
    assert models.get("double", "1").version == 1
    assert models.versions("double") == ["1", "2"]
    for version in ("3", "01", "x", "-1", "1.0"):
        with pytest.raises(UnknownModelError):
            models.get("double", version)


async def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="no such folder"):
        await opened(tmp_path / "gone").load_all()


async def test_a_broken_model_does_not_stop_the_others(repository: Path) -> None:
    broken = repository / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"\x08")
    (repository / "empty" / "1").mkdir(parents=True)
    models = opened(repository)
    errors = await models.load_all()
    assert [type(error) for error in errors] == [ModelFileError, ModelFileError]
    assert not models.all_ready()
    rows = {(row.name, row.version): row for row in models.index()}
    assert rows["broken", "1"].state == "UNAVAILABLE"
    assert "cannot be served" in rows["broken", "1"].reason
    assert "no such file" in rows["empty", "1"].reason
    assert rows["double", "2"].state == "READY"


async def test_a_kind_of_tensor_that_oip_cannot_carry_is_refused(
    models: Any, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    models.save(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)],
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT8E4M3FN, [1])],
        path,
    )
    with pytest.raises(ModelFileError, match="OIP cannot carry"):
        OnnxModel("m", path)


async def test_a_version_that_repeats_its_samples_serves(repository: Path, models: Any) -> None:
    models.card(repository / "double" / "2")
    served = opened(repository)
    assert await served.load_all() == []
    assert served.get("double").card is not None


def wrong_sample(outputs: Any) -> tuple[CheckSample, ...]:
    x = np.zeros((1, 4), np.float32)
    y = np.array([outputs], np.float32)
    return (
        CheckSample(
            inputs=(x.tobytes(),),
            input_shapes=(x.shape,),
            outputs=(y.tobytes(),),
            output_shapes=(y.shape,),
        ),
    )


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"samples": wrong_sample([0, 0, 0, 0.1])}, SampleError, "differs by 0.1 in y"),
        ({"samples": wrong_sample([np.nan] * 4)}, SampleError, "differs by nan"),
        ({"samples": wrong_sample([0, 0, 0])}, SampleError, "differs by inf"),
        ({"name": "other"}, ModelFileError, "its card says other 3"),
        ({"version": 9}, ModelFileError, "its card says double 9"),
        ({"inputs": ()}, ModelFileError, "other inputs than its model file"),
    ],
)
async def test_a_version_that_is_not_what_its_card_says_changes_nothing(
    repository: Path, models: Any, changes: Any, error: type[Exception], text: str
) -> None:
    served = opened(repository)
    await served.load_all()
    before = served.get("double")
    models.scale(repository / "double" / "3" / "model.onnx", 2.0)
    models.card(repository / "double" / "3", **changes)
    with pytest.raises(error, match=text):
        await served.load("double")
    with pytest.raises(error, match=text):
        await served.load_folder("double", repository / "double" / "3")
    assert served.get("double") is before
    assert served.all_ready()
    assert text in next(row.reason for row in served.index() if row.version == "3")


async def test_a_folder_replaces_every_version_even_by_an_older_one(
    repository: Path, models: Any, tmp_path: Path
) -> None:
    served = opened(repository)
    await served.load_all()
    folder = tmp_path / "staged" / "1"
    models.scale(folder / "model.onnx", 5.0)
    await served.load_folder("double", folder)
    assert served.versions("double") == ["1"]
    assert served.get("double").folder == folder


@pytest.mark.parametrize("bad", ["relative/1", "/abs/not-a-version", "/abs/0"])
async def test_a_folder_must_be_absolute_and_named_by_its_version(
    repository: Path, bad: str
) -> None:
    with pytest.raises(RepositoryError, match="version folder"):
        await opened(repository).load_folder("double", Path(bad))


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "a\0b", "x" * 129])
async def test_a_name_cannot_lead_out_of_the_repository(repository: Path, name: str) -> None:
    served = opened(repository)
    with pytest.raises(UnknownModelError):
        await served.load(name)
    with pytest.raises(RepositoryError):
        await served.load_folder(name, Path("/x/1"))


async def test_an_unloaded_model_is_gone_and_can_come_back(repository: Path) -> None:
    served = opened(repository)
    await served.load_all()
    await served.unload("double")
    with pytest.raises(UnknownModelError):
        served.get("double")
    rows = [row for row in served.index() if row.name == "double"]
    assert [(row.state, row.reason) for row in rows] == [("UNAVAILABLE", "not loaded")] * 2
    await served.load("double")
    assert served.get("double").version == 2


async def test_a_card_may_ask_for_batches_and_measurement_decides(
    repository: Path, models: Any
) -> None:
    models.card(repository / "double" / "2", max_batch=16)
    served = opened(repository)
    await served.load_all()
    assert served.get("double").lane.batch_max == 16  # dispatch dominates so small a model
    assert served.get("double", "1").lane.batch_max == 1  # no card, no batches


def test_the_batch_axis_is_read_from_the_symbols(models: Any, tmp_path: Path) -> None:
    """As in Silero VAD: the audio is [n, 512], its state [2, n, 128]."""
    path = tmp_path / "m.onnx"
    models.save(
        [
            helper.make_node("Identity", ["audio"], ["out"]),
            helper.make_node("Identity", ["state"], ["next"]),
        ],
        [
            ("audio", TensorProto.FLOAT, ["n", "samples"]),
            ("state", TensorProto.FLOAT, [2, "n", 128]),
        ],
        [
            ("out", TensorProto.FLOAT, ["n", "samples"]),
            ("next", TensorProto.FLOAT, [2, "n", 128]),
        ],
        path,
    )
    assert OnnxModel("m", path).batch_axes == BatchAxes(inputs=(0, 1), outputs=(0, 1))


def test_no_symbol_in_common_means_no_batch_axis(models: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    models.slow(path)
    assert OnnxModel("m", path).batch_axes is None
