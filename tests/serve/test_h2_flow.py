"""What the gRPC door writes, held against the `h2` library, which knows every rule of HTTP/2.

The library raises where a window, a frame size or the order of frames is broken.
"""

import asyncio
import struct
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.base.clock import SystemClock
from skerry.schema.oip_tensors import Buffer
from skerry.serve.grpc_call import Call
from skerry.serve.grpc_door import GrpcDoor
from skerry.serve.h2_connection import H2Connection
from skerry.serve.listening import Listener

HEAD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
PATH = "/inference.GRPCInferenceService/"


class Works:
    """An answer as long as its message says, made at once or after a turn of the loop."""

    def __init__(self) -> None:
        self.unary = {"ModelInfer": self.answer}

    async def answer(self, data: Buffer, call: Call) -> list[Buffer]:
        size, wait = struct.unpack("<I?", bytes(data[:5]))
        if wait:
            await asyncio.sleep(0)
        return [b"a" * (size // 2), memoryview(b"b" * (size - size // 2))]

    stream_infer = answer


class Pipe:
    """A transport whose reader stops now and then."""

    def __init__(self, protocol: Any) -> None:
        self.protocol, self.waiting, self.bytes_max = protocol, bytearray(), 1 << 30
        self.paused = False

    def set_write_buffer_limits(self, high: int) -> None:
        self.bytes_max = high // 16

    def write(self, data: Buffer) -> None:
        self.waiting += data
        if len(self.waiting) > self.bytes_max and not self.paused:
            self.paused = True
            self.protocol.pause_writing()

    def writelines(self, pieces: list[Buffer]) -> None:
        self.write(b"".join(pieces))

    def take(self) -> bytes:
        data, self.waiting = bytes(self.waiting), bytearray()
        if self.paused:
            self.paused = False
            self.protocol.resume_writing()
        return data

    def is_closing(self) -> bool:
        return False


async def talk(
    sizes: list[tuple[int, bool]], method: str, window: int, frame: int, chunk: int, share: int
) -> dict[int, bytes]:
    """Ask for answers of these sizes, each on its stream; returns what came of each."""
    door = GrpcDoor(Works(), clock=SystemClock())  # type: ignore[arg-type]
    door.loop = asyncio.get_running_loop()
    server = H2Connection(door, Listener())
    pipe = Pipe(server)
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.local_settings = h2.settings.Settings(
        client=True,
        initial_values={
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
            h2.settings.SettingCodes.MAX_FRAME_SIZE: frame,
        },
    )
    client.max_inbound_frame_size = frame  # what it says once it is acknowledged
    client.initiate_connection()
    server.connection_made(pipe)
    bodies: dict[int, bytes] = {}
    unread: dict[int, int] = {}
    ended: set[int] = set()

    def hand_over() -> None:
        data = client.data_to_send()
        for at in range(0, len(data), chunk):
            piece = data[at : at + chunk]
            while piece:
                room = server.get_buffer(-1)
                part = piece[: len(room)]
                room[: len(part)] = part
                server.buffer_updated(len(part))
                piece = piece[len(part) :]

    def take() -> None:
        for event in client.receive_data(pipe.take()):
            if isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                unread[event.stream_id] = (
                    unread.get(event.stream_id, 0) + event.flow_controlled_length
                )
            elif isinstance(event, h2.events.StreamEnded):
                ended.add(event.stream_id)
            else:
                assert not isinstance(event, h2.events.ConnectionTerminated | h2.events.StreamReset)

    hand_over()
    take()
    for number, (size, wait) in enumerate(sizes):
        stream = 2 * number + 1
        message = struct.pack("<I?", size, wait)
        client.send_headers(stream, [(":path", PATH + method), *HEAD])
        client.send_data(stream, struct.pack(">BI", 0, len(message)) + message, end_stream=True)
        hand_over()
    for _ in range(100_000):
        await asyncio.sleep(0)
        take()
        if len(ended) == len(sizes):
            break
        for stream in list(unread):  # a share of the windows is given back, stream by stream
            count = max(1, unread[stream] * share // 4)
            if stream not in ended:
                client.acknowledge_received_data(count, stream)
            else:
                client.increment_flow_control_window(count)
            unread[stream] -= count
            if not unread[stream]:
                del unread[stream]
        hand_over()
    server.connection_lost(None)
    assert door.held_bytes == 0
    return bodies


@given(
    st.lists(
        st.tuples(st.integers(0, 40) | st.integers(16_000, 70_000), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["ModelInfer", "ModelStreamInfer"]),
    st.sampled_from([1_000, 5_000, 65_535, 2**20]),
    st.sampled_from([16_384, 20_000, 2**20]),
    st.sampled_from([1, 100, 10**6]),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_every_answer_arrives_whole_within_the_windows_of_its_client(
    sizes: list[tuple[int, bool]], method: str, window: int, frame: int, chunk: int, share: int
) -> None:
    bodies = asyncio.run(talk(sizes, method, window, frame, chunk, share))
    for number, (size, _) in enumerate(sizes):
        wanted = struct.pack(">BI", 0, size) + b"a" * (size // 2) + b"b" * (size - size // 2)
        assert bodies[2 * number + 1] == wanted
