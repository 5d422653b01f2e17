"""OIP over HTTP for requests that repeat themselves: a JSON head seen before is not read again.

A client sends the same head with every request as long as names, datatypes and shapes stay,
and gets the same head back. Both are kept here, bounded, by their bytes and by what they say.
What does not repeat (ids, lists, text, outputs in shared memory) goes through `oip_http` each
time.
"""

from typing import Any

import numpy as np
from msgspec.structs import replace

from skerry.schema.oip import (
    HEADER_SERVED_BY,
    FormedInputs,
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
_forms: dict[bytes, "_Form | _RegionForm"] = {}
_reply_heads: dict[tuple[Any, ...], bytes] = {}


class _Form:
    """What a JSON head says of tensors that come as bytes, one after the other."""

    __slots__ = ("_binary_by_output", "_binary_default", "_binary_outputs", "_inputs",
                 "_parameters", "body_bytes", "outputs")  # fmt: skip

    def __init__(self, call: HttpCall, json_length: int) -> None:
        request = call.request
        self._binary_by_output, self._binary_default = call.binary_by_output, call.binary_default
        self._binary_outputs = request.binary_outputs
        self.outputs = request.outputs
        self._parameters: dict[str, Parameter] = request.parameters
        self._inputs: list[tuple[str, str, tuple[int, ...], np.dtype[Any], int]] = []
        at = json_length
        for tensor in request.inputs:
            data = tensor.data
            self._inputs.append((tensor.name, tensor.datatype, tensor.shape, data.dtype, at))
            at += data.nbytes
        self.body_bytes = at

    def call(
        self, model: str, version: str, body: Buffer, regions: RegionReader | None
    ) -> HttpCall:
        """Return the call of a request of this form, whose body has the length it wants."""
        if len(self._inputs) == 1:
            name, kind, shape, dtype, at = self._inputs[0]
            data = np.ndarray(shape, dtype, body, at)
            inputs = FormedInputs((Tensor(name, kind, shape, data),))
        else:
            inputs = FormedInputs(
                Tensor(name, kind, shape, np.ndarray(shape, dtype, body, at))
                for name, kind, shape, dtype, at in self._inputs
            )
        inputs.form = self
        request = InferRequest(
            model=model,
            version=version,
            outputs=self.outputs,
            binary_outputs=self._binary_outputs,
            parameters=dict(self._parameters) if self._parameters else {},
            inputs=inputs,
            body_bytes=self.body_bytes,
        )
        return HttpCall(request, self._binary_by_output, self._binary_default)


class _RegionForm:
    """What a JSON head says of tensors that all lie in shared memory, where each is read anew."""

    __slots__ = ("_binary_by_output", "_binary_default", "_inputs", "_request", "body_bytes")

    def __init__(self, call: HttpCall, places: list[tuple[str, int, int]], body_bytes: int) -> None:
        request = call.request
        # Without the tensors: what lies there now is of no use, and would hold the region.
        self._request = replace(request, inputs=[])
        self._binary_by_output, self._binary_default = call.binary_by_output, call.binary_default
        self.body_bytes = body_bytes
        self._inputs = [
            (tensor.name, tensor.datatype, tensor.shape, tensor.data.dtype, place)
            for tensor, place in zip(request.inputs, places, strict=True)
        ]

    def call(
        self, model: str, version: str, body: Buffer, regions: RegionReader | None
    ) -> HttpCall:
        """Return the call of a request of this form; the regions and their bounds are looked up."""
        if regions is None:  # says why
            return decode_request(model, version, body, self.body_bytes)
        known = self._request
        request = InferRequest(
            model=model,
            version=version,
            outputs=known.outputs,
            binary_outputs=known.binary_outputs,
            parameters=dict(known.parameters),
            inputs=[
                Tensor(name, kind, shape, np.frombuffer(regions(*place), dtype).reshape(shape))
                for name, kind, shape, dtype, place in self._inputs
            ],
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
        return form.call(model, version, body, regions)
    places: list[tuple[str, int, int]] = []

    def noted(region: str, size: int, offset: int) -> memoryview:
        assert regions is not None  # noqa: S101 - else it is not handed on
        places.append((region, size, offset))
        return regions(region, size, offset)

    call = decode_request(model, version, body, json_length, noted if regions is not None else None)
    made: _Form | _RegionForm | None = None
    if not _repeats(call):
        return call
    if not places and _fills(call, len(body) - json_length):
        made = _Form(call, json_length)
    elif places and len(places) == len(call.request.inputs):
        made = _RegionForm(call, places, json_length)
    if made is not None:
        if len(_forms) >= FORMS_MAX:
            _forms.clear()
        _forms[key] = made
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


def _repeats(call: HttpCall) -> bool:
    """Tell whether another request with this head would differ in its tensors' bytes alone."""
    request = call.request
    plain = not request.id and request.wishes is None
    return plain and _CHECKED.isdisjoint(tensor.datatype for tensor in request.inputs)


def _fills(call: HttpCall, tail_bytes: int) -> bool:
    return sum(tensor.data.nbytes for tensor in call.request.inputs) == tail_bytes
