"""OIP over gRPC: protobuf messages to requests and answers and back.

Tensors travel as raw contents, or as typed lists where the sender chose so. All raw or
all lists, says the specification; a mix is refused. Answers are always raw.

Errors:  OipError and its kinds, for anything that is not a message.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import InferReply, InferRequest, Parameter, Tensor
from skerry.schema.oip_errors import OipError, UnsupportedError, shown
from skerry.schema.oip_http import ID_CHARS_MAX, PARAMETERS_MAX, TENSORS_MAX
from skerry.schema.oip_tensors import Buffer, raw_from_tensor, tensor_from_list, tensor_from_raw

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


def decode_request(data: Buffer) -> InferRequest:
    """Read a serialised `ModelInferRequest`."""
    message = _parsed(pb.ModelInferRequest(), data)
    _check_sizes(len(message.inputs), message.id, len(message.parameters))
    for wish in message.outputs:
        if wish.parameters:
            _check_supported(wish.name, wish.parameters)
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        inputs=_tensors(message.inputs, message.raw_input_contents),
        outputs=[wish.name for wish in message.outputs] or None,
        parameters=_parameters(message.parameters),
        body_bytes=len(data),
    )


def encode_request(request: InferRequest) -> bytes:
    """Return a request as a serialised `ModelInferRequest`."""
    message = pb.ModelInferRequest(
        model_name=request.model, model_version=request.version, id=request.id
    )
    _set_parameters(message.parameters, request.parameters)
    for name in request.outputs or ():
        message.outputs.add(name=name)
    for tensor in request.inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(bytes(raw_from_tensor(tensor)))
    return message.SerializeToString()


def decode_reply(data: bytes) -> InferReply:
    """Read a serialised `ModelInferResponse`."""
    message = _parsed(pb.ModelInferResponse(), data)
    _check_sizes(len(message.outputs), message.id, len(message.parameters))
    return InferReply(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        outputs=_tensors(message.outputs, message.raw_output_contents),
        parameters=_parameters(message.parameters),
    )


def encode_reply(reply: InferReply) -> list[Buffer]:
    """Return an answer as a serialised `ModelInferResponse`, in pieces."""
    message = pb.ModelInferResponse(
        model_name=reply.model, model_version=reply.version, id=reply.id
    )
    _set_parameters(message.parameters, reply.parameters)
    for tensor in reply.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
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


def _tensors(heads: Any, raw: Any) -> list[Tensor]:
    if raw and len(raw) != len(heads):
        raise OipError("raw contents", f"{len(raw)} entries", f"one per tensor ({len(heads)})")
    tensors: list[Tensor] = []
    for i, head in enumerate(heads):
        if head.parameters:
            _check_supported(head.name, head.parameters)
        name, datatype, shape = head.name, head.datatype, tuple(head.shape)
        if raw:
            if head.HasField("contents"):
                raise OipError(f"tensor {shown(name)}", "both lists and raw", "one of them")
            tensors.append(tensor_from_raw(name, datatype, shape, raw[i]))
            continue
        field = _LISTS.get(datatype)
        if datatype == "FP16":
            raise UnsupportedError(f"tensor {shown(name)}", "FP16 in a list", "raw contents")
        values = list(getattr(head.contents, field)) if field else []
        tensors.append(tensor_from_list(name, datatype, shape, values))
    return tensors


def _parameters(found: Mapping[str, Any]) -> dict[str, Parameter]:
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


def _check_supported(name: str, parameters: Mapping[str, object]) -> None:
    for parameter in ("shared_memory_region", "classification"):
        if parameter in parameters:
            raise UnsupportedError(f"tensor {shown(name)}", f"asking for {parameter}", "plain data")
