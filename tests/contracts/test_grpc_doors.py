"""The gRPC door: what holds for our own HTTP/2 and for the grpcio library alike.

The grpcio door is the oracle: what a stock client sees must be the same through both.
"""

import datetime
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import grpc
import grpc.aio
import numpy as np
import onnx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from onnx import TensorProto, helper

from skerry.base.clock import SystemClock
from skerry.base.drive import in_task
from skerry.schema import oip_grpc
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import InferReply, InferRequest
from skerry.schema.oip_tensors import tensor_from_array
from skerry.serve.errors import DeadlineError, QueueFullError
from skerry.serve.grpc_door import GrpcDoor
from skerry.serve.grpc_works import GrpcWorks
from skerry.serve.grpcio_door import GrpcioDoor, GrpcTls
from skerry.serve.h2_limits import GrpcLimits
from skerry.serve.listening import Listener
from skerry.serve.repository import Repository
from skerry.serve.service import Service

pytestmark = pytest.mark.anyio
ENGINES = ("own", "grpcio")
MIB = 1 << 20
Door = GrpcDoor | GrpcioDoor


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service(tmp_path: Path) -> Service:
    """`double`: y = 2 x, of shape [n, 4]."""
    path = tmp_path / "repository" / "double" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(path),
    )
    repository = Repository(tmp_path / "repository", queue_len_max=512, clock=SystemClock())
    found = Service(repository, clock=SystemClock())
    await repository.load_all()
    found.open()
    return found


def make_door(engine: str, works: GrpcWorks, message_bytes_max: int = 64 * MIB) -> Door:
    if engine == "grpcio":
        return GrpcioDoor(works, clock=SystemClock(), message_bytes_max=message_bytes_max)
    limits = GrpcLimits(message_bytes_max=message_bytes_max)
    return GrpcDoor(works, clock=SystemClock(), limits=limits)


@pytest.fixture(params=ENGINES)
async def serve(request: Any, service: Service) -> AsyncIterator[Callable[..., Any]]:
    """Open a door and return a channel to it; `infer` is what answers, `double` by default."""
    doors: list[Door] = []
    channels: list[Any] = []

    async def begin(
        infer: Any = None, *, admin: bool = False, channel: Any = None, **how: Any
    ) -> Any:
        door = make_door(request.param, GrpcWorks(service, infer or service.infer), **how)
        doors.append(door)
        port = await door.listen(Listener(admin=admin))
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=channel))
        channels[-1].door = door
        return channels[-1]

    yield begin
    for channel in channels:
        await channel.close(None)
    for door in doors:
        await door.stop(1)


def request(*values: float, **fields: Any) -> bytes:
    """A request whose input is rows of four equal numbers."""
    x = np.repeat(np.array(values or (1.0,), np.float32), 4).reshape(-1, 4)
    wanted = InferRequest(
        model=fields.pop("model", "double"), inputs=[tensor_from_array("x", x)], **fields
    )
    return oip_grpc.encode_request(wanted)


async def call(channel: Any, method: str, data: bytes, **how: Any) -> bytes:
    answer: bytes = await channel.unary_unary(f"/{oip_grpc.SERVICE}/{method}")(data, **how)
    return answer


async def refused(channel: Any, method: str, data: bytes, **how: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, method, data, **how)
    return caught.value


def echo(count: int = 0) -> Any:
    """An infer function that gives the input back, `count` bytes of it."""

    async def infer(wanted: InferRequest) -> InferReply:
        outputs = wanted.inputs
        if count:
            outputs = [tensor_from_array("y", np.arange(count, dtype=np.uint8))]
        return InferReply(model=wanted.model, version="1", id=wanted.id, outputs=outputs)

    return infer


# Answers.


async def test_an_inference_is_answered_with_who_served_it(serve: Any) -> None:
    channel = await serve()
    one = channel.unary_unary(f"/{oip_grpc.SERVICE}/ModelInfer")(request(1, 2, id="a"))
    reply = oip_grpc.decode_reply(await one)
    trailing = dict(await one.trailing_metadata())
    assert reply.id == "a"
    assert reply.outputs[0].data.tolist() == [[2.0] * 4, [4.0] * 4]
    assert trailing["skerry-served-by"] == reply.parameters["skerry-served-by"]


async def test_every_call_gets_the_same_bytes_through_both_doors(service: Service) -> None:
    """All methods of the table, with an empty message: answer or status, text and metadata."""
    works = GrpcWorks(service, service.infer)
    seen: dict[str, list[Any]] = {engine: [] for engine in ENGINES}
    for engine in ENGINES:
        door = make_door(engine, works)
        port = await door.listen(Listener(admin=True))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for method in works.unary:
                one = channel.unary_unary(f"/{oip_grpc.SERVICE}/{method}")(b"")
                status = (await one.code(), await one.details(), await one.trailing_metadata())
                answer = await one if status[0] is grpc.StatusCode.OK else b""
                seen[engine].append((method, answer, status[0], status[1], tuple(status[2])))
        await door.stop(1)
    assert len(seen["own"]) == len(works.unary) > 12
    assert seen["own"] == seen["grpcio"]


async def test_three_hundred_calls_at_once_are_all_answered(serve: Any) -> None:
    """More than one connection may have open: the client waits for its turn."""
    channel = await serve()
    answers: dict[int, float] = {}

    async def one(value: int) -> None:
        reply = oip_grpc.decode_reply(await call(channel, "ModelInfer", request(value)))
        answers[value] = float(reply.outputs[0].data[0, 0])

    async with anyio.create_task_group() as tasks:
        for value in range(300):
            tasks.start_soon(one, value)
    assert answers == {value: 2.0 * value for value in range(300)}


@pytest.mark.parametrize("size", [0, 1, 1000, 16_379, 16_380, 65_530, 5 * MIB])
async def test_messages_of_every_size_come_and_go_whole(serve: Any, size: int) -> None:
    wide = [("grpc.max_receive_message_length", 64 * MIB)]
    channel = await serve(echo(), channel=wide)
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    wanted = InferRequest(model="any", inputs=[tensor_from_array("x", data)])
    answer = await call(channel, "ModelInfer", oip_grpc.encode_request(wanted))
    found = oip_grpc.decode_reply(answer).outputs[0]
    assert found.shape == (size,)
    assert np.array_equal(found.data, data)


async def test_many_large_answers_at_once_share_the_windows(serve: Any) -> None:
    """64 MiB through windows that the client opens piece by piece."""
    channel = await serve(echo(2 * MIB))
    found: list[int] = []

    async def one() -> None:
        found.append(len(await call(channel, "ModelInfer", request())))

    async with anyio.create_task_group() as tasks:
        for _ in range(32):
            tasks.start_soon(one)
    assert len(found) == 32
    assert min(found) > 2 * MIB


# Refusals.


async def test_bytes_that_are_no_message_get_a_clean_answer(serve: Any) -> None:
    error = await refused(await serve(), "ModelInfer", b"\xff\xff\xff")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a ModelInferRequest" in (error.details() or "")


async def test_an_unknown_model_is_not_found_and_the_code_says_so(serve: Any) -> None:
    error = await refused(await serve(), "ModelInfer", request(model="none"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert dict(error.trailing_metadata() or ())["skerry-error-code"] == "E0401"


async def test_an_unknown_method_is_unimplemented(serve: Any) -> None:
    error = await refused(await serve(), "ModelGuess", b"")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_refusal_for_load_says_when_to_come_back(serve: Any) -> None:
    async def full(_: InferRequest) -> Any:
        raise QueueFullError("double", 64, 0.25)

    error = await refused(await serve(full), "ModelInfer", request())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(error.trailing_metadata() or ())
    assert trailing["grpc-retry-pushback-ms"] == "250"
    assert trailing["skerry-error-code"] == "E0403"


async def test_a_text_of_any_characters_arrives_as_it_is(serve: Any) -> None:
    async def odd(_: InferRequest) -> Any:
        raise QueueFullError("100 % möglich\n\t\U0001f600", 1, 1.0)

    error = await refused(await serve(odd), "ModelInfer", request())
    assert "100 % möglich\n\t\U0001f600" in (error.details() or "")


async def test_an_error_that_nobody_foresaw_keeps_its_secrets(serve: Any) -> None:
    async def broken(_: InferRequest) -> Any:
        raise ZeroDivisionError("a secret")

    error = await refused(await serve(broken), "ModelInfer", request())
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (error.details() or "")


async def test_a_message_too_large_is_refused_and_the_connection_goes_on(serve: Any) -> None:
    channel = await serve(message_bytes_max=1000)
    for size in (2000, 5 * MIB):
        error = await refused(channel, "ModelInfer", b"\0" * size)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await call(channel, "ServerLive", b"")


async def test_models_change_on_admin_listeners_only(serve: Any, service: Service) -> None:
    message = pb.RepositoryModelUnloadRequest(model_name="double").SerializeToString()
    error = await refused(await serve(), "RepositoryModelUnload", message)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert service.model_ready("double")
    await call(await serve(admin=True), "RepositoryModelUnload", message)
    error = await refused(await serve(), "ModelInfer", request())
    assert error.code() is grpc.StatusCode.NOT_FOUND


# Metadata and time.


def noting(seen: list[InferRequest]) -> Any:
    async def infer(wanted: InferRequest) -> InferReply:
        seen.append(wanted)
        return InferReply(model="m", version="1", outputs=[])

    return infer


async def test_the_grpc_timeout_is_the_deadline_unless_a_stated_one_is_nearer(serve: Any) -> None:
    seen: list[InferRequest] = []
    channel = await serve(noting(seen))
    await call(channel, "ModelInfer", request())
    await call(channel, "ModelInfer", request(), timeout=20)
    stated = (("skerry-deadline-ms", "4000"),)
    await call(channel, "ModelInfer", request(), timeout=20, metadata=stated)
    found = [one.deadline_s for one in seen]
    assert found[0] is None
    assert 10 < (found[1] or 0) <= 20.2  # the C core rounds up to a tenth of a second
    assert found[2] == 4


async def test_facts_come_as_metadata_and_what_clients_may_not_say_is_passed_over(
    serve: Any,
) -> None:
    seen: list[InferRequest] = []
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    metadata = (
        ("skerry-data-class", "health"),
        ("traceparent", trace),
        ("skerry-hops", "3"),
        ("skerry-origin", "elsewhere"),
        ("some-bin", b"\0\xff"),
    )
    await call(await serve(noting(seen)), "ModelInfer", request(), metadata=metadata)
    assert (seen[0].data_class, seen[0].traceparent) == ("health", trace)
    assert (seen[0].hops, seen[0].origin_site) == (0, None)


async def test_a_fact_that_cannot_be_read_is_refused(serve: Any) -> None:
    metadata = (("skerry-deadline-ms", "soon"),)
    error = await refused(await serve(), "ModelInfer", request(), metadata=metadata)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "skerry-deadline-ms" in (error.details() or "")


async def test_two_hundred_heads_that_all_differ_are_read_right(serve: Any) -> None:
    """A client with a trace of its own for each call: none may get another's."""
    seen: list[InferRequest] = []
    channel = await serve(noting(seen))
    traces = [f"00-{number:032x}-{'b' * 16}-01" for number in range(200)]
    for trace in traces:
        await call(channel, "ModelInfer", request(), metadata=(("traceparent", trace),))
    assert [one.traceparent for one in seen] == traces


def waiting(events: list[str], started: anyio.Event) -> Any:
    """An infer function that waits in a task, and says how it ended."""

    async def infer(_: InferRequest) -> Any:
        started.set()
        try:
            await in_task()
            await anyio.sleep(60)
        except BaseException as error:
            events.append(type(error).__name__)
            raise

    return infer


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.01)


async def test_a_deadline_ends_the_call_on_both_sides(serve: Any) -> None:
    events: list[str] = []
    channel = await serve(waiting(events, anyio.Event()))
    error = await refused(channel, "ModelInfer", request(), timeout=0.2)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: events == ["CancelledError"])


async def test_a_deadline_that_the_server_notices_is_told_as_one(serve: Any) -> None:
    async def late(_: InferRequest) -> Any:
        raise DeadlineError("double", 0.1, foretold=True)

    error = await refused(await serve(late), "ModelInfer", request())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "skerry-deadline-ms" in (error.details() or "")


async def test_a_client_that_cancels_ends_the_work(serve: Any) -> None:
    events: list[str] = []
    started = anyio.Event()
    channel = await serve(waiting(events, started))
    one = channel.unary_unary(f"/{oip_grpc.SERVICE}/ModelInfer")(request())
    await started.wait()
    one.cancel()
    await until(lambda: events == ["CancelledError"])


async def test_a_client_that_leaves_ends_the_work(serve: Any) -> None:
    events: list[str] = []
    started = anyio.Event()
    channel = await serve(waiting(events, started))
    one = channel.unary_unary(f"/{oip_grpc.SERVICE}/ModelInfer")(request())
    await started.wait()
    await channel.close(None)
    await until(lambda: events == ["CancelledError"])
    del one


async def test_a_stop_answers_what_is_under_way(serve: Any) -> None:
    started = anyio.Event()

    async def slow(_: InferRequest) -> InferReply:
        await in_task()
        started.set()
        await anyio.sleep(0.3)
        return InferReply(model="slow", version="1", outputs=[])

    channel = await serve(slow)
    one = channel.unary_unary(f"/{oip_grpc.SERVICE}/ModelInfer")(request())
    await started.wait()
    await channel.door.stop(5)
    assert oip_grpc.decode_reply(await one).model == "slow"
    assert (await refused(channel, "ServerLive", b"")).code() is grpc.StatusCode.UNAVAILABLE


# Compression.


@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("size", [10, 5000, 3 * MIB])
async def test_compressed_messages_are_understood_both_ways(
    serve: Any, kind: Any, size: int
) -> None:
    channel = await serve(echo())
    data = np.arange(size, dtype=np.uint8)
    wanted = InferRequest(model="any", inputs=[tensor_from_array("x", data)])
    message = oip_grpc.encode_request(wanted)
    reply = oip_grpc.decode_reply(await call(channel, "ModelInfer", message, compression=kind))
    assert np.array_equal(reply.outputs[0].data, data)


async def test_a_small_message_that_unpacks_beyond_the_limit_is_refused(serve: Any) -> None:
    channel = await serve(message_bytes_max=MIB)
    error = await refused(
        channel, "ModelInfer", b"\0" * (20 * MIB), compression=grpc.Compression.Gzip
    )
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# The stream.


def stream_of(channel: Any, requests: Any = None, **how: Any) -> Any:
    return channel.stream_stream(f"/{oip_grpc.SERVICE}/ModelStreamInfer")(requests, **how)


async def test_a_stream_answers_in_order_and_an_error_ends_nothing(serve: Any) -> None:
    channel = await serve()
    wanted = [request(1, id="0"), request(model="none", id="1"), b"\xff\xff", request(3, id="3")]
    found = []
    async for data in stream_of(channel, iter(wanted)):
        found.append(pb.ModelStreamInferResponse.FromString(data))
    assert [one.infer_response.id for one in found] == ["0", "1", "", "3"]
    assert "not served here" in found[1].error_message
    assert "not a ModelInferRequest" in found[2].error_message
    last = oip_grpc.decode_reply(found[3].infer_response.SerializeToString())
    assert last.outputs[0].data.tolist() == [[6.0] * 4]


async def test_a_stream_goes_back_and_forth(serve: Any) -> None:
    stream = stream_of(await serve())
    for value in range(5):
        await stream.write(request(value, id=str(value)))
        found = pb.ModelStreamInferResponse.FromString(await stream.read())
        assert found.infer_response.id == str(value)
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_two_thousand_requests_of_a_stream_are_answered_in_order(serve: Any) -> None:
    wanted = (request(1, id=str(number)) for number in range(2000))
    found = [
        pb.ModelStreamInferResponse.FromString(data).infer_response.id
        async for data in stream_of(await serve(), wanted)
    ]
    assert found == [str(number) for number in range(2000)]


async def test_large_messages_of_a_stream_come_and_go_whole(serve: Any) -> None:
    channel = await serve(echo())
    data = np.arange(3 * MIB, dtype=np.uint8)
    message = oip_grpc.encode_request(
        InferRequest(model="any", inputs=[tensor_from_array("x", data)])
    )
    sizes = []
    async for answer in stream_of(channel, iter([message] * 12)):
        reply = pb.ModelStreamInferResponse.FromString(answer).infer_response
        sizes.append(len(reply.raw_output_contents[0]))
    assert sizes == [3 * MIB] * 12


async def test_an_empty_stream_ends_well(serve: Any) -> None:
    stream = stream_of(await serve(), iter([]))
    assert [data async for data in stream] == []
    assert await stream.code() is grpc.StatusCode.OK


async def test_the_deadline_of_a_stream_is_that_of_its_requests_and_ends_it(serve: Any) -> None:
    seen: list[InferRequest] = []

    async def once(wanted: InferRequest) -> InferReply:
        seen.append(wanted)
        if len(seen) > 1:
            await in_task()
            await anyio.sleep(60)
        return InferReply(model="m", version="1", outputs=[])

    stream = stream_of(await serve(once), timeout=0.5)
    await stream.write(request())
    assert await stream.read()
    await stream.write(request())
    assert await stream.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0 < (seen[0].deadline_s or 0) <= 0.6


async def test_a_cancelled_stream_ends_its_work(serve: Any) -> None:
    events: list[str] = []
    started = anyio.Event()
    stream = stream_of(await serve(waiting(events, started)))
    await stream.write(request())
    await started.wait()
    stream.cancel()
    await until(lambda: events == ["CancelledError"])


async def test_compressed_requests_of_a_stream_are_understood(serve: Any) -> None:
    stream = stream_of(await serve(), iter([request(2)] * 3), compression=grpc.Compression.Gzip)
    assert len([data async for data in stream]) == 3


async def test_a_message_of_a_stream_that_is_too_large_ends_it(serve: Any) -> None:
    channel = await serve(message_bytes_max=1000)
    stream = stream_of(channel)
    await stream.write(request(1))
    assert await stream.read()
    await stream.write(b"\0" * 2000)
    assert await stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# Listeners and clients.


@pytest.fixture(scope="module")
def certificate() -> tuple[bytes, bytes]:
    """A key and a certificate of its own for localhost, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        made.public_bytes(serialization.Encoding.PEM),
    )


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_call_over_tls_is_answered(
    engine: str, service: Service, certificate: tuple[bytes, bytes], tmp_path: Path
) -> None:
    key, chain = certificate
    door = make_door(engine, GrpcWorks(service, echo()))
    if isinstance(door, GrpcioDoor):
        port = await door.listen(Listener(), GrpcTls(key=key, chain=chain))
    else:
        (tmp_path / "pem").write_bytes(key + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "pem")
        port = await door.listen(Listener(ssl=context))
    credentials = grpc.ssl_channel_credentials(chain)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        assert await call(channel, "ServerLive", b"")
        large = InferRequest(
            model="any", inputs=[tensor_from_array("x", np.zeros(3 * MIB, np.uint8))]
        )
        answer = await call(channel, "ModelInfer", oip_grpc.encode_request(large))
        assert len(answer) > 3 * MIB
    await door.stop(1)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_call_over_a_unix_socket_is_answered(
    engine: str, service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "grpc.sock"
    door = make_door(engine, GrpcWorks(service, service.infer))
    assert await door.listen(Listener(uds=str(path), admin=True)) == 0
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        message = pb.RepositoryModelUnloadRequest(model_name="double").SerializeToString()
        assert await call(channel, "RepositoryModelUnload", message) == b""
    await door.stop(1)


async def test_a_client_without_a_loop_is_served_too(serve: Any) -> None:
    channel = await serve()
    target = channel.door

    def ask(port: int) -> bytes:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
            answer: bytes = plain.unary_unary(f"/{oip_grpc.SERVICE}/ServerLive")(b"", timeout=10)
            return answer

    port = await target.listen(Listener())
    answer = await anyio.to_thread.run_sync(ask, port)
    assert pb.ServerLiveResponse.FromString(answer).live
