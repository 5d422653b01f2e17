"""The gRPC door beside what stock clients try: deadlines, limits, TLS, admin, raw bytes."""

from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from skerry.base.clock import SystemClock
from skerry.schema import oip_grpc
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import InferRequest
from skerry.schema.oip_tensors import tensor_from_array
from skerry.serve.errors import QueueFullError
from skerry.serve.grpc_works import GrpcWorks
from skerry.serve.grpcio_door import GrpcioDoor
from skerry.serve.listening import Listener

pytestmark = pytest.mark.anyio
X = tensor_from_array("x", np.ones((1, 4), np.float32))
REQUEST = oip_grpc.encode_request(InferRequest(model="double", inputs=[X]))


@pytest.fixture
async def call(start: Any, repository: Any) -> Any:
    """Call a method with raw bytes; returns the answer's bytes and its trailing metadata."""
    server = await start(repository, grpc_port=0)

    async def send(method: str, data: bytes, *, port: int = server.ports.grpc, **how: Any) -> Any:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            one = channel.unary_unary(f"/{oip_grpc.SERVICE}/{method}")(data, **how)
            return await one, dict(await one.trailing_metadata())

    send.server = server  # type: ignore[attr-defined]
    return send


async def refused(awaitable: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def test_served_by_is_in_the_trailing_metadata_and_the_parameters(call: Any) -> None:
    data, trailing = await call("ModelInfer", REQUEST)
    reply = oip_grpc.decode_reply(data)
    assert reply.outputs[0].data.tolist() == [[2.0] * 4]
    assert trailing["skerry-served-by"] == reply.parameters["skerry-served-by"]


async def test_bytes_that_are_no_message_get_a_clean_answer(call: Any) -> None:
    error = await refused(call("ModelInfer", b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a ModelInferRequest" in (error.details() or "")


async def test_the_grpc_timeout_is_the_deadline_unless_a_stated_one_is_nearer(call: Any) -> None:
    server, seen = call.server, []

    async def note(request: InferRequest) -> Any:
        seen.append(request.deadline_s)
        return await server.service.infer(request)

    door = GrpcioDoor(GrpcWorks(server.service, note), clock=SystemClock())
    port = await door.listen(Listener())
    await call("ModelInfer", REQUEST, port=port)
    await call("ModelInfer", REQUEST, port=port, timeout=20)
    stated = (("skerry-deadline-ms", "4000"),)
    await call("ModelInfer", REQUEST, port=port, timeout=20, metadata=stated)
    await door.stop(1)
    assert seen[0] is None
    assert 10 < seen[1] <= 20.2  # the C core sends a timeout rounded up to a tenth of a second
    assert seen[2] == 4


async def test_models_change_on_admin_doors_only(call: Any) -> None:
    server = call.server
    door = GrpcioDoor(GrpcWorks(server.service, server.service.infer), clock=SystemClock())
    port = await door.listen(Listener())
    message = pb.RepositoryModelUnloadRequest(model_name="double").SerializeToString()
    error = await refused(call("RepositoryModelUnload", message, port=port))
    await door.stop(1)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert server.service.model_ready("double")


async def test_a_refusal_for_load_says_when_to_come_back(call: Any) -> None:
    server = call.server

    async def full(_: InferRequest) -> Any:
        raise QueueFullError("double", 64, 0.25)

    door = GrpcioDoor(GrpcWorks(server.service, full), clock=SystemClock())
    port = await door.listen(Listener())
    error = await refused(call("ModelInfer", REQUEST, port=port))
    await door.stop(1)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(error.trailing_metadata() or ())
    assert trailing["grpc-retry-pushback-ms"] == "250"
    assert trailing["skerry-error-code"] == "E0403"


async def test_a_message_too_large_is_refused(call: Any) -> None:
    server = call.server
    door = GrpcioDoor(
        GrpcWorks(server.service, server.service.infer),
        clock=SystemClock(),
        message_bytes_max=1000,
    )
    port = await door.listen(Listener())
    error = await refused(call("ModelInfer", b"\0" * 2000, port=port))
    await door.stop(1)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unknown_method_is_unimplemented(call: Any) -> None:
    error = await refused(call("ModelDance", b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
