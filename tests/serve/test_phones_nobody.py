"""Nothing phones home: ONNX Runtime's telemetry is off before its library is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from skerry.serve.onnx_engine import OnnxModel
model = OnnxModel("double", Path(sys.argv[1]))
model.run({"x": np.ones((1, 4), np.float32)}, model.output_names)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_served_model_leaves_nothing_in_the_home_folder(model: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # As on a user's machine: the runtime keeps quiet by itself where it sees CI or a test.
    quiet = ("CI", "ORT_", "PYTEST_", "XDG_", "GITHUB_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(quiet)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model)],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
