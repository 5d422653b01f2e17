"""The drop-in for tritonclient: its signatures, and the same answers from the same server."""

import gc
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import ml_dtypes
import numpy as np
import onnx
import pytest
import tritonclient.http as stock
import tritonclient.utils as stock_utils
from onnx import TensorProto, helper

import skerry.client.triton as ours
from skerry.client.triton import InferenceServerException
from skerry.route.errors import NoCandidateError
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings

X = np.array([[1, 2, 3, 4]], np.float32)
LEFT_OUT = {
    "get_cuda_shared_memory_status",
    "register_cuda_shared_memory",
    "unregister_cuda_shared_memory",
    "register_plugin",
    "unregister_plugin",
    "plugin",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("repository")
    for name, kind in (("double", TensorProto.FLOAT), ("echo", TensorProto.STRING)):
        node = (
            helper.make_node("Mul", ["x", "k"], ["y"])
            if name == "double"
            else helper.make_node("Identity", ["x"], ["y"])
        )
        graph = helper.make_graph(
            [node],
            "graph",
            [helper.make_tensor_value_info("x", kind, ["n", 4])],
            [helper.make_tensor_value_info("y", kind, ["n", 4])],
            initializer=[helper.make_tensor("k", TensorProto.FLOAT, [1], [2.0])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (folder / name / "1").mkdir(parents=True)
        onnx.save(model, str(folder / name / "1" / "model.onnx"))
    settings = ServeSettings(repository=str(folder), http_port=0, grpc_port=None, metrics_port=None)
    server = Server(settings)
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        portal.call(server.start)
        yield server.ports.http
        portal.call(server.stop, 1.0)


@pytest.fixture(params=[stock, ours], ids=["stock", "ours"])
def both(request: pytest.FixtureRequest, port: int) -> Iterator[tuple[Any, Any]]:
    """Each module with a client: what holds for theirs holds for ours."""
    client = request.param.InferenceServerClient(f"127.0.0.1:{port}")
    yield request.param, client
    client.close()
    if request.param is stock:
        # Its greenlets change the C stack when they are collected. Within a later compilation,
        # where chance might put that, the interpreter would take it for a recursion gone wrong.
        del client
        gc.collect()


def given(module: Any, data: np.ndarray, datatype: str = "FP32", name: str = "x") -> Any:
    return module.InferInput(name, list(data.shape), datatype).set_data_from_numpy(data)


def signature_of(member: object) -> list[tuple[str, object]]:
    return [
        (parameter.name, parameter.default)
        for parameter in inspect.signature(member).parameters.values()  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    "name", ["InferenceServerClient", "InferInput", "InferRequestedOutput", "InferAsyncRequest"]
)
def test_names_and_arguments_are_tritonclients_own(name: str) -> None:
    theirs, mine = getattr(stock, name), getattr(ours, name)
    wanted = {one for one in dir(theirs) if not one.startswith("_")} - LEFT_OUT
    assert wanted <= set(dir(mine))
    for member in sorted(wanted):
        assert signature_of(getattr(mine, member)) == signature_of(getattr(theirs, member)), member
    if name != "InferAsyncRequest":  # made by the client alone
        assert signature_of(mine.__init__) == signature_of(theirs.__init__)


def test_results_and_errors_have_tritonclients_methods() -> None:
    for mine, theirs in (
        (ours.InferResult, stock.InferResult),
        (ours.InferenceServerException, stock_utils.InferenceServerException),
    ):
        for member in (one for one in vars(theirs) if not one.startswith("_")):
            assert signature_of(getattr(mine, member)) == signature_of(getattr(theirs, member))


def test_an_array_goes_in_and_comes_out(both: Any) -> None:
    module, client = both
    wanted = [module.InferRequestedOutput("y")]
    for outputs in (None, wanted):
        answer = client.infer("double", [given(module, X)], outputs=outputs, request_id="r1")
        assert np.array_equal(answer.as_numpy("y"), X * 2)
        assert answer.as_numpy("z") is None
        response = answer.get_response()
        assert (response["model_name"], response["model_version"]) == ("double", "1")
        assert response["id"] == "r1"
        found = answer.get_output("y")
        assert (found["datatype"], found["shape"]) == ("FP32", [1, 4])


def test_text_travels_as_bytes(both: Any) -> None:
    module, client = both
    text = np.array([[b"a", "blåbær".encode(), b"", b"x"]], dtype=np.object_)
    answer = client.infer("echo", [given(module, text, "BYTES")]).as_numpy("y")
    assert answer.tolist() == text.tolist()


def test_a_callers_array_may_change_after_it_was_set(both: Any) -> None:
    module, client = both
    array = X.copy()
    tensor = given(module, array)
    array[:] = 0
    assert np.array_equal(client.infer("double", [tensor]).as_numpy("y"), X * 2)


def test_requests_overlap(both: Any) -> None:
    module, client = both
    calls = [client.async_infer("double", [given(module, X * n)]) for n in range(10)]
    for n, call in enumerate(calls):
        assert np.array_equal(call.get_result(timeout=5).as_numpy("y"), X * n * 2)


def test_the_highest_are_told_as_text(both: Any) -> None:
    module, client = both
    wanted = [module.InferRequestedOutput("y", class_count=2)]
    answer = client.infer("double", [given(module, X)], outputs=wanted).as_numpy("y")
    assert [one.decode().split(":")[1] for one in answer.ravel()] == ["3", "2"]


def test_shared_memory_is_read_and_written_where_it_lies(both: Any, tmp_path: Path) -> None:
    module, client = both
    from multiprocessing.shared_memory import SharedMemory

    region = SharedMemory(create=True, size=64)
    try:
        np.ndarray((1, 4), np.float32, region.buf)[:] = X
        client.register_system_shared_memory("r", f"/{region.name.lstrip('/')}", 64)
        assert [row["name"] for row in client.get_system_shared_memory_status()] == ["r"]
        tensor = module.InferInput("x", [1, 4], "FP32").set_shared_memory("r", 16)
        output = module.InferRequestedOutput("y")
        output.set_shared_memory("r", 16, offset=32)
        client.infer("double", [tensor], outputs=[output])
        assert np.ndarray((1, 4), np.float32, region.buf, 32).tolist() == (X * 2).tolist()
        client.unregister_system_shared_memory("r")
        assert client.get_system_shared_memory_status() == []
    finally:
        region.close()
        region.unlink()


def test_a_server_describes_itself(both: Any) -> None:
    _, client = both
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "skerry"
    assert client.get_model_metadata("double")["inputs"][0]["name"] == "x"
    assert {row["name"] for row in client.get_model_repository_index()} == {"double", "echo"}
    client.unload_model("echo")
    assert not client.is_model_ready("echo")
    client.load_model("echo")
    assert client.is_model_ready("echo")


def test_errors_carry_a_status_and_the_servers_words(both: Any) -> None:
    module, client = both
    failed = (InferenceServerException, stock_utils.InferenceServerException)
    with pytest.raises(failed) as caught:
        client.infer("double", [given(module, X, name="z")])
    assert caught.value.status() == "400"
    assert "inputs" in caught.value.message()
    with pytest.raises(failed) as caught:
        client.infer("nobody", [given(module, X)])
    assert caught.value.status() == "404"
    if module is ours:
        assert isinstance(caught.value.debug_details(), NoCandidateError)
    with pytest.raises(failed):
        module.InferInput("x", [1, 4], "INT32").set_data_from_numpy(X)
    with pytest.raises(failed):
        module.InferInput("x", [2, 4], "FP32").set_data_from_numpy(X)
    with pytest.raises(failed):
        client.infer("double", [given(module, X)], parameters={"priority": 3})


def test_bodies_made_here_are_read_there(port: int) -> None:
    body, length = ours.InferenceServerClient.generate_request_body(
        [given(ours, X)], request_id="r2"
    )
    assert b"r2" in body[:length]
    answer = ours.InferResult.from_response_body(
        b'{"model_name":"m","outputs":[{"name":"y","datatype":"INT32","shape":[2],"data":[1,2]}]}'
    )
    assert answer.as_numpy("y").tolist() == [1, 2]


def test_bf16_goes_in_as_ml_dtypes_has_it() -> None:
    tensor = given(ours, X.astype(ml_dtypes.bfloat16), "BF16").tensor()
    assert tensor.data.tolist() == [[0x3F80, 0x4000, 0x4040, 0x4080]]


def test_several_servers_stand_in_for_each_other(port: int) -> None:
    urls = ["127.0.0.1:1", f"127.0.0.1:{port}"]
    with ours.InferenceServerClient(urls, connection_timeout=1.0) as client:
        assert np.array_equal(client.infer("double", [given(ours, X)]).as_numpy("y"), X * 2)
        found = client.infer("double", [given(ours, X)]).get_response()
    assert "skerry-served-by" in found["parameters"]


def test_facts_go_as_headers_and_others_are_refused(port: int) -> None:
    with ours.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.infer("double", [given(ours, X)], headers={"Skerry-Data-Class": "public"})
        with pytest.raises(InferenceServerException, match="authorization"):
            client.infer("double", [given(ours, X)], headers={"Authorization": "x"})


def test_closing_leaves_no_thread(port: int) -> None:
    before = threading.active_count()
    client = ours.InferenceServerClient(f"127.0.0.1:{port}")
    client.async_infer("double", [given(ours, X)]).get_result()
    client.close()
    assert threading.active_count() == before
