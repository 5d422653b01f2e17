"""Stock tritonclient, HTTP and gRPC, against a live server: same calls, same answers."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from skerry.schema.oip import DATATYPES
from skerry.schema.oip_facts import parse_served_by


@pytest.fixture(params=["http", "grpc"])
def triton(request: pytest.FixtureRequest, live: Any) -> Iterator[tuple[Any, Any]]:
    """A module of tritonclient and a client of it."""
    if request.param == "http":
        client = triton_http.InferenceServerClient(f"127.0.0.1:{live.ports.http}")
        yield triton_http, client
    else:
        client = triton_grpc.InferenceServerClient(f"127.0.0.1:{live.ports.grpc}")
        yield triton_grpc, client
    client.close()


def given(module: Any, name: str, data: np.ndarray[Any, Any], datatype: str, **how: Any) -> Any:
    tensor = module.InferInput(name, list(data.shape), datatype)
    tensor.set_data_from_numpy(data, **how)
    return tensor


X = np.array([[1, 2, 3, 4]], np.float32)


def test_health_metadata_and_index(triton: Any) -> None:
    module, client = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.is_model_ready("double", "1")
    assert not client.is_model_ready("nobody") if module is triton_http else True
    server, model = client.get_server_metadata(), client.get_model_metadata("double")
    if module is triton_grpc:
        assert server.name == "skerry"
        assert (model.inputs[0].name, list(model.inputs[0].shape)) == ("x", [-1, 4])
        assert list(model.versions) == ["1", "2"]
        rows = client.get_model_repository_index().models
        assert next((row.name, row.version, row.state) for row in rows) == ("double", "1", "READY")
    else:
        assert server["name"] == "skerry"
        assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
        assert model["versions"] == ["1", "2"]
        row = client.get_model_repository_index()[0]
        assert (row["name"], row["version"], row["state"]) == ("double", "1", "READY")


def test_the_newest_version_answers_unless_one_is_named(triton: Any) -> None:
    module, client = triton
    answer = client.infer("double", [given(module, "x", X, "FP32")])
    assert answer.as_numpy("y").tolist() == (X * 2).tolist()
    answer = client.infer("double", [given(module, "x", X, "FP32")], model_version="1")
    assert answer.as_numpy("y").tolist() == (X * 3).tolist()


def test_an_answer_says_who_served_it(triton: Any) -> None:
    module, client = triton
    found = client.infer("double", [given(module, "x", X, "FP32")], request_id="r7").get_response()
    if module is triton_http:
        text, request_id = found["parameters"]["skerry-served-by"], found["id"]
    else:
        text, request_id = found.parameters["skerry-served-by"].string_param, found.id
    served = parse_served_by(text)
    assert (served.site, served.node, served.model, served.version) == (
        "local",
        "local/1",
        "double",
        "2",
    )
    assert request_id == "r7"


def sample(datatype: str, items: int = 3) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(7)
    if datatype == "BYTES":
        texts = [f"text {i} æ".encode() for i in range(items * 2)]
        return np.array(texts, dtype=object).reshape(items, 2)
    if datatype == "BOOL":
        return rng.integers(0, 2, (items, 2)).astype(bool)
    if datatype.startswith("FP"):
        return rng.normal(size=(items, 2)).astype(DATATYPES[datatype])
    info = np.iinfo(DATATYPES[datatype])
    return rng.integers(info.min, info.max, (items, 2), dtype=info.dtype, endpoint=True)


def test_every_datatype_comes_back_as_it_went(triton: Any, models: Any) -> None:
    """Thirteen inputs and thirteen outputs in one request."""
    module, client = triton
    samples = {name: sample(name) for name in models.datatypes}
    inputs = [given(module, f"in_{name}", data, name) for name, data in samples.items()]
    answer = client.infer("types", inputs)
    for name, data in samples.items():
        found = answer.as_numpy(f"out_{name}")
        assert found.dtype == data.dtype
        assert found.tolist() == data.tolist(), name


def test_every_datatype_comes_back_as_json(live: Any, models: Any) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{live.ports.http}") as client:
        samples = {name: sample(name) for name in models.datatypes}
        inputs = [
            # tritonclient cannot write FP16 as JSON, so that one goes in binary.
            given(triton_http, f"in_{name}", data, name, binary_data=name == "FP16")
            for name, data in samples.items()
        ]
        outputs = [
            triton_http.InferRequestedOutput(f"out_{name}", binary_data=False) for name in samples
        ]
        answer = client.infer("types", inputs, outputs=outputs)
        for name, data in samples.items():
            wanted = [x.decode() for x in data.flat] if name == "BYTES" else data.ravel().tolist()
            assert answer.get_output(f"out_{name}")["data"] == wanted, name


def test_only_the_outputs_asked_for_come_in_the_order_asked(triton: Any, models: Any) -> None:
    module, client = triton
    inputs = [given(module, f"in_{name}", sample(name), name) for name in models.datatypes]
    outputs = [module.InferRequestedOutput(name) for name in ("out_INT8", "out_BYTES")]
    found = client.infer("types", inputs, outputs=outputs).get_response()
    listed = found["outputs"] if module is triton_http else found.outputs
    names = [one["name"] if module is triton_http else one.name for one in listed]
    assert names == ["out_INT8", "out_BYTES"]


def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status(), caught.value.message()


@pytest.mark.parametrize(
    ("model", "name", "datatype", "shape", "http", "grpc", "text"),
    [
        ("nobody", "x", "FP32", (1, 4), "404", "NOT_FOUND", "'nobody' is not served here"),
        ("double", "z", "FP32", (1, 4), "400", "INVALID_ARGUMENT", "inputs is 'z', wanted x"),
        ("double", "x", "FP64", (1, 4), "400", "INVALID_ARGUMENT", "is 'FP64', wanted FP32"),
        ("double", "x", "FP32", (1, 5), "400", "INVALID_ARGUMENT", "is [1, 5], wanted [-1, 4]"),
        ("double", "x", "FP32", (4,), "400", "INVALID_ARGUMENT", "is [4], wanted [-1, 4]"),
    ],
)
def test_a_wrong_request_is_refused_by_name(
    triton: Any,
    model: str,
    name: str,
    datatype: str,
    shape: tuple[int, ...],
    http: str,
    grpc: str,
    text: str,
) -> None:
    module, client = triton
    tensor = given(module, name, np.zeros(shape, DATATYPES[datatype]), datatype)
    status, message = refused(lambda: client.infer(model, [tensor]))
    assert status == (http if module is triton_http else f"StatusCode.{grpc}")
    assert text in message


def test_a_size_that_does_not_fill_the_shape_is_refused(triton: Any) -> None:
    module, client = triton
    tensor = given(module, "x", X, "FP32")
    tensor.set_shape([2, 4])
    status, message = refused(lambda: client.infer("double", [tensor]))
    assert status in ("400", "StatusCode.INVALID_ARGUMENT")
    assert "16 bytes, wanted 32" in message


def test_an_output_that_is_not_there_is_refused(triton: Any) -> None:
    module, client = triton
    outputs = [module.InferRequestedOutput("q")]
    _, message = refused(
        lambda: client.infer("double", [given(module, "x", X, "FP32")], outputs=outputs)
    )
    assert "output is 'q', wanted one of y" in message


def test_a_deadline_header_is_honoured_and_a_bad_one_refused(triton: Any) -> None:
    module, client = triton
    inputs = [given(module, "x", X, "FP32")]
    assert client.infer("double", inputs, headers={"skerry-deadline-ms": "5000"})
    status, _ = refused(
        lambda: client.infer("double", inputs, headers={"skerry-deadline-ms": "0.000001"})
    )
    assert status in ("504", "StatusCode.DEADLINE_EXCEEDED")
    status, _ = refused(lambda: client.infer("double", inputs, headers={"skerry-hops": "x"}))
    assert status in ("400", "StatusCode.INVALID_ARGUMENT")


def test_load_and_unload_work_on_loopback(triton: Any, repository: Any, models: Any) -> None:
    module, client = triton
    models.scale(repository / "double" / "3" / "model.onnx", 7.0)
    client.load_model("double")
    answer = client.infer("double", [given(module, "x", X, "FP32")])
    assert answer.as_numpy("y").tolist() == (X * 7).tolist()
    client.unload_model("double")
    status, _ = refused(lambda: client.infer("double", [given(module, "x", X, "FP32")]))
    assert status in ("404", "StatusCode.NOT_FOUND")
    client.load_model("double")
    assert client.is_model_ready("double")


def test_a_corrupt_file_is_refused_and_what_serves_goes_on(triton: Any, repository: Any) -> None:
    module, client = triton
    path = repository / "double" / "3" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(b"not a model at all")
    status, message = refused(lambda: client.load_model("double"))
    assert status in ("422", "StatusCode.FAILED_PRECONDITION")
    assert "cannot be served" in message
    answer = client.infer("double", [given(module, "x", X, "FP32")])
    assert answer.as_numpy("y").tolist() == (X * 2).tolist()


def test_a_swap_under_load_fails_no_request(
    live: Any, repository: Any, models: Any, tmp_path: Any
) -> None:
    """Four clients never stop while a model is swapped ten times; every answer is whole."""
    factors = {version: float(version) for version in range(10, 20)}
    folders = []
    for version, factor in factors.items():
        folder = tmp_path / "staged" / str(version)
        models.scale(folder / "model.onnx", factor)
        folders.append(folder)
    wrong: list[str] = []
    served: set[str] = set()
    stop = threading.Event()

    def ask(module: Any, port: int) -> None:
        client = module.InferenceServerClient(f"127.0.0.1:{port}")
        while not stop.is_set():
            try:
                answer = client.infer("double", [given(module, "x", X, "FP32")])
                found = answer.get_response()
                version = found["model_version"] if module is triton_http else found.model_version
                factor = {"2": 2.0}.get(version) or factors[int(version)]
                if answer.as_numpy("y").tolist() != (X * factor).tolist():
                    wrong.append(f"version {version} gave {answer.as_numpy('y')}")
                served.add(version)
            except InferenceServerException as error:
                wrong.append(str(error))
        client.close()

    doors = [(triton_http, live.ports.http), (triton_grpc, live.ports.grpc)] * 2
    threads = [threading.Thread(target=ask, args=door) for door in doors]
    for thread in threads:
        thread.start()
    with triton_http.InferenceServerClient(f"127.0.0.1:{live.ports.http}") as admin:
        for folder in folders:
            reply = admin._post(
                "v2/repository/models/double/load",
                f'{{"parameters": {{"skerry-folder": "{folder}"}}}}',
                {},
                None,
            )
            assert reply.status_code == 200, reply.read()
    stop.set()
    for thread in threads:
        thread.join(timeout=10)
    assert wrong == []
    assert len(served) > 3
    assert next(row.version for row in live.service.index() if row.state == "READY") == "19"
