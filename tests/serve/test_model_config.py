"""The model configuration says in Triton's words what is true, alike on both transports."""

import json
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException


@pytest.fixture
def repository(tmp_path: Path, models: Any) -> Path:
    """`double` with a card that says batches of 8; `types`; `adds`, which has state."""
    folder = tmp_path / "repository"
    models.scale(folder / "double" / "1" / "model.onnx", 2.0)
    models.scale(folder / "double" / "2" / "model.onnx", 2.0)
    models.card(folder / "double" / "2", max_batch=8)
    models.types(folder / "types" / "1" / "model.onnx")
    models.save(
        [
            helper.make_node("Add", ["x", "state"], ["y"]),
            helper.make_node("Identity", ["y"], ["stateN"]),
        ],
        [("x", TensorProto.FLOAT, [1, 2]), ("state", TensorProto.FLOAT, [1, 2])],
        [("y", TensorProto.FLOAT, [1, 2]), ("stateN", TensorProto.FLOAT, [1, 2])],
        folder / "adds" / "1" / "model.onnx",
    )
    return folder


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, live: Any) -> Any:
    module = triton_http if request.param == "http" else triton_grpc
    port = live.ports.http if request.param == "http" else live.ports.grpc
    with module.InferenceServerClient(f"127.0.0.1:{port}") as made:
        yield made


def config(client: Any, *of: str) -> Any:
    if isinstance(client, triton_http.InferenceServerClient):
        return client.get_model_config(*of)
    found = client.get_model_config(*of, as_json=True)["config"]
    for side in ("input", "output"):  # protobuf's JSON has 64-bit numbers as text
        for tensor in found[side]:
            tensor["dims"] = [int(axis) for axis in tensor["dims"]]
    return found


def test_dims_leave_the_batch_axis_out_where_batches_may_be_sent(client: Any) -> None:
    found = config(client, "double")
    assert found["max_batch_size"] == 8
    assert found["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert (found["platform"], found["backend"]) == ("onnxruntime_onnx", "onnxruntime")
    versions = found["version_policy"]["specific"]["versions"]
    assert [int(version) for version in versions] == [1, 2]
    assert found["instance_group"][0]["kind"] == "KIND_CPU"


def test_each_datatype_has_triton_s_name(client: Any, models: Any) -> None:
    found = config(client, "types", "1")
    wanted = {f"TYPE_{name}".replace("BYTES", "STRING") for name in models.datatypes}
    assert {tensor["data_type"] for tensor in found["output"]} == wanted
    assert found.get("max_batch_size", 0) == 0
    assert found["input"][0]["dims"] == [-1, 2]


def test_state_is_a_sequence_s(client: Any) -> None:
    (state,) = config(client, "adds")["sequence_batching"]["state"]
    assert (state["input_name"], state["output_name"]) == ("state", "stateN")


def test_a_model_that_is_not_there_has_none(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="'nobody' is not served here"):
        config(client, "nobody")


def test_a_load_with_another_configuration_or_files_is_refused(client: Any) -> None:
    for how in (
        {"config": json.dumps({"max_batch_size": 2})},
        {"config": "{}", "files": {"file:1/model.onnx": b"onnx"}},
    ):
        with pytest.raises(
            InferenceServerException, match=r"parameter '.*' is given, wanted a load"
        ):
            client.load_model("double", **how)
    client.load_model("double")
    client.unload_model("double", unload_dependents=True)
