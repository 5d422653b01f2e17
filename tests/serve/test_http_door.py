"""The HTTP door at the level of bytes: framing, order, limits, and what attackers try."""

import json
import socket
import struct
from typing import Any

import anyio
import numpy as np
import pytest

from skerry.base.clock import SystemClock
from skerry.base.coding import compress
from skerry.base.drive import in_task
from skerry.base.errors import SkerryError
from skerry.serve.compression import decompress
from skerry.serve.errors import NotAdminError, PortBusyError
from skerry.serve.http_door import HttpDoor
from skerry.serve.http_message import HttpLimits, HttpReply
from skerry.serve.listening import Listener

pytestmark = pytest.mark.anyio

TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(body: bytes = BODY, *, path: str = "/v2/models/double/infer", head: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode()
        + body
    )


def statuses(got: bytes) -> list[int]:
    return [int(part[:3]) for part in got.split(b"HTTP/1.1 ")[1:]]


CLOSE = "Connection: close\r\n"


async def test_pipelined_requests_are_answered_in_order(
    start: Any, repository: Any, exchange: Any
) -> None:
    server = await start(repository)
    wrong = post(path="/v2/models/nobody/infer")
    got = await exchange(server.ports.http, post() + LIVE + wrong + post(head=CLOSE))
    assert statuses(got) == [200, 200, 404, 200]
    assert got.count(b'"data":[2.0,4.0,6.0,8.0]') == 2


async def test_a_deep_pipeline_stops_reading_and_still_answers_all(
    start: Any, repository: Any, exchange: Any
) -> None:
    server = await start(repository, HttpLimits(early_bytes_max=64))
    got = await exchange(server.ports.http, LIVE * 200 + LAST)
    assert statuses(got) == [200] * 201


async def test_a_request_may_come_byte_by_byte(start: Any, repository: Any) -> None:
    server = await start(repository)
    stream = await anyio.connect_tcp("127.0.0.1", server.ports.http)
    with anyio.fail_after(10):
        async with stream:
            for byte in post(head=CLOSE):
                await stream.send(bytes([byte]))
            got = b"".join([part async for part in stream])
    assert statuses(got) == [200]


async def test_a_chunked_body_is_taken(start: Any, repository: Any, exchange: Any) -> None:
    server = await start(repository)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:9], BODY[9:]))
    head = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    got = await exchange(
        server.ports.http, head + b"Connection: close\r\n\r\n" + chunks + b"0\r\n\r\n"
    )
    assert statuses(got) == [200]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("size", [4, 40_000])
async def test_bodies_may_be_compressed_both_ways(
    start: Any, repository: Any, exchange: Any, coding: str, size: int
) -> None:
    server = await start(repository)
    tensor = {"name": "x", "datatype": "FP32", "shape": [size // 4, 4], "data": [1.5] * size}
    whole = json.dumps({"inputs": [tensor]}).encode()
    packed = compress([whole], coding)
    codings = f"Content-Encoding: {coding}\r\nAccept-Encoding: {coding}\r\n"
    got = await exchange(server.ports.http, post(packed, head=CLOSE + codings))
    head, _, body = got.partition(b"\r\n\r\n")
    assert statuses(head) == [200]
    assert (f"content-encoding: {coding}".encode() in head) == (size > 4)
    text = decompress(body, coding, bytes_max=10**7) if size > 4 else body
    assert json.loads(text)["outputs"][0]["data"] == [3.0] * size
    assert b"skerry-served-by: site=local" in head


async def test_a_reply_may_come_in_pieces_and_the_connection_lives_on(exchange: Any) -> None:
    async def pieces() -> Any:
        for piece in (b"one", b"", b"two"):
            await anyio.sleep(0)
            yield piece

    async def handler(request: Any) -> HttpReply:
        return HttpReply(stream=pieces(), content_type="text/event-stream")

    door = HttpDoor(handler, clock=SystemClock())
    port = await door.listen(Listener())
    got = await exchange(port, LIVE + LAST)
    await door.stop(1)
    assert got.count(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n") == 2
    assert got.count(b"transfer-encoding: chunked") == 2


async def test_a_reply_that_breaks_off_is_not_taken_for_a_whole_one(
    exchange: Any, caplog: Any
) -> None:
    async def pieces() -> Any:
        yield b"one"
        raise KeyError("secret")

    async def handler(request: Any) -> HttpReply:
        return HttpReply(stream=pieces())

    door = HttpDoor(handler, clock=SystemClock())
    port = await door.listen(Listener())
    got = await exchange(port, LIVE)
    await door.stop(1)
    assert got.endswith(b"3\r\none\r\n")
    assert "while it was sent" in caplog.text


async def test_who_leaves_ends_its_request(start: Any, repository: Any) -> None:
    """A reset says that nobody reads; a closed side may still be read from (see below)."""
    arrived, left = anyio.Event(), anyio.Event()

    async def handler(request: Any) -> HttpReply:
        await in_task()
        arrived.set()
        try:
            await anyio.sleep_forever()
        finally:
            left.set()
        raise AssertionError

    door = HttpDoor(handler, clock=SystemClock())
    port = await door.listen(Listener())
    with anyio.fail_after(5):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.send(LIVE)
            await arrived.wait()
        await left.wait()
    await door.stop(1)


async def test_a_large_body_lies_aligned_and_is_read_in_place(start: Any, repository: Any) -> None:
    seen: list[Any] = []

    def wrap(infer: Any) -> Any:
        async def watched(request: Any) -> Any:
            seen.append(request.inputs[0].data)
            return await infer(request)

        return watched

    server = await start(repository, wrap=wrap)
    x = np.arange(400_000, dtype=np.float32).reshape(-1, 4)
    size = {"binary_data_size": x.nbytes}
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "parameters": size}
    for blanks in range(3):
        text = json.dumps({"inputs": [tensor]}).encode() + b" " * blanks
        head = f"{CLOSE}Inference-Header-Content-Length: {len(text)}\r\n"
        with anyio.fail_after(10):
            async with await anyio.connect_tcp("127.0.0.1", server.ports.http) as stream:
                await stream.send(post(text + x.tobytes(), head=head))
                got = b"".join([part async for part in stream])
        assert statuses(got) == [200]
        assert seen[-1].ctypes.data % 64 == 0
        assert not seen[-1].flags.owndata
        assert (seen[-1] == x).all()


async def test_a_body_that_waits_for_100_is_asked_for(start: Any, repository: Any) -> None:
    server = await start(repository)
    stream = await anyio.connect_tcp("127.0.0.1", server.ports.http)
    with anyio.fail_after(10):
        async with stream:
            whole = post(head=CLOSE + "Expect: 100-continue\r\n")
            await stream.send(whole[: -len(BODY)])
            assert await stream.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await stream.send(BODY)
            assert statuses(b"".join([part async for part in stream])) == [200]


async def test_a_body_too_large_is_refused_before_it_is_asked_for(
    start: Any, repository: Any, exchange: Any
) -> None:
    server = await start(repository, HttpLimits(body_bytes_max=10, linger_s=0.05))
    whole = post(head="Expect: 100-continue\r\n")
    assert statuses(await exchange(server.ports.http, whole[: -len(BODY)])) == [413]


async def test_a_chunked_body_too_large_is_refused(
    start: Any, repository: Any, exchange: Any
) -> None:
    server = await start(repository, HttpLimits(body_bytes_max=100, linger_s=0.05))
    chunks = b"40\r\n" + b"a" * 64 + b"\r\n40\r\n" + b"a" * 64
    assert statuses(await exchange(server.ports.http, CHUNKED + b"\r\n" + chunks)) == [413]


async def test_all_bodies_together_have_a_limit(start: Any, repository: Any, exchange: Any) -> None:
    """What one read brought is held by its connection; more is counted for all of them."""
    server = await start(repository, HttpLimits(held_bytes_max=50_000, linger_s=0.05))
    assert statuses(await exchange(server.ports.http, post(bytes(100_000)))) == [503]
    assert statuses(await exchange(server.ports.http, LAST)) == [200]


GET = b"GET /v2 HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v2 HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
SMUGGLES = {
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "two like lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "length and coding": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": CHUNKED + b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "hidden coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding twice": CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "signed length": POST + b"Content-Length: +2\r\n\r\nab",
    "space before colon": POST + b"Content-Length : 2\r\n\r\nab",
    "folded line": GET + b"A: b\r\n Content-Length: 2\r\n\r\n",
    "bare line feeds": b"GET /v2 HTTP/1.1\nHost: x\n\n",
    "no host": b"GET /v2 HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: y\r\n\r\n",
    "absolute target": b"GET http://y/v2 HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad chunk": CHUNKED + b"\r\nzz\r\n",
    "nul in a header": GET + b"A: \0\r\n\r\n",
    "not http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two deadlines": GET + b"skerry-hops: 1\r\nskerry-hops: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLES)
async def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_ends(
    start: Any, repository: Any, exchange: Any, name: str
) -> None:
    server = await start(repository, HttpLimits(linger_s=0.02))
    got = await exchange(server.ports.http, SMUGGLES[name] + LIVE)
    assert len(statuses(got)) == 1, got
    assert statuses(got)[0] in (400, 501), got
    assert b"connection: close" in got


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 3000, 431),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431),
        (post(head="Content-Encoding: br\r\n"), 415),
        (post(head="Content-Encoding: gzip\r\n"), 400),
        (post(head="Expect: miracles\r\n"), 417),
        (post(path="/v3"), 404),
        (post(path="/v2/models/double"), 405),
        (b"GET /v2/models/double/infer HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (post(path="/v2/models/double/versions/7/infer"), 404),
        (post(path="/v2/models/double/versions/x/infer"), 404),
        (post(path="/v2/models/..%2f..%2fetc/infer"), 404),
        (post(b"{}"), 400),
        (post(b"\xff\xfe"), 400),
        (post(head="skerry-data-class: NO\r\n"), 400),
        (post(head="Inference-Header-Content-Length: 1e3\r\n"), 400),
    ],
)
async def test_a_bad_request_gets_its_own_status(
    start: Any, repository: Any, exchange: Any, data: bytes, status: int
) -> None:
    limits = HttpLimits(head_bytes_max=1000, linger_s=0.02)
    server = await start(repository, limits)
    stream = await anyio.connect_tcp("127.0.0.1", server.ports.http)
    got = b""
    with anyio.fail_after(10):
        async with stream:
            for at in range(0, len(data), 500):  # so that a limit is met before the end
                with anyio.move_on_after(0 if b"\r\n\r\n" in got else 5):
                    await stream.send(data[at : at + 500])
            while b"\r\n\r\n" not in got:
                got += await stream.receive()
    assert statuses(got) == [status]
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]


async def test_a_truncated_body_is_refused(start: Any, repository: Any, exchange: Any) -> None:
    server = await start(repository, HttpLimits(linger_s=0.02))
    assert statuses(await exchange(server.ports.http, post()[:-5], end=True)) == [400]


async def test_a_client_that_closed_its_side_still_gets_its_answer(
    start: Any, repository: Any, exchange: Any
) -> None:
    server = await start(repository)
    assert statuses(await exchange(server.ports.http, post(), end=True)) == [200]


@pytest.mark.parametrize(
    ("data", "status"), [(b"GET /v2 HT", [408]), (post()[:-5], [408]), (b"", []), (LIVE, [200])]
)
async def test_who_takes_too_long_is_let_go(
    start: Any, repository: Any, exchange: Any, data: bytes, status: list[int]
) -> None:
    limits = HttpLimits(head_s=0.05, body_pause_s=0.05, idle_s=0.05, linger_s=0.02)
    server = await start(repository, limits)
    assert statuses(await exchange(server.ports.http, data)) == status


async def test_a_body_that_trickles_for_ever_is_cut_off(start: Any, repository: Any) -> None:
    limits = HttpLimits(body_pause_s=0.2, body_s=0.1, linger_s=0.02)
    server = await start(repository, limits)
    stream = await anyio.connect_tcp("127.0.0.1", server.ports.http)
    got = b""
    with anyio.fail_after(10):
        async with stream:
            await stream.send(post(b" " * 10_000)[:-9_999])
            while b"408" not in got:
                await stream.send(b" ")
                with anyio.move_on_after(0.02):
                    got += await stream.receive()


async def test_one_connection_too_many_is_told_so(
    start: Any, repository: Any, exchange: Any
) -> None:
    server = await start(repository, HttpLimits(connections_max=1))
    async with await anyio.connect_tcp("127.0.0.1", server.ports.http) as first:
        await first.send(LIVE)
        assert statuses(await first.receive()) == [200]
        assert statuses(await exchange(server.ports.http, b"")) == [503]
        await first.send(LIVE)
        assert statuses(await first.receive()) == [200]


async def test_http_1_0_closes_and_head_has_no_body(
    start: Any, repository: Any, exchange: Any
) -> None:
    server = await start(repository)
    got = await exchange(server.ports.http, b"GET /v2 HTTP/1.0\r\n\r\n")
    assert statuses(got) == [200]
    got = await exchange(
        server.ports.http, b"HEAD /v2 HTTP/1.1\r\nHost: x\r\n" + CLOSE.encode() + b"\r\n"
    )
    assert statuses(got) == [200]
    assert got.endswith(b"\r\n\r\n")


async def test_a_port_in_use_is_named(start: Any, repository: Any, busy_port: int) -> None:
    for option in ("http_port", "grpc_port", "metrics_port"):
        with pytest.raises(PortBusyError, match=f"127.0.0.1:{busy_port}: in use") as caught:
            await start(repository, **{option: busy_port})
        assert option.replace("_", "-") in caught.value.hint


async def test_a_unix_socket_serves_and_is_private(
    start: Any, repository: Any, tmp_path: Any
) -> None:
    path = tmp_path / "s.sock"
    server = await start(repository, uds=str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    with anyio.fail_after(5):
        async with await anyio.connect_unix(path) as stream:
            await stream.send(post(head=CLOSE))
            assert statuses(b"".join([part async for part in stream])) == [200]
    with pytest.raises(PortBusyError):
        await start(repository, uds=str(path))
    await server.stop()
    assert not path.exists()


async def test_a_socket_left_by_a_killed_process_is_replaced_and_a_file_is_not(
    start: Any, repository: Any, tmp_path: Any
) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    await start(repository, uds=str(path))
    other = tmp_path / "precious"
    other.write_text("data")
    with pytest.raises(PortBusyError, match="not a socket"):
        await start(repository, uds=str(other))
    assert other.read_text() == "data"


async def test_a_listener_may_refuse_its_peer(start: Any, repository: Any, exchange: Any) -> None:
    def refuse(_: object) -> None:
        raise NotAdminError("this peer")

    server = await start(repository, listeners=(Listener(authorize=refuse),))
    got = await exchange(server.ports.extra[0], post())
    assert statuses(got) == [403]


async def test_an_error_of_another_room_brings_its_own_status(exchange: Any) -> None:
    class BusyError(SkerryError):
        http_status = 429
        retry_after_s = 2.5

    async def handler(_: object) -> Any:
        raise BusyError("later")

    await check_one_reply(handler, exchange, 429, b"retry-after: 3")


async def test_a_bug_is_a_500_that_tells_nothing_of_the_inside(exchange: Any, caplog: Any) -> None:
    async def handler(_: object) -> Any:
        raise KeyError("secret")

    await check_one_reply(handler, exchange, 500, b"its log says why")
    assert "secret" in caplog.text


async def check_one_reply(handler: Any, exchange: Any, status: int, text: bytes) -> None:
    door = HttpDoor(handler, clock=SystemClock())
    port = await door.listen(Listener())
    got = await exchange(port, LAST)
    await door.stop(1)
    assert statuses(got) == [status]
    assert text in got
    assert b"secret" not in got


async def test_a_stop_lets_requests_end_and_idle_connections_go(
    start: Any, repository: Any, models: Any
) -> None:
    models.slow(repository / "slow" / "1" / "model.onnx")
    server = await start(repository)
    x = np.zeros((500, 500), np.float32).tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "FP32",
                    "shape": [500, 500],
                    "parameters": {"binary_data_size": len(x)},
                }
            ]
        }
    ).encode()
    request = post(
        head + x,
        path="/v2/models/slow/infer",
        head=f"Inference-Header-Content-Length: {len(head)}\r\n",
    )
    with anyio.fail_after(10):
        idle = await anyio.connect_tcp("127.0.0.1", server.ports.http)
        busy = await anyio.connect_tcp("127.0.0.1", server.ports.http)
        async with idle, busy:
            await busy.send(request)
            while not server.service.metrics_text().count(b"skerry_queue"):
                await anyio.sleep(0.001)
            await anyio.sleep(0.005)
            await server.stop()
            assert statuses(b"".join([part async for part in busy])) == [200]
            assert b"".join([part async for part in idle]) == b""


async def test_a_request_that_was_on_its_way_when_the_server_stops_is_answered(
    start: Any, repository: Any
) -> None:
    server = await start(repository)
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", server.ports.http) as stream:
            await stream.send(LIVE)
            assert statuses(await stream.receive()) == [200]
            async with anyio.create_task_group() as group:
                group.start_soon(server.stop)
                await anyio.sleep(0.01)
                await stream.send(LIVE)
                got = b"".join([part async for part in stream])
    assert statuses(got) == [200]
    assert b"connection: close" in got
