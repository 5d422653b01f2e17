"""Whatever comes to the gRPC door is answered in frames, fast, and harms nobody.

Three distances from a good call: its message is off, its call is, its frames are.
"""

import struct
from collections.abc import Iterator
from typing import Any

import hpack
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.schema import open_inference_pb2 as pb

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SERVICE = "/inference.GRPCInferenceService/"
METHODS = (
    *("ModelInfer", "ModelStreamInfer", "ServerLive", "ServerReady", "ModelReady", "ModelConfig"),
    *("ServerMetadata", "ModelMetadata", "ModelStatistics", "RepositoryIndex", "TraceSetting"),
    *("RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryRegister"),
    *("SystemSharedMemoryStatus", "LogSettings", "Nothing", ""),
)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(headers: list[tuple[str, str]]) -> bytes:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return bytes(encoder.encode(headers))


def head(path: str, **more: str) -> bytes:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]
    fields += [("content-type", "application/grpc"), ("te", "trailers")]
    return block(fields + [(name.replace("_", "-"), value) for name, value in more.items()])


def framed(message: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(message)) + message


def good_message() -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="mixed", id="r")
    for datatype, raw in (
        ("FP32", b"\0" * 8),
        ("FP16", b"\0" * 4),
        ("INT64", b"\0" * 16),
        ("UINT8", b"\0\1"),
        ("BOOL", b"\0\1"),
        ("BYTES", b"\1\0\0\0a\0\0\0\0"),
    ):
        request.inputs.add(name=f"in_{datatype}", datatype=datatype, shape=[1, 2])
        request.raw_input_contents.append(raw)
    return request


OPENING = PREFACE + frame(SETTINGS, 0, 0)
GOOD = framed(good_message().SerializeToString())


def call(body: bytes, path: str = SERVICE + "ModelInfer", stream: int = 1, **more: str) -> bytes:
    pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)] or [b""]
    frames = [frame(HEADERS, END_HEADERS, stream, head(path, **more))]
    frames += [frame(DATA, 0, stream, piece) for piece in pieces[:-1]]
    return b"".join([*frames, frame(DATA, END_STREAM, stream, pieces[-1])])


def frames(got: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield kind, flags, stream and payload of each frame that is whole."""
    while len(got) >= 9 and len(got) >= 9 + int.from_bytes(got[:3], "big"):
        end = 9 + int.from_bytes(got[:3], "big")
        yield *struct.unpack(">BBI", got[3:9]), got[9:end]
        got = got[end:]


def ended(got: bytes) -> bool:
    """Whether the first call, or the connection, has its end."""
    return any(
        kind in (RST, GOAWAY) or (kind == HEADERS and stream == 1 and flags & END_STREAM)
        for kind, flags, stream, _ in frames(got)
    )


def read(got: bytes) -> dict[int, dict[str, str]]:
    """Return each stream's headers and trailers."""
    decoder, found = hpack.Decoder(), dict[int, dict[str, str]]()
    parts: dict[int, bytes] = {}
    for kind, flags, stream, payload in frames(got):
        if kind in (HEADERS, CONTINUATION):
            parts[stream] = parts.get(stream, b"") + payload
            if flags & END_HEADERS:
                found.setdefault(stream, {}).update(decoder.decode(parts.pop(stream)))
    return found


def check(target: Any, *pieces: bytes, whole: bool = False) -> dict[int, dict[str, str]]:
    """Throw something at the door; then a good call must still be answered well.

    A call that is `whole` gets its end before our side closes; anything else is cut off.
    """
    found = read(target.throw(target.grpc, *pieces, until=ended if whole else lambda _: True))
    for told in found.values():
        assert "its log says why" not in told.get("grpc-message", "")
    good = read(target.throw(target.grpc, OPENING + call(GOOD), until=ended))
    assert good[1]["grpc-status"] == "0"
    return found


@given(st.data())
def test_a_damaged_message_gets_a_status(target: Any, data: st.DataObject) -> None:
    message = bytearray(good_message().SerializeToString())
    for _ in range(data.draw(st.integers(1, 6))):
        kind = data.draw(st.sampled_from(("flip", "cut", "put")))
        at = data.draw(st.integers(0, len(message) - 1))
        if kind == "flip":
            message[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del message[at + 1 : at + data.draw(st.integers(1, 8))]
        else:
            message[at:at] = data.draw(st.binary(max_size=6))
    found = check(target, OPENING + call(framed(bytes(message))), whole=True)
    assert found[1]["grpc-status"].isdigit()


names = st.sampled_from(["in_FP32", "in_BYTES", "x", ""]) | st.text(max_size=5)
shapes = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4), max_size=5)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A good message with some of its fields set to something else."""
    request = good_message()
    for _ in range(draw(st.integers(1, 4))):
        tensor = draw(st.sampled_from(list(request.inputs)))
        where = draw(st.integers(0, 8))
        if where == 0:
            tensor.shape[:] = draw(shapes)
        elif where == 1:
            tensor.name = draw(names)
        elif where == 2:
            tensor.datatype = draw(st.sampled_from(["FP32", "BYTES", "BF16", "FP128", ""]))
        elif where == 3:
            index = draw(st.integers(0, 5))
            request.raw_input_contents[index] = draw(st.binary(max_size=24))
        elif where == 4:
            request.raw_input_contents.append(draw(st.binary(max_size=24)))
        elif where == 5:
            tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=4)))
        elif where == 6:
            request.outputs.add(name=draw(names))
        elif where == 7:
            request.model_version = draw(st.sampled_from(["1", "2", "x", "-1", "9" * 30]))
        else:
            name = draw(st.sampled_from(["priority", "timeout", "sequence_id", "classification"]))
            owner = draw(st.sampled_from((request, tensor)))
            owner.parameters[name].int64_param = draw(st.integers(-(2**63), 2**63 - 1))
    return bytes(request.SerializeToString())


@given(messages(), st.sampled_from(METHODS[:2]))
def test_a_message_that_is_off_gets_a_status(target: Any, message: bytes, method: str) -> None:
    found = check(target, OPENING + call(framed(message), SERVICE + method), whole=True)
    assert found[1]["grpc-status"].isdigit()


@given(st.sampled_from(METHODS), st.binary(max_size=80))
def test_any_message_to_any_method_gets_a_status(target: Any, method: str, body: bytes) -> None:
    found = check(target, OPENING + call(framed(body), SERVICE + method), whole=True)
    assert found[1]["grpc-status"].isdigit()


@given(
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=60),
    st.sampled_from(["gzip", "deflate", "identity", "snappy", ""]),
    st.sampled_from(["1S", "1n", "0m", "99999999H", "999999999H", "x", "", "-1S", "1 S"]),
)
@example(1, 2**32 - 1, b"", "gzip", "1S")
def test_any_framing_coding_and_timeout_gets_an_end(
    target: Any, flag: int, length: int, body: bytes, coding: str, timeout: str
) -> None:
    """A length that promises four gigabytes among them."""
    told = struct.pack(">BI", flag, length) + body
    more = {"grpc_encoding": coding, "grpc_timeout": timeout, "grpc_accept_encoding": coding}
    check(target, OPENING + call(told, **more))


fields = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
pseudo = st.sampled_from([":method", ":path", ":scheme", ":authority", ":status", "te", "Upper"])


@given(st.lists(st.tuples(pseudo | fields, fields), max_size=8), st.binary(max_size=30))
def test_any_header_list_gets_an_end(
    target: Any, headers: list[tuple[str, str]], tail: bytes
) -> None:
    listed = block(headers) + tail
    check(
        target,
        OPENING + frame(HEADERS, END_HEADERS, 1, listed) + frame(DATA, END_STREAM, 1, GOOD),
    )


streams = st.sampled_from([0, 1, 1, 1, 2, 3, 5, 2**31 - 1, 2**31 + 1])
kinds = st.integers(0, 9) | st.integers(0, 255)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Frames good and bad in any order, some of them cut or with a wrong length."""
    pieces = [OPENING] if draw(st.integers(0, 9)) else [PREFACE]
    stream = 1
    for _ in range(draw(st.integers(1, 8))):
        choice = draw(st.integers(0, 5))
        if choice == 0:
            pieces.append(call(GOOD, stream=stream))
            stream += 2
        elif choice == 1:
            pieces.append(frame(HEADERS, END_HEADERS, stream, head(SERVICE + "ModelInfer")))
        elif choice == 2:
            settings = draw(
                st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2**32 - 1)), max_size=4)
            )
            payload = b"".join(struct.pack(">HI", *pair) for pair in settings)
            pieces.append(frame(SETTINGS, 0, 0, payload))
        elif choice == 3:
            payload = struct.pack(">I", draw(st.integers(0, 2**32 - 1)))
            pieces.append(frame(draw(st.sampled_from([WINDOW, RST])), 0, draw(streams), payload))
        else:
            flags, payload = draw(st.integers(0, 255)), draw(st.binary(max_size=40))
            pieces.append(frame(draw(kinds), flags, draw(streams), payload))
    whole = bytearray(b"".join(pieces))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(whole) - 1))
        whole[at] = draw(st.integers(0, 255))
    return bytes(whole)


@given(conversations(), st.integers(0, 600))
@example(OPENING + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + call(GOOD), 60)
@example(OPENING + frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1)) + call(GOOD), 0)
@example(OPENING + frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 2**32 - 1)) + call(GOOD), 0)
def test_any_frames_get_an_end(target: Any, conversation: bytes, cut: int) -> None:
    check(target, conversation[:cut], conversation[cut:])


@given(st.binary(max_size=200))
@example(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
@example(PREFACE[:10])
@example(PREFACE + b"\xff" * 9)
def test_any_bytes_get_an_end(target: Any, data: bytes) -> None:
    check(target, data)
