"""Hot swap: versions change under load and no request fails, whatever it was answered by."""

import asyncio
import struct
from pathlib import Path
from typing import Any

import pytest

from skerry.serve.errors import ServeError
from skerry.serve.server import Server

pytestmark = pytest.mark.anyio
CLIENTS = 8
SWAPS = 12
HEAD = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"parameters":' + (
    b'{"binary_data_size":16}}],"outputs":[{"name":"y","parameters":{"binary_data":true}}]}'
)
BODY = HEAD + struct.pack("<4f", 1.0, 1.0, 1.0, 1.0)
REQUEST = (
    b"POST /v2/models/double/infer HTTP/1.1\r\nhost: x\r\n"
    b"inference-header-content-length: %d\r\ncontent-length: %d\r\n\r\n" % (len(HEAD), len(BODY))
) + BODY


async def hammer(port: int, stop: asyncio.Event, seen: set[float], bad: list[bytes]) -> int:
    """Send requests on one connection until told to stop; return how many were answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while not stop.is_set():
        writer.write(REQUEST)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        answered += 1
        if b" 200 " not in head.split(b"\r\n")[0]:
            bad.append(head + body)
        else:
            seen.add(struct.unpack("<4f", body[-16:])[0])
    writer.close()
    return answered


async def test_versions_swap_under_load_and_no_request_fails(
    start: Any, models: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "repository" / "double"
    models.scale(folder / "1" / "model.onnx", 1.0)
    server: Server = await start(tmp_path / "repository")
    stop, seen, bad = asyncio.Event(), set[float](), list[bytes]()
    clients = [
        asyncio.create_task(hammer(server.ports.http, stop, seen, bad)) for _ in range(CLIENTS)
    ]
    for version in range(2, SWAPS + 2):
        staged = tmp_path / "staged" / str(version)
        models.scale(staged / "model.onnx", float(version))
        await server.service.load("double", staged)
        await asyncio.sleep(0.03)
        broken = tmp_path / "broken" / str(version + 1)
        models.scale(broken / "model.onnx", 99.0)
        models.card(broken, name="double")  # which says that it doubles
        with pytest.raises(ServeError):
            await server.service.load("double", broken)
    stop.set()
    answered = sum(await asyncio.gather(*clients))
    assert bad == []
    assert answered > SWAPS * CLIENTS
    assert 99.0 not in seen
    assert {float(version) for version in range(2, SWAPS + 2)} <= seen


async def test_versions_swap_between_runs_on_a_thread_too(
    start: Any, models: Any, tmp_path: Path
) -> None:
    """Runs of the old version are under way on its thread while the new one enters service."""
    folder = tmp_path / "repository" / "double"
    models.scale(folder / "1" / "model.onnx", 1.0)
    (folder / "model.json").write_text('{"run_on": "thread", "concurrency": 2}')
    server: Server = await start(tmp_path / "repository")
    stop, seen, bad = asyncio.Event(), set[float](), list[bytes]()
    clients = [
        asyncio.create_task(hammer(server.ports.http, stop, seen, bad)) for _ in range(CLIENTS)
    ]
    for version in range(2, 6):
        models.scale(folder / str(version) / "model.onnx", float(version))
        await server.service.load("double")
        await asyncio.sleep(0.03)
    stop.set()
    assert sum(await asyncio.gather(*clients)) > CLIENTS
    assert bad == []
    assert 5.0 in seen
