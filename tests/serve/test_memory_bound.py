"""Bounded memory: what was asked for least recently rests, and comes back when asked again."""

import asyncio
import gc
import json
import re
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest

from skerry.schema import oip_grpc
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import InferRequest
from skerry.schema.oip_tensors import tensor_from_array
from skerry.schema.records import Outcome
from skerry.serve import repository as repository_module
from skerry.serve.errors import (
    MemoryFullError,
    RestingError,
    SampleError,
    UnknownModelError,
)
from skerry.serve.loading import load_version
from skerry.serve.onnx_engine import OnnxModel
from skerry.serve.repository import Repository
from skerry.serve.server import Server
from skerry.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
X = tensor_from_array("x", np.ones((1, 4), np.float32))
MIB = 1024**2


@pytest.fixture(autouse=True)
def each_takes_a_mebibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a small model adds to a process is noise, so here every one adds the same."""

    def load(*of: Any, **more: Any) -> Any:
        return replace(load_version(*of, **more), memory_bytes=MIB)

    monkeypatch.setattr(repository_module, "load_version", load)


@pytest.fixture
def three(tmp_path: Path, models: Any) -> Path:
    folder = tmp_path / "repository"
    for number, name in enumerate(("a", "b", "c"), start=1):
        models.scale(folder / name / "1" / "model.onnx", float(number))
    return folder


def opened(folder: Path, clock: Any, mebibytes: float = 2) -> Repository:
    return Repository(folder, queue_len_max=8, clock=clock, memory_bytes_max=int(mebibytes * MIB))


def used(models: Repository, name: str, clock: ManualClock) -> None:
    clock.advance(2)
    models.get(name).window.add(clock.monotonic_s(), 0.001, Outcome.OK)


def resting(models: Repository) -> list[str]:
    return [name for name in ("a", "b", "c") if models.entry(name).resting]


async def test_a_repository_larger_than_memory_serves_whole(three: Path) -> None:
    clock = ManualClock()
    models = opened(three, clock)
    assert await models.load_all() == []
    assert models.memory_bytes() == 2 * MIB
    assert resting(models) == ["a"]
    assert models.all_ready()
    assert models.versions("a") == ["1"]
    assert models.described("a").inputs[0].name == "x"
    row = models.index()[0]
    assert (row.name, row.state) == ("a", "READY")
    assert row.reason == "unloaded to make room for c, being the one used least recently; " + (
        "loads when asked"
    )


async def test_the_one_used_least_recently_makes_room(three: Path) -> None:
    clock = ManualClock()
    models = opened(three, clock)
    await models.load_all()  # b and c are loaded
    used(models, "c", clock)
    used(models, "b", clock)
    with pytest.raises(RestingError):
        models.get("a")
    slot = await models.wake("a", "", 10.0)
    assert slot is models.get("a")
    assert resting(models) == ["c"]
    assert models.unloads == 2
    assert [(event.model, event.what) for event in models.events][-2:] == [
        ("c", "unloaded"),
        ("a", "loaded"),
    ]


async def test_a_pinned_model_stays_and_what_finds_no_room_is_refused(three: Path) -> None:
    for name in ("a", "b"):
        (three / name / "model.json").write_text('{"pinned": true}')
    models = opened(three, ManualClock())
    (error,) = await models.load_all()
    assert isinstance(error, MemoryFullError)
    assert error.retry_after_s
    assert resting(models) == []
    with pytest.raises(UnknownModelError):
        models.get("c")
    assert re.search(r"c needs \d+ bytes of memory; of the bound", models.index()[2].reason)


async def test_a_swap_needs_room_for_both_and_moves_nobody_where_there_is_none(
    three: Path, models: Any
) -> None:
    served = opened(three, ManualClock(), mebibytes=1)
    await served.load("a")
    before = served.get("a")
    models.scale(three / "a" / "2" / "model.onnx", 9.0)
    with pytest.raises(MemoryFullError):
        await served.load_folder("a", three / "a" / "2")
    assert served.get("a") is before


async def test_requests_for_one_resting_model_share_its_load(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = opened(three, ManualClock())
    await models.load_all()
    loads: list[str] = []
    load = repository_module.load_version

    def counted(name: str, *of: Any, **more: Any) -> Any:
        loads.append(name)
        return load(name, *of, **more)

    monkeypatch.setattr(repository_module, "load_version", counted)
    slots = await asyncio.gather(*(models.wake("a", version, 10.0) for version in ("", "1", "")))
    assert loads == ["a"]
    assert slots[0] is slots[1] is slots[2]


async def test_a_request_that_cannot_wait_hears_when_to_come_back_and_the_load_goes_on(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = opened(three, ManualClock())
    await models.load_all()
    load = repository_module.load_version

    def slow(*of: Any, **more: Any) -> Any:
        time.sleep(0.2)  # on the loading thread
        return load(*of, **more)

    monkeypatch.setattr(repository_module, "load_version", slow)
    patient = asyncio.create_task(models.wake("a", "", 10.0))
    with pytest.raises(RestingError) as caught:
        await models.wake("a", "", 0.01)
    assert caught.value.http_status == 503
    assert caught.value.retry_after_s == pytest.approx(0.1, abs=0.1)
    assert await patient is models.get("a")
    assert [event.model for event in models.events if event.what == "loaded"].count("a") == 2


async def test_a_model_that_went_bad_while_it_rested_says_so_and_others_stay(
    three: Path, models: Any
) -> None:
    served = opened(three, ManualClock())
    await served.load_all()
    models.card(three / "a" / "1")  # its sample says that it doubles, which it does not
    with pytest.raises(SampleError):
        await served.wake("a", "", 10.0)
    assert "differs by" in served.index()[0].reason
    (three / "a" / "1" / "card.json").unlink()
    await served.wake("a", "", 10.0)
    assert served.index()[0].reason == ""


async def test_a_resting_model_that_is_unloaded_by_hand_is_gone(three: Path) -> None:
    models = opened(three, ManualClock())
    await models.load_all()
    await models.unload("a")
    with pytest.raises(UnknownModelError):
        models.get("a")
    with pytest.raises(UnknownModelError):
        await models.wake("a", "", 1.0)


@pytest.fixture
async def bounded(start: Any, three: Path) -> Server:
    found: Server = await start(three, memory_bytes_max=2 * MIB)
    return found


async def test_over_http_every_model_answers_though_two_fit(bounded: Server, exchange: Any) -> None:
    for _ in range(2):
        for number, name in enumerate(("a", "b", "c"), start=1):
            reply = await bounded.service.infer(InferRequest(model=name, inputs=[X]))
            assert reply.outputs[0].data.tolist() == [[float(number)] * 4]
            body = json.dumps(
                {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}]}
            ).encode()
            head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            raw = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
            answer = await exchange(bounded.ports.http, raw, end=False)
            assert b" 200 " in answer.split(b"\r\n")[0]
    assert bounded.service.repository.memory_bytes() == 2 * MIB


async def test_a_refusal_for_want_of_time_says_503_and_when_to_retry(
    bounded: Server, exchange: Any
) -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,1,1,1]}]}'
    raw = (
        b"POST /v2/models/a/infer HTTP/1.1\r\nhost: x\r\nskerry-deadline-ms: 0.001\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    ) + body
    answer = (await exchange(bounded.ports.http, raw)).lower()
    assert b" 503 " in answer.split(b"\r\n")[0]
    assert b"\r\nretry-after:" in answer
    assert b"e0423" in answer


async def test_what_was_refused_leaves_no_memory_behind(
    three: Path, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is kept, as the server does, keeps its frames, and they keep the model."""
    made: list[weakref.ref[Any]] = []
    init = OnnxModel.__init__

    def noted(self: OnnxModel, *of: Any, **more: Any) -> None:
        init(self, *of, **more)
        made.append(weakref.ref(self))

    monkeypatch.setattr(OnnxModel, "__init__", noted)
    models.card(three / "a" / "1")  # its sample says that it doubles, which it does not
    served = opened(three, ManualClock(), mebibytes=0.5)
    errors = await served.load_all()
    assert [type(error) for error in errors] == [SampleError, MemoryFullError, MemoryFullError]
    await asyncio.sleep(0)  # the loop's own step, which brought the last one, ends
    gc.collect()
    assert len(made) == 3
    assert [one() for one in made] == [None, None, None]


async def test_over_grpc_a_resting_model_comes_back_too(start: Any, three: Path) -> None:
    server = await start(three, grpc_port=0, memory_bytes_max=2 * MIB)
    method = f"/{oip_grpc.SERVICE}/ModelInfer"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports.grpc}") as channel:
        for number, name in enumerate(("a", "b", "c"), start=1):
            request = oip_grpc.encode_request(InferRequest(model=name, inputs=[X]))
            reply = oip_grpc.decode_reply(await channel.unary_unary(method)(request))
            assert reply.outputs[0].data.tolist() == [[float(number)] * 4]
    assert server.service.repository.unloads >= 3


@pytest.mark.parametrize("door", ["http", "grpc"])
async def test_a_resting_model_tells_its_configuration_and_that_it_did_nothing(
    start: Any, three: Path, exchange: Any, door: str
) -> None:
    server = await start(three, grpc_port=0, memory_bytes_max=2 * MIB)
    rests = next(name for name in ("a", "b", "c") if server.service.repository.entry(name).resting)
    assert server.service.statistics(rests) == []
    if door == "http":
        ask = f"GET /v2/models/{rests}/config HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        found = await exchange(server.ports.http, ask, enough=b"}}")
        assert f'"name":"{rests}"'.encode() in found
    else:
        method = f"/{oip_grpc.SERVICE}/ModelConfig"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports.grpc}") as channel:
            wanted = pb.ModelConfigRequest(name=rests).SerializeToString()
            found = await channel.unary_unary(method)(wanted)
        assert pb.ModelConfigResponse.FromString(found).config.name == rests
    assert not server.service.repository.entry(rests).resting
