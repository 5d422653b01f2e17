"""The door to ONNX Runtime: the shortest way in, and the long one where that is closed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from skerry.serve import onnx_engine
from skerry.serve.errors import ModelFileError, ModelRunError
from skerry.serve.onnx_engine import EngineSettings, OnnxModel

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def path(models: Any, tmp_path: Path) -> Path:
    file = tmp_path / "double" / "1" / "model.onnx"
    models.scale(file, 2.0)
    return file


def test_a_run_goes_past_the_checks_that_the_door_has_made(path: Path) -> None:
    model = OnnxModel("double", path)
    assert model._call == model._session._sess.run
    assert model.run({"x": X}, ["y"])[0].tolist() == (X * 2).tolist()


@pytest.mark.parametrize("inner", [None, lambda only_one: None, lambda: None])
def test_where_the_private_name_is_gone_or_other_the_public_one_runs(
    path: Path, monkeypatch: pytest.MonkeyPatch, inner: Any
) -> None:
    class Session(ort.InferenceSession):  # type: ignore[misc]
        """A later ONNX Runtime, whose inner session is not what it was."""

        def run(self, names: Any, feed: Any, options: Any = None) -> Any:
            return [feed["x"] * 2]

        @property
        def _sess(self) -> Any:
            return type("Inner", (), {"run": staticmethod(inner)} if inner else {})

        @_sess.setter
        def _sess(self, value: Any) -> None:
            self.__dict__["kept"] = value

    model = OnnxModel("double", path)
    monkeypatch.setattr(Session, "get_inputs", lambda _: model._session.get_inputs())
    monkeypatch.setattr(Session, "get_outputs", lambda _: model._session.get_outputs())
    monkeypatch.setattr(Session, "get_providers", lambda _: ["CPUExecutionProvider"])
    monkeypatch.setattr(Session, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(onnx_engine.ort, "InferenceSession", Session)
    later = OnnxModel("double", path)
    for _ in range(2):
        assert later.run({"x": X}, ["y"])[0].tolist() == (X * 2).tolist()


def test_a_failed_run_names_the_model_whichever_way_it_took(path: Path) -> None:
    for settings in (EngineSettings(), EngineSettings(io_binding=True)):
        model = OnnxModel("double", path, settings)
        with pytest.raises(ModelRunError, match="model double failed"):
            model.run({"x": X[:, :3]}, ["y"])
        with pytest.raises(ModelRunError, match="model double failed"):
            model.run({}, ["y"])
        assert model.run({"x": X}, ["y"])[0].tolist() == (X * 2).tolist()


def test_bound_runs_give_the_same_and_every_caller_owns_its_answer(path: Path) -> None:
    model = OnnxModel("double", path, EngineSettings(io_binding=True))
    kept = [model.run({"x": X * n}, ["y"])[0] for n in range(4)]
    assert [array.tolist() for array in kept] == [(X * n * 2).tolist() for n in range(4)]
    for rows in range(1, 20):  # more shapes than it keeps buffers for
        wide = np.full((rows, 4), rows, np.float32)
        assert (model.run({"x": wide}, ["y"])[0] == rows * 2).all()
        assert (model.run({"x": wide[:, ::-1]}, ["y"])[0] == rows * 2).all()


def test_a_shape_that_data_decides_is_never_bound(models: Any, tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    models.save(
        [helper.make_node("NonZero", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.INT64, [2, "found"])],
        tmp_path / "m.onnx",
    )
    model = OnnxModel("m", tmp_path / "m.onnx", EngineSettings(io_binding=True))
    for found in (8, 3, 8):
        x = np.zeros(8, np.float32)
        x[:found] = 1
        assert model.run({"x": x.reshape(2, 4)}, ["y"])[0].shape == (2, found)


def test_an_accelerator_that_cannot_take_the_model_gives_way_and_says_why(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ort.InferenceSession

    def session(file: str, options: Any, providers: Any, **rest: Any) -> Any:
        if providers[0][0] == "CUDAExecutionProvider":
            raise RuntimeError("CUDA failure 35: driver version is insufficient")
        return real(file, options, providers=providers, **rest)

    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx_engine.ort, "get_available_providers", lambda: offered)
    monkeypatch.setattr(onnx_engine.ort, "InferenceSession", session)
    model = OnnxModel("double", path)
    assert model.providers == ("cpu",)
    assert [(one.provider, one.reason) for one in model.left_out] == [
        ("cuda", "CUDA failure 35: driver version is insufficient")
    ]
    (path.parent / "bad.onnx").write_bytes(b"\x08")
    with pytest.raises(ModelFileError):
        OnnxModel("bad", path.parent / "bad.onnx")


def test_bound_inputs_are_told_apart_by_name_in_whatever_order_they_come(
    models: Any, tmp_path: Path
) -> None:
    from onnx import TensorProto, helper

    models.save(
        [helper.make_node("Identity", [n], [f"{n}_out"]) for n in ("a", "b")],
        [(n, TensorProto.FLOAT, [f"n_{n}"]) for n in ("a", "b")],
        [(f"{n}_out", TensorProto.FLOAT, [f"n_{n}"]) for n in ("a", "b")],
        tmp_path / "m.onnx",
    )
    model = OnnxModel("m", tmp_path / "m.onnx", EngineSettings(io_binding=True))
    two, three = np.ones(2, np.float32), np.zeros(3, np.float32)
    for inputs in ({"a": two, "b": three}, {"b": two, "a": three}, {"b": three, "a": two}) * 2:
        found = model.run(inputs, model.output_names)
        assert [array.tolist() for array in found] == [inputs[n].tolist() for n in ("a", "b")]
