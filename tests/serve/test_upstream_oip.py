"""A model whose runtime is another server: found ready, asked, kept off when it fails."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from skerry.base.clock import SystemClock
from skerry.schema.oip import InferRequest, Tensor
from skerry.serve.errors import DeadlineError, QueueFullError, UnknownModelError
from skerry.serve.http_door import HttpDoor
from skerry.serve.http_message import HttpReply, HttpRequest, json_reply
from skerry.serve.listening import Listener
from skerry.serve.upstream_errors import (
    UpstreamDownError,
    UpstreamFailedError,
    UpstreamFileError,
    UpstreamNotReadyError,
    UpstreamRefusedError,
)

pytestmark = pytest.mark.anyio
Start = Callable[..., Awaitable[Any]]
X = np.arange(4, dtype=np.float32).reshape(1, 4)


class Peer:
    """An OIP server as others write them: no binary extension, lists as they come."""

    def __init__(self) -> None:
        self.port = 0
        self.ready = True
        self.status = 200
        self.asked: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.extensions: list[str] = []
        self.hold: asyncio.Event | None = None
        self.under_way = self.under_way_max = 0
        self.left = 0
        self._door = HttpDoor(self._answer, clock=SystemClock())

    async def open(self) -> "Peer":
        self.port = await self._door.listen(Listener(port=self.port))
        return self

    async def close(self) -> None:
        await self._door.stop(0)
        self._door = HttpDoor(self._answer, clock=SystemClock())

    async def _answer(self, request: HttpRequest) -> HttpReply:
        if request.path.endswith("/ready"):
            return HttpReply(status=200 if self.ready else 503)
        if request.path == "/v2":
            return json_reply({"name": "mlserver", "version": "1", "extensions": self.extensions})
        if request.method == "GET":
            tensor = {"datatype": "FP32", "shape": [-1, 4], "parameters": {"content_type": "np"}}
            both = {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]}
            return json_reply({"name": "theirs", "versions": [], "platform": "", **both})
        return await self._infer(request)

    async def _infer(self, request: HttpRequest) -> HttpReply:
        self.headers = request.headers
        self.asked.append(msgspec.json.decode(request.body))
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.under_way -= 1
        if self.status != 200:
            return json_reply({"error": "no, thank you"}, self.status)
        data = [2 * value for value in np.ravel(self.asked[-1]["inputs"][0]["data"]).tolist()]
        output = {"name": "y", "shape": [1, 4], "datatype": "FP32", "data": data}
        return json_reply({"model_name": "theirs", "id": "7", "outputs": [output]})


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    one = await Peer().open()
    yield one
    await one.close()


def front(folder: Path, port: int, name: str = "ours", version: int = 1, **changes: Any) -> Path:
    """Write a repository with one model behind a server on this machine."""
    settings = {
        "schema": "skerry.upstream/1",
        "kind": "oip",
        "url": f"http://127.0.0.1:{port}",
        "model": "theirs",
        "ready_every_s": 0.05,
        "ready_within_s": 0.3,
        **changes,
    }
    place = folder / name / str(version)
    place.mkdir(parents=True)
    (place / "upstream.json").write_bytes(msgspec.json.encode(settings))
    return folder


def asked(data: Any = X, **changes: Any) -> InferRequest:
    tensor = Tensor("x", "FP32", data.shape, data)
    return InferRequest(**{"model": "ours", "inputs": [tensor], **changes})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def test_a_skerry_behind_a_skerry_answers_in_binary(
    start: Start, repository: Path, tmp_path: Path
) -> None:
    behind = await start(repository)
    server = await start(front(tmp_path / "front", behind.ports.http, model="double"))
    reply = await server.service.infer(asked())
    assert (reply.outputs[0].data == 2 * X).all()
    assert server.service.metadata("ours").inputs[0].shape == (-1, 4)
    slot = server.service.repository.get("ours")
    assert slot.model._binary  # what a server offers is used


async def test_a_version_behind_can_be_named(
    start: Start, repository: Path, tmp_path: Path
) -> None:
    behind = await start(repository)
    server = await start(
        front(tmp_path / "front", behind.ports.http, model="double", version=4, kind="oip")
    )
    assert (await server.service.infer(asked())).version == "4"  # ours, whatever theirs is
    older = front(tmp_path / "older", behind.ports.http, model="double")
    text = (older / "ours" / "1" / "upstream.json").read_bytes()
    document = {**msgspec.json.decode(text), "version": "1"}
    (older / "ours" / "1" / "upstream.json").write_bytes(msgspec.json.encode(document))
    server = await start(older)
    assert ((await server.service.infer(asked())).outputs[0].data == 3 * X).all()


async def test_every_datatype_goes_through_in_json_too(
    start: Start, repository: Path, tmp_path: Path, models: Any
) -> None:
    behind = await start(repository)
    folder = front(tmp_path / "front", behind.ports.http, name="types", model="types")
    path = folder / "types" / "1" / "upstream.json"
    path.write_bytes(
        msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), "tensors": "json"})
    )
    server = await start(folder)
    spec = server.service.metadata("types")
    inputs = []
    for one in spec.inputs:
        data: Any = np.array([[1, 0]])
        if one.datatype == "BYTES":
            data = np.array([[b"a", b"bc"]], dtype=np.object_)
        else:
            data = data.astype(models_dtype(one.datatype))
        inputs.append(Tensor(one.name, one.datatype, (1, 2), data))
    reply = await server.service.infer(InferRequest(model="types", inputs=inputs))
    for given, found in zip(inputs, reply.outputs, strict=True):
        assert given.data.tolist() == found.data.tolist(), given.name


def models_dtype(datatype: str) -> Any:
    from skerry.schema.oip import DATATYPES

    return DATATYPES[datatype]


async def test_a_server_without_the_binary_extension_gets_lists(
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    server = await start(front(tmp_path, peer.port))
    reply = await server.service.infer(asked())
    assert reply.outputs[0].data.tolist() == (2 * X).tolist()
    assert peer.asked[0]["inputs"][0]["data"]
    assert "parameters" not in peer.asked[0]
    assert peer.headers["skerry-deadline-ms"]


async def test_a_server_that_is_away_at_the_start_is_used_when_it_comes(
    start: Start, tmp_path: Path
) -> None:
    peer = await Peer().open()
    await peer.close()
    server = await start(front(tmp_path, peer.port))
    assert server.service.ready()
    assert not server.refused
    assert not server.service.model_ready("ours")
    (row,) = server.service.index()
    assert row.state == "UNAVAILABLE"
    assert str(peer.port) in row.reason
    with pytest.raises(UpstreamDownError):
        await server.service.infer(asked())
    await peer.open()
    await until(lambda: server.service.model_ready("ours"))
    assert (await server.service.infer(asked())).outputs[0].data.tolist() == (2 * X).tolist()
    await peer.close()


async def test_a_swap_waits_for_the_server_and_changes_nothing_without_it(
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    server = await start(front(tmp_path, peer.port))
    front(tmp_path, 9, version=2)  # nobody listens there
    with pytest.raises(UpstreamNotReadyError, match="cannot be reached"):
        await server.service.load("ours")
    assert (await server.service.infer(asked())).version == "1"
    late = Peer()
    late.ready = False
    await late.open()
    (tmp_path / "ours" / "2" / "upstream.json").unlink()
    (tmp_path / "ours" / "2").rmdir()
    front(tmp_path, late.port, version=2, ready_within_s=5)
    swap = asyncio.create_task(server.service.load("ours"))
    await asyncio.sleep(0.1)
    assert (await server.service.infer(asked())).version == "1"
    late.ready = True
    await swap
    assert (await server.service.infer(asked())).version == "2"
    await server.service.unload("ours")
    with pytest.raises(UnknownModelError):
        await server.service.infer(asked())
    await late.close()


async def test_three_failures_shut_it_off_and_its_word_lets_one_through(
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    server = await start(front(tmp_path, peer.port, ready_every_s=0.3))
    peer.status = 500
    for _ in range(3):
        with pytest.raises(UpstreamFailedError, match="no, thank you"):
            await server.service.infer(asked())
    with pytest.raises(UpstreamDownError, match="3 failed runs in a row"):
        await server.service.infer(asked())
    assert len(peer.asked) == 3
    await until(lambda: server.service.model_ready("ours"))
    with pytest.raises(UpstreamFailedError):
        await server.service.infer(asked())
    with pytest.raises(UpstreamDownError):  # half open: one failure was enough
        await server.service.infer(asked())


async def test_what_it_refuses_is_the_requests_fault_and_stays_its_words(
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    server = await start(front(tmp_path, peer.port))
    peer.status = 422
    for _ in range(5):
        with pytest.raises(UpstreamRefusedError, match="no, thank you") as caught:
            await server.service.infer(asked())
        assert caught.value.http_status == 422
    assert server.service.model_ready("ours")


async def test_only_so_many_at_once_and_only_so_many_wait(
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    server = await start(front(tmp_path, peer.port, concurrency=2), queue_len_max=3)
    peer.hold = asyncio.Event()
    tasks = [asyncio.create_task(server.service.infer(asked())) for _ in range(5)]
    await until(lambda: peer.under_way == 2)
    with pytest.raises(QueueFullError):
        await server.service.infer(asked())
    assert server.service.stats()["ours"]["queue_len"] == 3
    peer.hold.set()
    assert len(await asyncio.gather(*tasks)) == 5
    assert peer.under_way_max == 2


async def test_a_deadline_ends_the_wait_and_the_call(
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    server = await start(front(tmp_path, peer.port, concurrency=1))
    peer.hold = asyncio.Event()
    first = asyncio.create_task(server.service.infer(asked(deadline_s=0.2)))
    await until(lambda: peer.under_way == 1)
    with pytest.raises(DeadlineError):  # in the queue
        await server.service.infer(asked(deadline_s=0.05))
    with pytest.raises(DeadlineError):  # under way
        await first
    await until(lambda: peer.left == 1)
    assert server.service.stats()["ours"]["queue_len"] == 0
    assert server.service.model_ready("ours")  # clients' deadlines say nothing about the server


async def test_a_client_that_leaves_takes_its_call_along(
    start: Start, peer: Peer, tmp_path: Path
) -> None:
    server = await start(front(tmp_path, peer.port, concurrency=1))
    peer.hold = asyncio.Event()
    first = asyncio.create_task(server.service.infer(asked()))
    waits = asyncio.create_task(server.service.infer(asked()))
    await until(lambda: peer.under_way == 1)
    waits.cancel()
    first.cancel()
    await until(lambda: peer.left == 1)
    peer.hold.set()
    await server.service.infer(asked())


async def test_secrets_come_from_where_the_file_says(
    start: Start, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "key").write_text("s3cret\n")
    monkeypatch.setitem(os.environ, "SKERRY_UPSTREAM_TENANT", "oslo")
    headers = {
        "authorization": {"file": "key", "prefix": "Bearer "},
        "x-tenant": {"env": "SKERRY_UPSTREAM_TENANT"},
    }
    folder = front(tmp_path / "front", peer.port, headers=headers)
    server = await start(folder, upstream_secrets=str(secrets))
    await server.service.infer(asked())
    assert peer.headers["authorization"] == "Bearer s3cret"
    assert peer.headers["x-tenant"] == "oslo"
    (secrets / "key").unlink()
    with pytest.raises(UpstreamDownError, match="secret key") as caught:
        await server.service.infer(asked())
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"url": "http://models.example.org:8000"}, "neither loopback nor allowed"),
        ({"url": "http://u:p@127.0.0.1"}, "wanted http"),
        ({"url": "ftp://127.0.0.1"}, "wanted http"),
        ({"kind": "grpc"}, "kind"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"colour": "red"}, "colour"),
        ({"ready_path": "health"}, "ready_path"),
        ({"headers": {"authorization": {"env": "HOME"}}}, "SKERRY_UPSTREAM_"),
        ({"headers": {"authorization": {"file": "../../etc/passwd"}}}, "plain name"),
        ({"headers": {"authorization": {"file": "key"}}}, "no folder of secrets"),
        ({"headers": {"authorization": "Bearer s3cret"}}, "headers"),
        ({"headers": {"host": {"env": "SKERRY_UPSTREAM_A"}}}, "headers.host"),
        ({"ca_file": "nowhere.pem", "url": "https://127.0.0.1"}, "ca_file"),
    ],
)
async def test_a_file_that_cannot_be_used_says_why(
    start: Start, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    server = await start(front(tmp_path, 9, **changes))
    (error,) = server.refused
    assert isinstance(error, UpstreamFileError)
    assert why in str(error)
    assert not server.service.ready()


async def test_a_host_that_the_settings_allow_is_asked(start: Start, tmp_path: Path) -> None:
    folder = front(tmp_path, 9, url="http://192.0.2.1:9", ready_every_s=60)
    server = await start(folder, upstream_hosts=("192.0.2.1",))
    assert not server.refused


async def test_a_card_of_another_version_is_refused(
    start: Start, models: Any, tmp_path: Path
) -> None:
    folder = front(tmp_path, 9)
    models.card(folder / "ours" / "1", version=2)
    server = await start(folder)
    assert "its card says ours 2, not ours 1" in str(server.refused[0])


async def test_one_runtime_stands_in_a_folder(start: Start, repository: Path) -> None:
    front(repository, 9, name="other")
    (repository / "double" / "2" / "upstream.json").write_bytes(
        (repository / "other" / "1" / "upstream.json").read_bytes()
    )
    server = await start(repository)
    assert "stands beside it" in str(server.refused[0])
