"""BF16 both ways over both transports: stock client's bits in, the same bits out."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from onnx import TensorProto, helper

from skerry.serve.errors import ModelFileError
from skerry.serve.onnx_engine import OnnxModel

X = np.array([[1.5, -0.0, 3e38], [np.inf, 1e-40, np.nan]], ml_dtypes.bfloat16)


@pytest.fixture
def repository(tmp_path: Path, models: Any) -> Path:
    """`half`: float32 beside bfloat16, each out as it went in."""
    models.save(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["a"], ["b"])],
        [("x", TensorProto.BFLOAT16, ["n", 3]), ("a", TensorProto.FLOAT, ["n", 2])],
        [("y", TensorProto.BFLOAT16, ["n", 3]), ("b", TensorProto.FLOAT, ["n", 2])],
        tmp_path / "half" / "1" / "model.onnx",
    )
    return tmp_path


@pytest.mark.parametrize("module", [triton_http, triton_grpc])
def test_bf16_comes_back_bit_for_bit(live: Any, module: Any) -> None:
    port = live.ports.http if module is triton_http else live.ports.grpc
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        inputs = [module.InferInput("x", [2, 3], "BF16"), module.InferInput("a", [2, 2], "FP32")]
        inputs[0].set_data_from_numpy(X)
        inputs[1].set_data_from_numpy(np.ones((2, 2), np.float32))
        answer = client.infer("half", inputs)
        found = answer.as_numpy("y")
        assert found.dtype == ml_dtypes.bfloat16
        assert found.tobytes() == X.tobytes()
        assert answer.as_numpy("b").tolist() == [[1, 1], [1, 1]]


def test_an_empty_batch_of_bf16_is_answered(repository: Path) -> None:
    model = OnnxModel("half", repository / "half" / "1" / "model.onnx")
    inputs = {"x": np.empty((0, 3), np.uint16), "a": np.empty((0, 2), np.float32)}
    assert [array.shape for array in model.run(inputs, ["y", "b"])] == [(0, 3), (0, 2)]


def test_text_beside_bf16_is_refused_when_the_model_is_loaded(tmp_path: Path, models: Any) -> None:
    models.save(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["t"], ["u"])],
        [("x", TensorProto.BFLOAT16, [2]), ("t", TensorProto.STRING, [2])],
        [("y", TensorProto.BFLOAT16, [2]), ("u", TensorProto.STRING, [2])],
        tmp_path / "model.onnx",
    )
    with pytest.raises(ModelFileError, match="no text beside bfloat16"):
        OnnxModel("mixed", tmp_path / "model.onnx")
