"""OIP over gRPC for messages that repeat themselves: only what changes is read again.

A client sends the same names, datatypes and shapes with every request, and gets the same
back. The top level of a message is walked by hand: raw contents are taken where they
lie, `id` and `parameters` are read each time, and all the rest is a key. What a rest means
is kept, bounded by bytes. Whatever is unusual, and everything wrong, goes through `oip_grpc`,
which reads any message and says what is wrong with it.

    ModelInferRequest   1 model  2 version  3 id  4 parameters  5 inputs  6 outputs  7 raw
    ModelInferResponse  1 model  2 version  3 id  4 parameters  5 outputs  6 raw

Units:   bytes.
Errors:  OipError and its kinds.
Source:  protobuf's encoding: each of these fields is a tag byte, a length, and that many bytes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skerry.base.recent_cache import RecentCache
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import (
    DATATYPES,
    HEADER_SERVED_BY,
    FormedInputs,
    InferReply,
    InferRequest,
    RegionReader,
    Tensor,
)
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_grpc import (
    decode_request,
    encode_reply,
    parameters_of,
    parse,
)
from skerry.schema.oip_http import ID_CHARS_MAX, PARAMETERS_MAX, TENSORS_MAX
from skerry.schema.oip_tensors import Buffer, elements, raw_from_tensor, tensor_from_raw

FORMS_BYTES_MAX = 4 * 1024**2
FORM_BYTES_MAX = 16 * 1024
FIELDS_MAX = 4096
"""More top-level fields than any request within the limits has."""

_ID, _PARAMETERS, _RAW = 0x1A, 0x22, 0x3A
_RAW_TAG, _REPLY_RAW = b"\x3a", b"\x32"
_REST = frozenset({0x0A, 0x12, 0x2A, 0x32})
_FORM_OVERHEAD_BYTES = 1024
_CHECKED = frozenset({"BOOL", "BYTES"})  # their bytes are looked at, each time

Span = tuple[int, int]


class _Input(NamedTuple):
    """What a rest says of one input, and how its raw contents begin if their size is fixed."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int
    """Of the contents; -1: as large as they like."""
    head: bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """What the rest of a request says; `inputs` in the order of their raw contents."""

    model: str
    version: str
    outputs: list[str] | None
    inputs: list[_Input]
    layout: list[tuple[int, int, _Input]]
    """Where each input's head and contents begin in a message that is the rest, then these."""
    size: int
    """Of that message; -1 where it is not fixed."""


class _Walked(NamedTuple):
    """The top level of a request."""

    rest: bytes
    id: Buffer
    parameters: list[Buffer]
    raw: list[Span]


_forms: RecentCache[bytes, _Form] = RecentCache(FORMS_BYTES_MAX)
_reply_heads: RecentCache[tuple[Any, ...], bytes] = RecentCache(FORMS_BYTES_MAX)
_guess = [0]
"""How long the last rest was that came before all raw contents; most are like the last."""


def decode(data: Buffer, regions: RegionReader | None = None) -> InferRequest:
    """Read a serialised `ModelInferRequest`; see `oip_grpc.decode_request`.

    Numbers alias `data`.
    """
    size = len(data)
    form = _forms.young.get(bytes(data[: _guess[0]]))
    if form is not None and form.size == size:
        tensors = FormedInputs()
        for at, start, (name, datatype, shape, dtype, _, head) in form.layout:
            if data[at:start] != head:
                break
            tensors.append(Tensor(name, datatype, shape, np.ndarray(shape, dtype, data, start)))
        else:
            tensors.form = form
            return InferRequest(
                model=form.model,
                version=form.version,
                inputs=tensors,
                outputs=form.outputs,
                body_bytes=size,
            )
    walked = _walk(data, size)
    if walked is not None:
        request = _decode_walked(data, walked)
        if request is not None:
            return request
    return decode_request(data, regions)


def encode(reply: InferReply) -> list[Buffer]:
    """Return an answer as a serialised `ModelInferResponse`, in pieces; tensors uncopied."""
    parameters = reply.parameters
    served = parameters.get(HEADER_SERVED_BY) if len(parameters) == 1 else None
    if reply.placed is not None or (parameters and type(served) is not str):
        return encode_reply(reply)
    outputs = reply.outputs
    key = (
        reply.model,
        reply.version,
        served,
        *[(tensor.name, tensor.datatype, tensor.shape) for tensor in outputs],
    )
    head = _reply_heads.young.get(key) or _reply_heads.get(key)
    if head is None:
        head = _reply_head(reply)
        _reply_heads.put(key, head, 4 * len(head) + _FORM_OVERHEAD_BYTES)
    pieces: list[Buffer] = [head]
    if reply.id:
        text = reply.id.encode()
        pieces.append(b"\x1a" + varint(len(text)) + text)
    for tensor in outputs:
        raw = raw_from_tensor(tensor)
        size = len(raw)
        pieces.append(_REPLY_RAW + (_SHORT[size] if size < 0x80 else varint(size)))
        pieces.append(raw)
    return pieces


def encode_streamed(reply: InferReply) -> list[Buffer]:
    """Return an answer as a serialised `ModelStreamInferResponse`, in pieces."""
    pieces = encode(reply)
    return [b"\x12" + varint(sum(len(piece) for piece in pieces)), *pieces]


def varint(value: int) -> bytes:
    """Return a number as protobuf's variable-length integer."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT = [varint(size) for size in range(0x80)]


def _walk(data: Buffer, size: int) -> _Walked | None:
    """Sort the top-level fields; None if they are not all such as a client writes."""
    rest: list[Buffer] = []
    parameters: list[Buffer] = []
    raw: list[Span] = []
    request_id: Buffer = b""
    at = fields = rest_bytes = 0
    try:
        while at < size:
            fields += 1
            if fields > FIELDS_MAX:
                raise OipError("message", f"of over {FIELDS_MAX} fields", "a ModelInferRequest")
            start, tag = at, data[at]
            length = data[at + 1]
            at += 2
            if length >= 0x80:
                length, at = _long(data, at - 1)
            end = at + length
            if end > size:
                return None
            if tag == _RAW:
                raw.append((at, end))
            elif tag == _ID:
                request_id = data[at:end]
            elif tag == _PARAMETERS:
                parameters.append(data[start:end])
            elif tag in _REST:
                rest_bytes += end - start
                if rest_bytes > FORM_BYTES_MAX:
                    return None
                rest.append(data[start:end])
            else:
                return None
            at = end
    except (IndexError, ValueError):
        return None
    if len(raw) > TENSORS_MAX:
        return None
    return _Walked(b"".join(rest), request_id, parameters, raw)


def _decode_walked(data: Buffer, walked: _Walked) -> InferRequest | None:
    form = _forms.get(walked.rest)
    if form is None:
        form = _form(walked.rest)
        if form is None:
            return None
        _forms.put(walked.rest, form, 8 * len(walked.rest) + _FORM_OVERHEAD_BYTES)
    tensors = _tensors(form, data, walked.raw)
    if tensors is None:
        return None
    try:
        request_id = str(walked.id, "utf-8")
    except UnicodeDecodeError:
        return None
    if len(request_id) > ID_CHARS_MAX:
        return None
    request = InferRequest(
        model=form.model,
        version=form.version,
        id=request_id,
        inputs=tensors,
        outputs=form.outputs,
        body_bytes=len(data),
    )
    if walked.parameters:
        found = parse(pb.ModelInferRequest(), b"".join(walked.parameters)).parameters
        if len(found) > PARAMETERS_MAX:
            return None
        request.parameters = parameters_of(found)
    elif not request_id and walked.raw and bytes(data[: len(walked.rest)]) == walked.rest:
        _guess[0] = len(walked.rest)
    return request


def _form(rest: bytes) -> _Form | None:
    """Read a rest; None if it asks for more than plain tensors."""
    message = parse(pb.ModelInferRequest(), rest)
    if len(message.inputs) > TENSORS_MAX or any(wish.parameters for wish in message.outputs):
        return None
    inputs: list[_Input] = []
    for head in message.inputs:
        dtype = DATATYPES.get(head.datatype)
        if dtype is None or head.parameters or head.HasField("contents"):
            return None
        shape = tuple(head.shape)
        size = elements(head.name, shape) * dtype.itemsize
        raw_head = _RAW_TAG + varint(size)
        if head.datatype in _CHECKED:
            size = -1
        inputs.append(_Input(head.name, head.datatype, shape, dtype, size, raw_head))
    outputs = [wish.name for wish in message.outputs] or None
    layout, at = [], len(rest)
    for one in inputs:
        layout.append((at, at + len(one.head), one))
        at += len(one.head) + one.size
    fixed = at if inputs and all(one.size >= 0 for one in inputs) else -1
    return _Form(message.model_name, message.model_version, outputs, inputs, layout, fixed)


def _tensors(form: _Form, data: Buffer, spans: list[Span]) -> list[Tensor] | None:
    """Give each input its contents; None if they are not what it wants."""
    if len(spans) != len(form.inputs):
        return None
    tensors = []
    for (name, datatype, shape, dtype, size, _), (start, end) in zip(
        form.inputs, spans, strict=True
    ):
        if size == end - start:
            array = np.ndarray(shape, dtype, data, start)
            tensors.append(Tensor(name, datatype, shape, array))
        elif size < 0:
            tensors.append(tensor_from_raw(name, datatype, shape, data[start:end]))
        else:
            return None
    return tensors


def _long(data: Buffer, at: int) -> tuple[int, int]:
    """Read a length of up to five bytes; returns it and where what it measures begins."""
    value = 0
    for shift in (0, 7, 14, 21, 28):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError


def _reply_head(reply: InferReply) -> bytes:
    """Return all of an answer but its id and its contents."""
    bare = InferReply(
        model=reply.model, version=reply.version, outputs=[], parameters=reply.parameters
    )
    message = pb.ModelInferResponse.FromString(b"".join(encode_reply(bare)))
    for tensor in reply.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return bytes(message.SerializeToString())
