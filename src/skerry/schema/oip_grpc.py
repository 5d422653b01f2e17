"""OIP over gRPC: protobuf messages to requests and answers and back.

Tensors travel as raw contents, or as typed lists where the sender chose so. All raw or
all lists, says the specification; a mix is refused. Answers are always raw.

Errors:  OipError and its kinds, for anything that is not a message.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import (
    InferReply,
    InferRequest,
    OutputWish,
    Parameter,
    RegionReader,
    Tensor,
)
from skerry.schema.oip_errors import OipError, UnsupportedError, shown
from skerry.schema.oip_http import ID_CHARS_MAX, PARAMETERS_MAX, TENSORS_MAX
from skerry.schema.oip_tensors import Buffer, raw_from_tensor, tensor_from_list, tensor_from_raw
from skerry.schema.oip_wishes import (
    REGION,
    input_bytes,
    output_wish,
    placed_at,
    placed_parameters,
    wish_parameters,
)

SERVICE = "inference.GRPCInferenceService"

_LISTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def decode_request(data: Buffer, regions: RegionReader | None = None) -> InferRequest:
    """Read a serialised `ModelInferRequest`.

    `regions` is None where a request may not use shared memory.
    """
    message = _parsed(pb.ModelInferRequest(), data)
    _check_sizes(len(message.inputs), message.id, len(message.parameters))
    wishes: dict[str, OutputWish] | None = None
    for wanted in message.outputs:
        if wanted.parameters:
            wish = output_wish(wanted.name, parameters_of(wanted.parameters), regions)
            if wish is not None:
                wishes = wishes or {}
                wishes[wanted.name] = wish
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        inputs=_tensors(message.inputs, message.raw_input_contents, regions),
        outputs=[wanted.name for wanted in message.outputs] or None,
        parameters=parameters_of(message.parameters),
        body_bytes=len(data),
        wishes=wishes,
    )


def encode_request(request: InferRequest) -> bytes:
    """Return a request as a serialised `ModelInferRequest`."""
    message = pb.ModelInferRequest(
        model_name=request.model, model_version=request.version, id=request.id
    )
    _set_parameters(message.parameters, request.parameters)
    wanted, placed = request.wanted or {}, request.placed or {}
    for name in request.outputs or ():
        output = message.outputs.add(name=name)
        _set_parameters(output.parameters, wish_parameters(wanted.get(name)))
    for tensor in request.inputs:
        head = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if tensor.name in placed:
            _set_parameters(head.parameters, placed_parameters(placed[tensor.name]))
        else:
            message.raw_input_contents.append(bytes(raw_from_tensor(tensor)))
    return message.SerializeToString()


def decode_reply(data: bytes) -> InferReply:
    """Read a serialised `ModelInferResponse`; outputs in shared memory are in `placed` alone."""
    message = _parsed(pb.ModelInferResponse(), data)
    _check_sizes(len(message.outputs), message.id, len(message.parameters))
    placed = {
        output.name: placed_at(output.name, parameters_of(output.parameters))
        for output in message.outputs
        if output.parameters and REGION in output.parameters
    }
    outputs, raw = message.outputs, message.raw_output_contents
    if placed:  # an answer has a raw entry for each output, empty where it lies elsewhere
        both = zip(outputs, raw, strict=False)
        sent = [(output, data) for output, data in both if output.name not in placed]
        outputs, raw = [output for output, _ in sent], [data for _, data in sent]
    return InferReply(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        outputs=_tensors(outputs, raw),
        parameters=parameters_of(message.parameters),
        placed=placed or None,
    )


def encode_reply(reply: InferReply) -> list[Buffer]:
    """Return an answer as a serialised `ModelInferResponse`, in pieces."""
    message = pb.ModelInferResponse(
        model_name=reply.model, model_version=reply.version, id=reply.id
    )
    _set_parameters(message.parameters, reply.parameters)
    for tensor in reply.outputs:
        head = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if reply.placed and tensor.name in reply.placed:
            _set_parameters(head.parameters, placed_parameters(reply.placed[tensor.name]))
            message.raw_output_contents.append(b"")  # one entry per output, always
            continue
        message.raw_output_contents.append(bytes(raw_from_tensor(tensor)))
    return [message.SerializeToString()]


def parse(message: Any, data: Buffer) -> Any:
    """Fill any message of the service from its bytes."""
    return _parsed(message, data)


def _parsed(message: Any, data: Buffer) -> Any:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        name = message.DESCRIPTOR.name
        raise OipError("message", f"not a {name} ({error})", "its protobuf encoding") from error
    return message


def _tensors(heads: Any, raw: Any, regions: RegionReader | None = None) -> list[Tensor]:
    """Give each tensor its data; the raw entries go, in order, to those not in a region."""
    in_region = [bool(head.parameters) and REGION in head.parameters for head in heads]
    wanted = len(heads) - sum(in_region)
    if raw and len(raw) != wanted:
        raise OipError("raw contents", f"{len(raw)} entries", f"one per tensor ({wanted})")
    left = iter(raw)
    tensors: list[Tensor] = []
    for head, elsewhere in zip(heads, in_region, strict=True):
        name, datatype, shape = head.name, head.datatype, tuple(head.shape)
        # MLServer's own client sends contents with nothing in them beside raw ones.
        if (raw or elsewhere) and head.HasField("contents") and head.contents.ByteSize():
            raise OipError(f"tensor {shown(name)}", "both lists and raw", "one of them")
        if elsewhere:
            data = input_bytes(name, parameters_of(head.parameters), regions)
            tensors.append(tensor_from_raw(name, datatype, shape, data))
            continue
        if raw:
            tensors.append(tensor_from_raw(name, datatype, shape, next(left)))
            continue
        field = _LISTS.get(datatype)
        if datatype in ("FP16", "BF16"):
            raise UnsupportedError(f"tensor {shown(name)}", f"{datatype} in a list", "raw contents")
        values = list(getattr(head.contents, field)) if field else []
        tensors.append(tensor_from_list(name, datatype, shape, values))
    return tensors


def parameters_of(found: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return a message's map of parameters as plain values."""
    parameters: dict[str, Parameter] = {}
    for name, value in found.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None:
            parameters[name] = getattr(value, kind)
    return parameters


def _set_parameters(target: Any, parameters: Mapping[str, Parameter]) -> None:
    for name, value in parameters.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int) and value >= 2**63:
            target[name].uint64_param = value
        elif isinstance(value, int):
            target[name].int64_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        else:
            target[name].string_param = value


def _check_sizes(tensors: int, request_id: str, parameters: int) -> None:
    if tensors > TENSORS_MAX:
        raise OipError("tensors", str(tensors), f"at most {TENSORS_MAX}")
    if len(request_id) > ID_CHARS_MAX:
        raise OipError("id", f"{len(request_id)} characters", f"at most {ID_CHARS_MAX}")
    if parameters > PARAMETERS_MAX:
        raise OipError("parameters", str(parameters), f"at most {PARAMETERS_MAX}")
