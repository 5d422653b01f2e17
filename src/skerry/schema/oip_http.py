"""OIP over HTTP: a body of JSON, then raw tensor bytes, to requests and answers and back.

With the binary tensor extension the body starts with `Inference-Header-Content-Length`
bytes of JSON; each tensor with `binary_data_size` takes its bytes, in order, from what
follows. Both directions are here, so that doors, the router and the SDK share one codec.

Errors:  OipError and its kinds, for anything that is not a message.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from skerry.schema.oip import (
    InferReply,
    InferRequest,
    OutputWish,
    Parameter,
    RegionReader,
    Tensor,
)
from skerry.schema.oip_errors import OipError, TensorDataError, shown
from skerry.schema.oip_tensors import (
    Buffer,
    list_from_tensor,
    raw_from_tensor,
    tensor_from_list,
    tensor_from_raw,
)
from skerry.schema.oip_wishes import (
    REGION,
    input_bytes,
    output_wish,
    placed_at,
    placed_parameters,
    wish_parameters,
)

HEADER_JSON_LENGTH = "inference-header-content-length"
TENSORS_MAX = 256
ID_CHARS_MAX = 512
PARAMETERS_MAX = 64


class _TensorHead(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Parameter | None] = {}
    data: Any = None


class _OutputWish(msgspec.Struct):
    name: str
    parameters: dict[str, Parameter | None] = {}


class _RequestHead(msgspec.Struct):
    inputs: list[_TensorHead]
    id: str = ""
    parameters: dict[str, Parameter | None] = {}
    outputs: list[_OutputWish] = []


class _ReplyHead(msgspec.Struct):
    model_name: str
    outputs: list[_TensorHead]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Parameter | None] = {}


_request_decoder = msgspec.json.Decoder(_RequestHead)
_reply_decoder = msgspec.json.Decoder(_ReplyHead)
_encoder = msgspec.json.Encoder()


class HttpCall(msgspec.Struct, gc=False):
    """A decoded request, and which outputs its answer should carry as raw bytes."""

    request: InferRequest
    binary_by_output: dict[str, bool]
    binary_default: bool


def decode_request(
    model: str,
    version: str,
    body: Buffer,
    json_length: int | None,
    regions: RegionReader | None = None,
) -> HttpCall:
    """Read a request body; its tensors alias `body`, or the shared memory that they lie in.

    `json_length` is the value of `Inference-Header-Content-Length`, None where absent.
    `regions` is None where a request may not use shared memory.
    """
    head_bytes, tail = _split(body, json_length)
    try:
        head = _request_decoder.decode(head_bytes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OipError("request body", f"not an inference request ({error})", "OIP JSON") from error
    _check_sizes(head.inputs, head.id, head.parameters)
    if len(head.outputs) > TENSORS_MAX:
        raise OipError("outputs", f"{len(head.outputs)} names", f"at most {TENSORS_MAX}")
    binary_default = head.parameters.get("binary_data_output") is True
    binary: dict[str, bool] = {}
    wishes: dict[str, OutputWish] | None = None
    for wanted in head.outputs:
        parameters = wanted.parameters
        binary[wanted.name] = parameters.get("binary_data", binary_default) is True
        if parameters and (wish := output_wish(wanted.name, parameters, regions)) is not None:
            wishes = wishes or {}
            wishes[wanted.name] = wish
    request = InferRequest(
        model=model,
        version=version,
        id=head.id,
        inputs=_tensors(head.inputs, tail, regions),
        outputs=[wanted.name for wanted in head.outputs] or None,
        binary_outputs=any(binary.values()) if binary else binary_default,
        parameters=_kept(head.parameters),
        body_bytes=len(body),
        wishes=wishes,
    )
    return HttpCall(request, binary, binary_default)


def encode_reply(reply: InferReply, call: HttpCall) -> tuple[int | None, list[Buffer]]:
    """Return the JSON length (None for JSON alone) and the body in pieces."""
    chosen = [
        call.binary_by_output.get(tensor.name, call.binary_default) for tensor in reply.outputs
    ]
    head: dict[str, Any] = {"model_name": reply.model, "model_version": reply.version}
    if reply.id:
        head["id"] = reply.id
    if reply.parameters:
        head["parameters"] = reply.parameters
    return _encode(head, "outputs", reply.outputs, chosen, reply.placed)


def encode_request(
    request: InferRequest, *, binary: bool = True
) -> tuple[int | None, list[Buffer]]:
    """Return the JSON length and the body of a request whose tensors all travel raw, or as lists.

    Without `binary` the request is JSON alone, for servers that lack the extension.
    """
    head: dict[str, Any] = {}
    if request.id:
        head["id"] = request.id
    parameters = dict(request.parameters)
    if request.outputs is not None:
        plain: dict[str, Parameter] = {"binary_data": request.binary_outputs} if binary else {}
        wanted = request.wanted or {}
        head["outputs"] = [
            {"name": name, "parameters": {**plain, **wish_parameters(wanted.get(name))}}
            for name in request.outputs
        ]
    elif binary:
        parameters["binary_data_output"] = request.binary_outputs
    if parameters:
        head["parameters"] = parameters
    raw = [binary] * len(request.inputs)
    return _encode(head, "inputs", request.inputs, raw, request.placed)


def decode_reply(body: Buffer, json_length: int | None) -> InferReply:
    """Read an answer; its tensors alias `body`. Outputs in shared memory are in `placed` alone."""
    head_bytes, tail = _split(body, json_length)
    try:
        head = _reply_decoder.decode(head_bytes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OipError("answer body", f"not an inference answer ({error})", "OIP JSON") from error
    _check_sizes(head.outputs, head.id, head.parameters)
    placed = {
        output.name: placed_at(output.name, output.parameters)
        for output in head.outputs
        if output.parameters and REGION in output.parameters
    }
    sent = [output for output in head.outputs if output.name not in placed]
    return InferReply(
        model=head.model_name,
        version=head.model_version,
        id=head.id,
        outputs=_tensors(sent if placed else head.outputs, tail),
        parameters=_kept(head.parameters),
        placed=placed or None,
    )


def parse_json_length(text: str | None) -> int | None:
    """Read the value of `Inference-Header-Content-Length`."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise OipError(HEADER_JSON_LENGTH, shown(text), "a number of bytes")
    return int(text)


def _split(body: Buffer, json_length: int | None) -> tuple[memoryview, memoryview]:
    view = memoryview(body)
    if json_length is None:
        return view, view[len(view) :]
    if json_length > len(view):
        raise OipError(HEADER_JSON_LENGTH, str(json_length), f"at most the body's {len(view)}")
    return view[:json_length], view[json_length:]


def _tensors(
    heads: list[_TensorHead], tail: memoryview, regions: RegionReader | None = None
) -> list[Tensor]:
    """Give each tensor its bytes; together they must use up the tail exactly."""
    tensors: list[Tensor] = []
    at = 0
    for head in heads:
        size = head.parameters.get("binary_data_size")
        shape = tuple(head.shape)
        if size is None and head.parameters.get(REGION) is not None:
            if head.data is not None:
                raise OipError(
                    f"tensor {shown(head.name)}", f"both JSON and {REGION}", "one of them"
                )
            raw = input_bytes(head.name, head.parameters, regions)
            tensors.append(tensor_from_raw(head.name, head.datatype, shape, raw))
            continue
        if size is None:
            tensors.append(tensor_from_list(head.name, head.datatype, shape, head.data))
            continue
        if type(size) is not int or not 0 <= size <= len(tail) - at:
            raise TensorDataError(
                f"binary_data_size of {shown(head.name)}", shown(size), f"at most {len(tail) - at}"
            )
        if head.data is not None:
            raise OipError(f"tensor {shown(head.name)}", "both JSON and binary", "one of them")
        tensors.append(tensor_from_raw(head.name, head.datatype, shape, tail[at : at + size]))
        at += size
    if at != len(tail):
        raise TensorDataError("body", f"{len(tail) - at} bytes too long", "no bytes left over")
    return tensors


def _encode(
    head: dict[str, Any],
    key: str,
    tensors: list[Tensor],
    binary: list[bool],
    placed: Mapping[str, OutputWish] | None = None,
) -> tuple[int | None, list[Buffer]]:
    pieces: list[Buffer] = [b""]
    listed: list[dict[str, Any]] = []
    for tensor, raw in zip(tensors, binary, strict=True):
        entry: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": tensor.shape,
        }
        if placed and tensor.name in placed:
            entry["parameters"] = placed_parameters(placed[tensor.name])
            if key == "outputs":  # Triton's C++ client looks for a size wherever there are some
                entry["parameters"]["binary_data_size"] = 0
        elif raw:
            piece = raw_from_tensor(tensor)
            entry["parameters"] = {"binary_data_size": len(piece)}
            pieces.append(piece)
        else:
            entry["data"] = list_from_tensor(tensor)
        listed.append(entry)
    head[key] = listed
    pieces[0] = _encoder.encode(head)
    return (len(pieces[0]) if any(binary) else None), pieces


def _check_sizes(
    tensors: list[_TensorHead], request_id: str, parameters: Mapping[str, object]
) -> None:
    if len(tensors) > TENSORS_MAX:
        raise OipError("tensors", str(len(tensors)), f"at most {TENSORS_MAX}")
    if len(request_id) > ID_CHARS_MAX:
        raise OipError("id", f"{len(request_id)} characters", f"at most {ID_CHARS_MAX}")
    if len(parameters) > PARAMETERS_MAX:
        raise OipError("parameters", str(len(parameters)), f"at most {PARAMETERS_MAX}")


def _kept(parameters: Mapping[str, Parameter | None]) -> dict[str, Parameter]:
    """Drop the parameters that only shape the body, and those that are null."""
    kept: dict[str, Parameter] = {}
    for name, value in parameters.items():
        if value is None or name == "binary_data_output":
            continue
        if type(value) is int and not -(2**63) <= value < 2**64:  # gRPC carries 64 bits
            raise OipError(f"parameter {shown(name)}", shown(value), "a 64-bit number")
        kept[name] = value
    return kept
