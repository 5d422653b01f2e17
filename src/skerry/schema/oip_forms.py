"""OIP over HTTP for requests that repeat themselves: a JSON head seen before is not read again.

A client sends the same head with every request as long as names, datatypes and shapes stay,
and gets the same head back. Both are kept here, bounded, by their bytes and by what they say.
What does not repeat (ids, lists, text, shared memory) goes through `oip_http` each time.
"""

from typing import Any

import numpy as np

from skerry.schema.oip import (
    HEADER_SERVED_BY,
    InferReply,
    InferRequest,
    Parameter,
    RegionReader,
    Tensor,
)
from skerry.schema.oip_http import HttpCall, decode_request, encode_reply
from skerry.schema.oip_tensors import Buffer, raw_from_tensor

FORMS_MAX = 256
FORM_BYTES_MAX = 4096

_CHECKED = frozenset({"BOOL", "BYTES"})  # their bytes are looked at, each time
_forms: dict[bytes, "_Form"] = {}
_reply_heads: dict[tuple[Any, ...], bytes] = {}


class _Form:
    """What a JSON head says of tensors that come as bytes, one after the other."""

    __slots__ = ("_binary_by_output", "_binary_default", "_binary_outputs", "_inputs", "_outputs",
                 "_parameters", "body_bytes")  # fmt: skip

    def __init__(self, call: HttpCall, json_length: int) -> None:
        request = call.request
        self._binary_by_output, self._binary_default = call.binary_by_output, call.binary_default
        self._binary_outputs = request.binary_outputs
        self._outputs = request.outputs
        self._parameters: dict[str, Parameter] = request.parameters
        self._inputs: list[tuple[str, str, tuple[int, ...], np.dtype[Any], int, int]] = []
        at = json_length
        for tensor in request.inputs:
            data = tensor.data
            self._inputs.append(
                (tensor.name, tensor.datatype, tensor.shape, data.dtype, data.size, at)
            )
            at += data.nbytes
        self.body_bytes = at

    def call(self, model: str, version: str, body: Buffer) -> HttpCall:
        """Return the call of a request of this form, whose body has the length it wants."""
        if len(self._inputs) == 1:
            name, kind, shape, dtype, size, at = self._inputs[0]
            data = np.frombuffer(body, dtype, size, at).reshape(shape)
            inputs = [Tensor(name, kind, shape, data)]
        else:
            inputs = [
                Tensor(name, kind, shape, np.frombuffer(body, dtype, size, at).reshape(shape))
                for name, kind, shape, dtype, size, at in self._inputs
            ]
        request = InferRequest(
            model=model,
            version=version,
            outputs=self._outputs,
            binary_outputs=self._binary_outputs,
            parameters=dict(self._parameters) if self._parameters else {},
            inputs=inputs,
            body_bytes=self.body_bytes,
        )
        return HttpCall(request, self._binary_by_output, self._binary_default)


def decode(
    model: str,
    version: str,
    body: Buffer,
    json_length: int | None,
    regions: RegionReader | None = None,
) -> HttpCall:
    """Read a request body; see `oip_http.decode_request`."""
    if not json_length or json_length > FORM_BYTES_MAX:
        return decode_request(model, version, body, json_length, regions)
    key = bytes(body[:json_length])
    form = _forms.get(key)
    if form is not None and form.body_bytes == len(body):
        return form.call(model, version, body)
    call = decode_request(model, version, body, json_length, regions)
    if _repeats(call, len(body) - json_length):
        if len(_forms) >= FORMS_MAX:
            _forms.clear()
        _forms[key] = _Form(call, json_length)
    return call


def encode(reply: InferReply, call: HttpCall) -> tuple[int | None, list[Buffer]]:
    """Return the JSON length and the body of an answer; see `oip_http.encode_reply`."""
    parameters, outputs = reply.parameters, reply.outputs
    served = parameters.get(HEADER_SERVED_BY)
    if reply.id or reply.placed is not None or served is None or len(parameters) > 1:
        return encode_reply(reply, call)
    key: tuple[Any, ...] = (reply.model, reply.version, served)
    for tensor in outputs:
        if not call.binary_by_output.get(tensor.name, call.binary_default):
            return encode_reply(reply, call)
        key += (tensor.name, tensor.datatype, tensor.shape)
    head = _reply_heads.get(key)
    if head is not None:
        if len(outputs) == 1:
            return len(head), [head, raw_from_tensor(outputs[0])]
        return len(head), [head, *[raw_from_tensor(tensor) for tensor in outputs]]
    length, pieces = encode_reply(reply, call)
    text = "BYTES" in [tensor.datatype for tensor in outputs]  # its size is not its shape's
    if length is not None and length <= FORM_BYTES_MAX and not text:
        if len(_reply_heads) >= FORMS_MAX:
            _reply_heads.clear()
        _reply_heads[key] = bytes(pieces[0])
    return length, pieces


def _repeats(call: HttpCall, tail_bytes: int) -> bool:
    """Tell whether another request with this head would differ in its tensors' bytes alone."""
    request = call.request
    plain = not request.id and request.wishes is None
    whole = sum(tensor.data.nbytes for tensor in request.inputs) == tail_bytes
    return plain and whole and _CHECKED.isdisjoint(tensor.datatype for tensor in request.inputs)
