"""The frame parser and the connection behind it, fed with anything that bytes can be.

Laws: nothing escapes, nothing stays held, and where the reads happen to end changes nothing.
"""

import asyncio
import struct
from typing import Any

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.base.clock import SystemClock
from skerry.schema.oip_tensors import Buffer
from skerry.serve.grpc_call import Call
from skerry.serve.grpc_door import GrpcDoor
from skerry.serve.h2_connection import H2Connection
from skerry.serve.h2_frames import PREFACE, H2ConnectionError
from skerry.serve.h2_headers import cut, encoded
from skerry.serve.h2_limits import GrpcLimits
from skerry.serve.listening import Listener

SERVICE = "/inference.GRPCInferenceService/"


class Works:
    """Every message comes back; a stream's messages too."""

    def __init__(self) -> None:
        self.unary = {"ModelInfer": self.echo}

    async def echo(self, data: Buffer, call: Call) -> list[Buffer]:
        return [bytes(data)]

    stream_infer = echo


class Transport:
    """Keeps what is written; closes when told."""

    def __init__(self) -> None:
        self.out = b""
        self.closing = False
        self.pauses = 0

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None:
        self.pauses -= 1

    def write(self, data: Buffer) -> None:
        assert not self.closing  # uvloop would raise
        self.out += bytes(data)

    def writelines(self, pieces: list[Buffer]) -> None:
        self.write(b"".join(pieces))

    def close(self) -> None:
        self.closing = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int) -> None:
        pass


def talk(data: bytes, cuts: list[int]) -> tuple[bytes, int]:
    """Feed bytes, in reads that end at `cuts`; return what was written, and what stays held."""

    async def run() -> tuple[bytes, int]:
        limits = GrpcLimits(
            message_bytes_max=50_000, stream_window_bytes=60_000, streams_max=4,
            connection_window_bytes=100_000, frame_bytes_max=40_000,
        )  # fmt: skip
        door = GrpcDoor(Works(), clock=SystemClock(), limits=limits)  # type: ignore[arg-type]
        door.loop = asyncio.get_running_loop()
        connection = H2Connection(door, Listener())
        transport = Transport()
        connection.connection_made(transport)
        at = 0
        for end in [*sorted(set(cuts)), len(data)]:
            while at < min(end, len(data)):
                room = connection.get_buffer(-1)
                piece = data[at : min(end, len(data), at + len(room))]
                room[: len(piece)] = piece
                at += len(piece)
                connection.buffer_updated(len(piece))
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        connection.sweep(door.now_s())
        connection.connection_lost(None)
        return transport.out, door.held_bytes

    return asyncio.run(run())


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


def head(method: str = "ModelInfer") -> bytes:
    return encoded(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", SERVICE + method),
            ("content-type", "application/grpc"),
        ]
    )


def message(data: bytes) -> bytes:
    return struct.pack(">BI", 0, len(data)) + data


blocks = st.sampled_from([head(), head("ModelStreamInfer"), head("None"), b"", b"\xbe", b"\x20"])
payloads = st.binary(max_size=40) | st.builds(
    lambda size, data: message(data) + b"\0" * size,
    st.integers(0, 3),
    st.binary(max_size=20) | st.sampled_from([b"z" * 9000, b"y" * 30_000, b"x" * 60_000]),
)
frames = st.builds(
    frame,
    st.integers(0, 11),
    st.integers(0, 255) | st.sampled_from([0, 1, 4, 5]),
    st.integers(0, 9) | st.sampled_from([1, 3, 5]),
    payloads | blocks,
)
good = st.builds(
    lambda stream, block, data, size, ends: (
        frame(1, 4, stream, block)
        + b"".join(frame(0, 0, stream, data[at : at + size]) for at in range(0, len(data), size))
        + frame(0, ends, stream, b"")
    ),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([head(), head("ModelStreamInfer")]),
    st.sampled_from([b"", b"a" * 10, b"b" * 12_000, b"c" * 50_000]).map(message),
    st.sampled_from([3000, 16_384, 40_000]),
    st.sampled_from([0, 1]),
)
padded = st.builds(
    lambda stream, data, padding, size: (
        frame(1, 4, stream, head())
        + frame(0, 8, stream, bytes((padding,)) + data[:size] + b"\0" * padding)
        + frame(0, 9, stream, b"\0" + data[size:])
    ),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([b"a" * 10, b"b" * 12_000]).map(message),
    st.integers(0, 255),
    st.integers(0, 9000),
)
pings = st.binary(min_size=8, max_size=8).map(lambda data: frame(6, 0, 0, data))
conversations = st.builds(
    lambda acknowledged, parts: (
        PREFACE + frame(4, 0, 0, b"") + (frame(4, 1, 0, b"") if acknowledged else b"")
        + b"".join(parts)
    ),
    st.booleans(),
    st.lists(good | padded | pings | frames, max_size=8),
)  # fmt: skip


@given(conversations, st.lists(st.integers(0, 200_000), max_size=6))
@settings(max_examples=150, deadline=None)
def test_where_reads_end_changes_nothing_that_is_said(data: bytes, cuts: list[int]) -> None:
    """Whole, and in pieces: the same streams get the same answers and the same end."""
    whole, held = talk(data, [])
    parts, held_too = talk(data, [cut % (len(data) + 1) for cut in cuts])
    assert held == held_too == 0
    assert said(whole) == said(parts)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_bytes_that_are_no_frames_end_in_an_orderly_way(data: bytes) -> None:
    for start in (b"", PREFACE, PREFACE + frame(4, 0, 0, b"")):
        _, held = talk(start + data, [])
        assert held == 0


def test_a_call_read_byte_by_byte_is_answered() -> None:
    data = PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, head()) + frame(0, 1, 1, message(b"hey"))
    written, _ = talk(data, list(range(len(data))))
    assert message(b"hey") in written


def test_a_read_that_fills_the_buffer_gives_others_their_turn() -> None:
    async def run() -> None:
        door = GrpcDoor(Works(), clock=SystemClock())  # type: ignore[arg-type]
        door.loop = asyncio.get_running_loop()
        connection, transport = H2Connection(door, Listener()), Transport()
        connection.connection_made(transport)
        room = connection.get_buffer(-1)
        calls = (
            frame(1, 4, stream, head()) + frame(0, 1, stream, message(b"hey"))
            for stream in range(1, len(room) // 50, 2)
        )
        data = PREFACE + frame(4, 0, 0, b"") + b"".join(calls)
        room[:] = data[: len(room)]
        connection.buffer_updated(len(room))
        assert transport.pauses == 1
        await asyncio.sleep(0)
        assert transport.pauses == 0

    asyncio.run(run())


def said(written: bytes) -> list[tuple[int, int, int, bytes]]:
    """The frames of an answer, DATA of a stream joined and windows left out."""
    found: list[tuple[int, int, int, bytes]] = []
    bodies: dict[int, bytes] = {}
    at = 0
    while at < len(written):
        size = int.from_bytes(written[at : at + 3], "big")
        kind, flags = written[at + 3], written[at + 4]
        stream = int.from_bytes(written[at + 5 : at + 9], "big")
        payload = written[at + 9 : at + 9 + size]
        if kind == 0:
            bodies[stream] = bodies.get(stream, b"") + payload
        elif kind != 8:
            found.append((kind, flags, stream, payload))
        at += 9 + size
    assert at == len(written)
    return sorted(found) + sorted((0, 0, stream, body) for stream, body in bodies.items())


fields = st.lists(
    st.tuples(st.sampled_from([":path", "te", "a", "x-b"]), st.text("abc /%é", max_size=200)),
    max_size=6,
)


@given(fields, st.booleans(), st.booleans())
def test_a_block_is_cut_where_hpack_has_its_fields(
    pairs: Any, huffman: bool, sensitive: bool
) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    encoder.encode([])  # the size update goes with the first block
    wanted = [hpack.NeverIndexedHeaderTuple(*pair) for pair in pairs] if sensitive else pairs
    block = encoder.encode(wanted, huffman=huffman)
    decoder = hpack.Decoder()
    found = [decoder.decode(part, raw=True)[0] for part in cut(block)]
    assert found == [(name.encode(), value.encode()) for name, value in pairs]


@given(st.binary(max_size=60))
def test_a_block_that_cannot_be_cut_is_refused(block: bytes) -> None:
    try:
        parts = cut(block)
    except H2ConnectionError:
        return
    assert sum(len(part) for part in parts) <= len(block)
    assert block.endswith(b"".join(parts))
