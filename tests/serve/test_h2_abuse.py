"""What abuses the gRPC door, by name: each attack ends, and everybody else is still served."""

import contextlib
import gzip
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import hpack
import numpy as np
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from skerry.base.clock import SystemClock
from skerry.base.drive import in_task
from skerry.schema import oip_grpc
from skerry.schema.oip import InferReply, InferRequest
from skerry.schema.oip_tensors import tensor_from_array
from skerry.serve.errors import NotAdminError
from skerry.serve.grpc_door import GrpcDoor
from skerry.serve.grpc_works import GrpcWorks
from skerry.serve.h2_frames import PREFACE, Code
from skerry.serve.h2_limits import CALM_MAX, RESETS_MAX, GrpcLimits
from skerry.serve.listening import Listener
from skerry.serve.repository import Repository
from skerry.serve.service import Service

pytestmark = pytest.mark.anyio
PATH = f"/{oip_grpc.SERVICE}/"
QUICK: dict[str, Any] = {
    "head_s": 0.2,
    "message_pause_s": 0.2,
    "write_s": 0.2,
}


def block(method: str = "ServerLive", **more: str) -> bytes:
    """A header block that leaves no trace in any table."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": PATH + method,
        "te": "trailers",
        "content-type": "application/grpc",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return b"\x20" + b"".join(
        b"\0" + bytes((len(n),)) + n.encode() + bytes((len(v),)) + v.encode()
        for n, v in fields.items()
    )


def _raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def message(data: bytes = b"", *, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(data)) + data


def headers(stream: int, data: bytes | None = None, *flags: str) -> HeadersFrame:
    data = block() if data is None else data
    return HeadersFrame(stream, data, flags=("END_HEADERS", *flags))


def data(stream: int, payload: bytes, *flags: str) -> DataFrame:
    return DataFrame(stream, payload, flags=flags)


class Peer:
    """A client that knows no rules."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self.frames: list[Frame] = []
        self._rest = b""

    async def send(self, *frames: Frame | bytes) -> None:
        raw = b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames)
        try:
            await self.stream.send(raw)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the server has closed already, and the test looks at why

    async def read(self, enough: Callable[[Frame], bool] = lambda _: False) -> list[Frame]:
        """Read to a frame that is enough, or to the end; returns all frames so far."""
        try:
            with anyio.fail_after(10):
                while not any(enough(frame) for frame in self.frames):
                    self._take(await self.stream.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
        return self.frames

    async def goaway(self) -> Code:
        """Read to the end and return why the server closed."""
        frames = [f for f in await self.read() if isinstance(f, GoAwayFrame)]
        assert frames, "the connection ended without GOAWAY"
        return Code(frames[-1].error_code)

    async def reset(self, stream: int) -> Code:
        """Read to the reset of a stream and return why."""
        await self.read(lambda f: isinstance(f, RstStreamFrame) and f.stream_id == stream)
        found = [f for f in self.frames if isinstance(f, RstStreamFrame) and f.stream_id == stream]
        return Code(found[0].error_code)

    async def trailers(self, stream: int) -> dict[str, str]:
        """Read to the end of a stream and return what it ended with."""
        await self.read(
            lambda f: (
                f.stream_id == stream and isinstance(f, HeadersFrame) and "END_STREAM" in f.flags
            )
        )
        last = [f for f in self.frames if isinstance(f, HeadersFrame) and f.stream_id == stream]
        return {str(n): str(v) for n, v in hpack.Decoder().decode(last[-1].data)}

    def body(self, stream: int) -> bytes:
        frames = [f for f in self.frames if isinstance(f, DataFrame) and f.stream_id == stream]
        return b"".join(f.data for f in frames)

    def _take(self, raw: bytes) -> None:
        self._rest += raw
        while len(self._rest) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._rest[:9]))
            if len(self._rest) < 9 + length:
                return
            frame.parse_body(memoryview(self._rest[9 : 9 + length]))
            self._rest = self._rest[9 + length :]
            self.frames.append(frame)


class Site:
    """One door, and the means to attack it."""

    def __init__(self, door: GrpcDoor, port: int, stack: Any) -> None:
        self.door, self.port, self.stack = door, port, stack

    async def peer(self, *first: Frame | bytes, preface: bool = True) -> Peer:
        stream = await anyio.connect_tcp("127.0.0.1", self.port)
        await self.stack.enter_async_context(stream)
        peer = Peer(stream)
        if preface:
            await peer.send(PREFACE, *(first or (SettingsFrame(0),)))
        return peer

    async def serves(self) -> bool:
        """Say whether another client gets its answer, and nothing is held for the others."""
        peer = await self.peer()
        await peer.send(headers(1), data(1, message(), "END_STREAM"))
        return (await peer.trailers(1))["grpc-status"] == "0"

    async def empties(self) -> None:
        """Wait until no message is held any more."""
        with anyio.fail_after(5):
            while self.door.held_bytes:
                await anyio.sleep(0.01)


async def waits(_: InferRequest) -> Any:
    await in_task()
    await anyio.sleep(60)


async def big(_: InferRequest) -> InferReply:
    y = tensor_from_array("y", np.zeros(4 * 1024**2, np.uint8))
    return InferReply(model="m", version="1", outputs=[y])


Open = Callable[..., Awaitable[Site]]


@pytest.fixture
async def site(tmp_path: Any) -> AsyncIterator[Open]:
    doors: list[GrpcDoor] = []
    (tmp_path / "none").mkdir()
    service = Service(
        Repository(tmp_path / "none", queue_len_max=8, clock=SystemClock()), clock=SystemClock()
    )
    service.open()
    async with contextlib.AsyncExitStack() as stack:

        async def begin(infer: Any = None, **limits: Any) -> Site:
            works = GrpcWorks(service, infer or service.infer)
            door = GrpcDoor(works, clock=SystemClock(), limits=GrpcLimits(**limits))
            doors.append(door)
            return Site(door, await door.listen(Listener()), stack)

        yield begin
    for door in doors:
        await door.stop(1)


INFER = oip_grpc.encode_request(InferRequest(model="m", inputs=[]))


# Floods.


async def test_rapid_reset(site: Open) -> None:
    """CVE-2023-44487: calls that are begun and taken back, as fast as they can be written."""
    target = await site(waits)
    peer = await target.peer()
    for start in range(1, 2 * RESETS_MAX + 400, 100):
        frames: list[Frame] = []
        for stream in range(start, start + 100, 2):
            frames += [
                headers(stream, block("ModelInfer")),
                data(stream, message(INFER), "END_STREAM"),
                RstStreamFrame(stream, 8),
            ]
        await peer.send(*frames)
    assert await peer.goaway() is Code.ENHANCE_YOUR_CALM
    await target.empties()
    assert await target.serves()


async def test_made_you_reset(site: Open) -> None:
    """CVE-2025-8671: calls broken on purpose, so that it is the server who takes them back."""
    target = await site(waits)
    peer = await target.peer()
    broken = _raw(8, 0, 0, b"\0\0\0\0")[:5]
    for start in range(1, 2 * RESETS_MAX + 400, 100):
        frames: list[Frame | bytes] = []
        for stream in range(start, start + 100, 2):
            frames += [
                headers(stream, block("ModelInfer")),
                data(stream, message(INFER), "END_STREAM"),
                broken + stream.to_bytes(4, "big") + b"\0\0\0\0",
            ]
        await peer.send(*frames)
    assert await peer.goaway() is Code.ENHANCE_YOUR_CALM
    await target.empties()
    assert await target.serves()


@pytest.mark.parametrize("piece", [b"", b"\0\1a\1b" * 100])
async def test_continuation_flood(site: Open, piece: bytes) -> None:
    """CVE-2024-27316 and its kin: a header block that never ends."""
    target = await site()
    peer = await target.peer()
    await peer.send(HeadersFrame(1, block()))
    for _ in range(100):
        await peer.send(ContinuationFrame(1, piece))
    assert await peer.goaway() is Code.ENHANCE_YOUR_CALM
    assert await target.serves()


FLOODS: dict[str, Frame | bytes] = {
    "settings": SettingsFrame(0),
    "ping": PingFrame(0, b"12345678"),
    "priority": PriorityFrame(1, depends_on=0, stream_weight=1),
    "window updates": WindowUpdateFrame(0, 1),
    "unknown frames": b"\0\0\1\xab\0\0\0\0\0x",
    "data of ended streams": data(1, b""),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_flood_of_frames_that_carry_nothing(site: Open, name: str) -> None:
    """CVE-2019-9512 (ping), -9515 (settings), -9513 (priority), -9518 (empty data)."""
    target = await site()
    peer = await target.peer()
    await peer.send(headers(1), data(1, message(), "END_STREAM"))
    await peer.trailers(1)
    frame = FLOODS[name]
    raw = frame if isinstance(frame, bytes) else frame.serialize()
    many = 3 if name == "window updates" else 2  # each opens a little, and gives a half back

    async def flood() -> None:
        for _ in range(many * CALM_MAX // 100):
            await peer.send(raw * 100)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flood)
        assert await peer.goaway() is Code.ENHANCE_YOUR_CALM
    assert await target.serves()


async def test_empty_data_flood_on_an_open_stream(site: Open) -> None:
    target = await site()
    peer = await target.peer()
    await peer.send(headers(1))
    for _ in range(25):
        await peer.send(*[data(1, b"")] * 100)
    assert await peer.goaway() is Code.ENHANCE_YOUR_CALM


async def test_data_dribble(site: Open) -> None:
    """CVE-2019-9511's mirror: a message in frames of one byte."""
    target = await site()
    peer = await target.peer()
    await peer.send(headers(1), data(1, message(b"x" * 5000)[:5]))
    for _ in range(25):
        await peer.send(*[data(1, b"x")] * 100)
    assert await peer.goaway() is Code.ENHANCE_YOUR_CALM
    await target.empties()


async def test_ping_flood_whose_answers_nobody_reads(site: Open) -> None:
    """What we write for a client that does not read is bounded."""
    target = await site(big, write_s=0.5)
    peer = await target.peer(
        SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1}),
        WindowUpdateFrame(0, 2**31 - 1 - 65535),
    )
    for stream in range(1, 41, 2):
        await peer.send(
            headers(stream, block("ModelInfer")), data(stream, message(INFER), "END_STREAM")
        )
    with anyio.fail_after(10):
        while target.door._connections:
            await peer.send(PingFrame(0, b"12345678").serialize() * 20)
            await anyio.sleep(0.01)
    assert await target.serves()


async def test_settings_of_many_values(site: Open) -> None:
    target = await site()
    peer = await target.peer()
    payload = struct.pack(">HI", 0xFF, 1) * 200
    await peer.send(_raw(4, 0, 0, payload))
    assert await peer.goaway() is Code.ENHANCE_YOUR_CALM


async def test_header_bomb(site: Open) -> None:
    """One large field in the peer's table, named again and again (CVE-2016-6581)."""
    target = await site()
    stream = await anyio.connect_tcp("127.0.0.1", target.port)
    await target.stack.enter_async_context(stream)
    peer = Peer(stream)
    # In one write with the preface: our SETTINGS cannot have been acknowledged yet.
    large = b"\x40\x01a\x7f\xd9\x1e" + b"b" * 4056
    bomb = large + b"\xbe" * 8000
    await peer.send(PREFACE, SettingsFrame(0), headers(1, bomb))
    assert await peer.goaway() is Code.ENHANCE_YOUR_CALM
    assert await target.serves()


async def test_metadata_beyond_the_limit(site: Open) -> None:
    """In time: it may have come before the client has seen our limit."""
    target = await site()
    peer = await target.peer()
    fields = b"".join(b"\0\2m" + bytes((0x61 + i % 26,)) + b"\x01v" for i in range(800))
    await peer.send(headers(1, block() + fields), data(1, message(), "END_STREAM"))
    found = await peer.trailers(1)
    assert found["grpc-status"] == "8"
    assert "metadata" in found["grpc-message"]


async def test_more_calls_at_once_than_allowed(site: Open) -> None:
    target = await site(waits, streams_max=4)
    peer = await target.peer()
    for stream in range(1, 13, 2):
        await peer.send(headers(stream, block("ModelInfer")), data(stream, message(INFER)))
    assert await peer.reset(9) is Code.REFUSED_STREAM
    assert await peer.reset(11) is Code.REFUSED_STREAM


async def test_more_connections_than_allowed(site: Open) -> None:
    target = await site(connections_max=2)
    kept = [await target.peer() for _ in range(2)]
    await kept[1].send(PingFrame(0, b"12345678"))
    await kept[1].read(lambda f: isinstance(f, PingFrame))
    late = await target.peer()
    assert await late.goaway() is Code.ENHANCE_YOUR_CALM
    await kept[0].send(headers(1), data(1, message(), "END_STREAM"))
    assert (await kept[0].trailers(1))["grpc-status"] == "0"


async def test_a_peer_that_may_not_come_is_told_so(site: Open) -> None:
    target = await site()

    def refuse(_: Any) -> str:
        raise NotAdminError("a connection")

    port = await target.door.listen(Listener(authorize=refuse))
    peer = await Site(target.door, port, target.stack).peer()
    assert await peer.goaway() is Code.INADEQUATE_SECURITY


async def test_only_a_peer_that_is_known_says_where_data_comes_from(site: Open) -> None:
    seen: list[InferRequest] = []

    async def note(wanted: InferRequest) -> InferReply:
        seen.append(wanted)
        return InferReply(model="m", version="1", outputs=[])

    target = await site(note)
    known = await target.door.listen(Listener(authorize=lambda _: "shop"))
    for port in (target.port, known):
        peer = await Site(target.door, port, target.stack).peer()
        head = block("ModelInfer", skerry_origin="elsewhere", skerry_hops="2")
        await peer.send(headers(1, head), data(1, message(INFER), "END_STREAM"))
        assert (await peer.trailers(1))["grpc-status"] == "0"
    assert [(one.origin_site, one.hops) for one in seen] == [(None, 0), ("shop", 2)]


# Slowness.


async def test_zero_window(site: Open) -> None:
    """CVE-2019-9517: the client asks for much and lets nothing through."""
    target = await site(big, **QUICK)
    peer = await target.peer(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
    await peer.send(headers(1, block("ModelInfer")), data(1, message(INFER), "END_STREAM"))
    assert await peer.reset(1) is Code.CANCEL
    assert not peer.body(1)
    await target.empties()
    assert await target.serves()


async def test_windows_opened_a_byte_at_a_time(site: Open) -> None:
    """CVE-2019-9511: data dribble, where each byte would cost us a frame."""
    target = await site(big)
    peer = await target.peer(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
    await peer.send(headers(1, block("ModelInfer")), data(1, message(INFER), "END_STREAM"))

    async def dribble() -> None:
        for _ in range(3 * CALM_MAX // 100):
            await peer.send(WindowUpdateFrame(1, 1).serialize() * 100)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dribble)
        assert await peer.goaway() is Code.ENHANCE_YOUR_CALM


async def test_slow_read(site: Open) -> None:
    """Windows wide open, and nothing is read from the socket."""
    target = await site(big, **QUICK)
    peer = await target.peer(
        SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1}),
        WindowUpdateFrame(0, 2**31 - 1 - 65535),
    )
    for stream in range(1, 21, 2):
        await peer.send(
            headers(stream, block("ModelInfer")), data(stream, message(INFER), "END_STREAM")
        )
    with anyio.fail_after(10):
        while target.door._connections:
            await anyio.sleep(0.01)
    await target.empties()


@pytest.mark.parametrize("sent", [b"", message(b"x" * 1000)[:500]])
async def test_slow_write_of_a_message(site: Open, sent: bytes) -> None:
    target = await site(**QUICK)
    peer = await target.peer()
    await peer.send(headers(1), *([data(1, sent)] if sent else []))
    found = await peer.trailers(1)
    assert found["grpc-status"] == "8"
    assert "too long" in found["grpc-message"]
    await target.empties()


async def test_slow_write_of_a_header_block(site: Open) -> None:
    peer = await (await site(**QUICK)).peer()
    await peer.send(HeadersFrame(1, block()[:10]))
    assert await peer.goaway() is Code.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("sent", [b"", PREFACE[:7], PREFACE])
async def test_slow_write_of_the_preface(site: Open, sent: bytes) -> None:
    peer = await (await site(**QUICK)).peer(preface=False)
    await peer.send(sent) if sent else None
    assert await peer.goaway() is Code.PROTOCOL_ERROR


async def test_a_connection_that_does_nothing_is_let_go(site: Open) -> None:
    peer = await (await site(idle_s=0.1)).peer()
    assert await peer.goaway() is Code.NO_ERROR


# Memory.


async def test_messages_that_together_are_too_large(site: Open) -> None:
    target = await site(held_bytes_max=100_000)
    peer = await target.peer()
    for stream in (1, 3, 5):
        await peer.send(headers(stream), data(stream, message(b"x" * 50_000)[:45_000]))
    found = await peer.trailers(5)
    assert found["grpc-status"] == "8"
    assert "too many messages" in found["grpc-message"]
    await peer.stream.aclose()
    await target.empties()


async def test_a_length_announced_and_never_sent_takes_no_memory(site: Open) -> None:
    target = await site()
    peer = await target.peer()
    for stream in range(1, 201, 2):
        await peer.send(headers(stream), data(stream, message(b"")[:1] + b"\x03\xff\xff\xff"))
    await peer.send(PingFrame(0, b"12345678"))
    await peer.read(lambda f: isinstance(f, PingFrame))
    assert target.door.held_bytes == 500


async def test_many_zip_bombs_at_once_are_unpacked_one_by_one(site: Open) -> None:
    """A thousandth of its size on the wire: counted as soon as it is unpacked."""
    bomb = gzip.compress(b"\0" * (20 * 1024**2))
    target = await site(waits, held_bytes_max=50 * 1024**2)
    peer = await target.peer()
    for stream in range(1, 17, 2):
        head = block("ServerLive", grpc_encoding="gzip")
        await peer.send(headers(stream, head), data(stream, message(bomb, compressed=1)))
        await peer.send(data(stream, b"", "END_STREAM"))
    for stream in range(1, 17, 2):
        assert (await peer.trailers(stream))["grpc-status"] in ("0", "8")
    await target.empties()


async def test_more_than_the_window_allows(site: Open) -> None:
    small = {"stream_window_bytes": 20_000, "message_bytes_max": 10**6}
    peer = await (await site(**small)).peer()
    await peer.send(headers(1), _raw(0, 0, 1, message(b"x" * 50_000)[:30_000]))
    assert await peer.reset(1) is Code.FLOW_CONTROL_ERROR
    target = await site(connection_window_bytes=80_000, frame_bytes_max=100_000)
    peer = await target.peer()
    await peer.send(headers(1), _raw(0, 0, 1, b"x" * 90_000))
    assert await peer.goaway() is Code.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("stream", [0, 1])
async def test_windows_beyond_all_bounds(site: Open, stream: int) -> None:
    peer = await (await site(waits)).peer()
    await peer.send(headers(1, block("ModelInfer")))
    await peer.send(WindowUpdateFrame(stream, 2**31 - 1), WindowUpdateFrame(stream, 2**31 - 1))
    if stream:
        assert await peer.reset(1) is Code.FLOW_CONTROL_ERROR
    else:
        assert await peer.goaway() is Code.FLOW_CONTROL_ERROR


# Broken rules.


BROKEN: dict[str, tuple[list[Frame | bytes], Code]] = {
    "data on no stream": ([_raw(0, 0, 0, b"x")], Code.PROTOCOL_ERROR),
    "data on a stream never opened": ([data(9, b"x")], Code.PROTOCOL_ERROR),
    "an even stream": ([headers(2)], Code.PROTOCOL_ERROR),
    "headers on no stream": ([_raw(1, 4, 0, block())], Code.PROTOCOL_ERROR),
    "push from a client": ([PushPromiseFrame(1, 2)], Code.PROTOCOL_ERROR),
    "a settings frame cut off": ([_raw(4, 0, 0, b"12345")], Code.FRAME_SIZE_ERROR),
    "an acknowledgement that sets": ([_raw(4, 1, 0, b"123456")], Code.FRAME_SIZE_ERROR),
    "settings on a stream": ([_raw(4, 0, 1)], Code.PROTOCOL_ERROR),
    "a window of 2^31": ([_raw(4, 0, 0, b"\0\4\x80\0\0\0")], Code.FLOW_CONTROL_ERROR),
    "a frame size of 1": ([_raw(4, 0, 0, b"\0\5\0\0\0\1")], Code.PROTOCOL_ERROR),
    "push of 2": ([_raw(4, 0, 0, b"\0\2\0\0\0\2")], Code.PROTOCOL_ERROR),
    "a short ping": ([_raw(6, 0, 0, b"1")], Code.FRAME_SIZE_ERROR),
    "a ping on a stream": ([_raw(6, 0, 1, b"12345678")], Code.PROTOCOL_ERROR),
    "a reset of no stream": ([_raw(3, 0, 0, b"\0\0\0\0")], Code.PROTOCOL_ERROR),
    "a reset of a stream never opened": ([RstStreamFrame(9, 8)], Code.PROTOCOL_ERROR),
    "a short reset": ([_raw(3, 0, 1, b"\0")], Code.FRAME_SIZE_ERROR),
    "a window opened by 0": ([_raw(8, 0, 0, b"\0\0\0\0")], Code.PROTOCOL_ERROR),
    "a short window update": ([_raw(8, 0, 0, b"\0")], Code.FRAME_SIZE_ERROR),
    "a window of a stream never opened": ([_raw(8, 0, 9, b"\0\0\0\1")], Code.PROTOCOL_ERROR),
    "goaway on a stream": ([_raw(7, 0, 1, b"\0" * 8)], Code.PROTOCOL_ERROR),
    "a data frame too large": (
        [headers(1), (2**24 - 1).to_bytes(3, "big") + b"\0\0\0\0\0\1"],
        Code.FRAME_SIZE_ERROR,
    ),
    "a ping too large": ([(20_000).to_bytes(3, "big") + b"\6\0\0\0\0\0"], Code.FRAME_SIZE_ERROR),
    "headers too large": (
        [(60_000).to_bytes(3, "big") + b"\1\4\0\0\0\1"],
        Code.ENHANCE_YOUR_CALM,
    ),
    "padding longer than its frame": ([headers(1), _raw(0, 8, 1, b"\x09x")], Code.PROTOCOL_ERROR),
    "padding without its length": ([headers(1), _raw(0, 8, 1)], Code.FRAME_SIZE_ERROR),
    "header padding longer than its frame": ([_raw(1, 12, 1, b"\x09x")], Code.PROTOCOL_ERROR),
    "continuation of nothing": ([ContinuationFrame(1, b"")], Code.PROTOCOL_ERROR),
    "a ping within a header block": (
        [HeadersFrame(1, block()), PingFrame(0, b"12345678")],
        Code.PROTOCOL_ERROR,
    ),
    "data within a header block": ([HeadersFrame(1, block()), data(1, b"x")], Code.PROTOCOL_ERROR),
    "headers within a header block": ([HeadersFrame(1, block()), headers(3)], Code.PROTOCOL_ERROR),
    "continuation of another": (
        [HeadersFrame(1, block()), ContinuationFrame(3, b"")],
        Code.PROTOCOL_ERROR,
    ),
    "a block that is not HPACK": (
        [headers(1, b"\xff\xff\xff\xff\xff\xff")],
        Code.COMPRESSION_ERROR,
    ),
    "a block cut off": ([headers(1, block()[:-3])], Code.COMPRESSION_ERROR),
}


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_rule_ends_the_connection(site: Open, name: str, acknowledged: bool) -> None:
    """Before the client has acknowledged our settings and after."""
    frames, code = BROKEN[name]
    target = await site()
    peer = await target.peer()
    if acknowledged:
        await peer.send(SettingsFrame(0, flags=["ACK"]))
    await peer.send(*frames)
    assert await peer.goaway() is code
    assert await target.serves()


async def test_a_table_entry_after_the_table_was_given_up(site: Open) -> None:
    peer = await (await site()).peer()
    await peer.send(SettingsFrame(0, flags=["ACK"]), headers(1, block() + b"\xbe"))
    assert await peer.goaway() is Code.COMPRESSION_ERROR


async def test_a_table_that_grows_after_it_was_given_up(site: Open) -> None:
    peer = await (await site()).peer()
    await peer.send(SettingsFrame(0, flags=["ACK"]), headers(1, b"\x3f\xe1\x1f" + block()[1:]))
    assert await peer.goaway() is Code.COMPRESSION_ERROR


MALFORMED = {
    "a name in capitals": b"\0\1A\1b",
    "a connection header": b"\0\x0aconnection\5close",
    "a pseudo-header after others": b"\0\5:path\1/",
    "an unknown pseudo-header": b"\0\4:foo\1b",
    "a line break in a value": b"\0\1a\3b\r\n",
    "another te": b"\0\2te\4gzip",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_head_ends_its_stream_alone(site: Open, name: str) -> None:
    target = await site()
    peer = await target.peer(SettingsFrame(0))
    await peer.send(SettingsFrame(0, flags=["ACK"]))
    await peer.send(headers(1, block() + MALFORMED[name], "END_STREAM"))
    assert await peer.reset(1) is Code.PROTOCOL_ERROR
    await peer.send(headers(3), data(3, message(), "END_STREAM"))
    assert (await peer.trailers(3))["grpc-status"] == "0"


async def test_data_after_the_end_of_a_stream(site: Open) -> None:
    target = await site(waits)
    peer = await target.peer()
    await peer.send(headers(1, block("ModelInfer")), data(1, message(INFER), "END_STREAM"))
    await peer.send(data(1, b"more"))
    assert await peer.reset(1) is Code.STREAM_CLOSED


async def test_a_stream_opened_again(site: Open) -> None:
    target = await site(waits)
    peer = await target.peer()
    await peer.send(headers(3, block("ModelInfer")), data(3, message(INFER), "END_STREAM"))
    await peer.send(headers(3, block("ModelInfer")))
    assert await peer.reset(3) is Code.STREAM_CLOSED


async def test_http_1_is_told_where_it_is(site: Open) -> None:
    peer = await (await site()).peer(preface=False)
    await peer.stream.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    found = b""
    with contextlib.suppress(anyio.EndOfStream):
        while True:
            found += await peer.stream.receive()
    assert b"HTTP/1.1 400 Bad Request" in found
    assert b"HTTP/2" in found
