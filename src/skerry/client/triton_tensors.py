"""What goes in and comes out of `skerry.client.triton`, shaped like tritonclient.http's.

Arrays are copied when they are set, as tritonclient does, so the caller may reuse its own
at once. Everything travels as raw bytes: `binary_data=False` is taken and changes nothing
of the values. BF16 goes in as `ml_dtypes.bfloat16` and comes out as float32.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import SkerryError
from skerry.client.answer import as_tensor
from skerry.client.errors import InputError
from skerry.route.errors import NoCandidateError
from skerry.schema.oip import InferReply, OutputWish, Tensor
from skerry.schema.oip_http import decode_reply
from skerry.schema.oip_tensors import floats_of_bf16, raw_from_tensor

Array = NDArray[Any]


class InferenceServerException(Exception):  # noqa: N818 - tritonclient's own name
    """A request failed; `status` is an HTTP status as text, and `__cause__` the SDK's error."""

    def __init__(
        self, msg: str | None, status: str | None = None, debug_details: object = None
    ) -> None:
        super().__init__(msg, status, debug_details)
        self._msg, self._status, self._debug_details = msg, status, debug_details

    def __str__(self) -> str:
        text = self._msg or ""
        return f"[{self._status}] {text}" if self._status is not None else text

    def message(self) -> str | None:
        """Return what went wrong."""
        return self._msg

    def status(self) -> str | None:
        """Return the HTTP status, as text."""
        return self._status

    def debug_details(self) -> object:
        """Return the SDK's own error, with its fields."""
        return self._debug_details


def told(error: SkerryError | TimeoutError) -> InferenceServerException:
    """Return an error of the SDK as tritonclient would have raised it."""
    status = getattr(error, "http_status", 499)
    if isinstance(error, NoCandidateError) and {c.verdict for c in error.considered} == {
        "no-model"
    }:
        status = 404
    return InferenceServerException(str(error), str(status), error)


class InferInput:
    """One input: a name, a shape, a datatype, and data from an array or from shared memory."""

    def __init__(self, name: str, shape: Sequence[int], datatype: str) -> None:
        self._name, self._shape, self._datatype = name, list(shape), datatype
        self._data: Array | None = None
        self.place: OutputWish | None = None
        """Where in shared memory it lies, if there."""

    def name(self) -> str:
        """Return the input's name."""
        return self._name

    def datatype(self) -> str:
        """Return the input's datatype, in the protocol's words."""
        return self._datatype

    def shape(self) -> list[int]:
        """Return the input's shape."""
        return self._shape

    def set_shape(self, shape: Sequence[int]) -> Self:
        """Set the shape; before the data."""
        self._shape = list(shape)
        return self

    def set_data_from_numpy(self, input_tensor: Array, binary_data: bool = True) -> Self:
        """Take the data from an array of this input's datatype and shape."""
        if not isinstance(input_tensor, np.ndarray):
            raise InferenceServerException("input_tensor must be a numpy array")
        if input_tensor.dtype.name == "bfloat16":
            input_tensor, found = input_tensor.view(np.uint16), "BF16"
            tensor = Tensor(self._name, found, input_tensor.shape, input_tensor)
        else:
            try:
                tensor = as_tensor(self._name, input_tensor)
            except InputError as error:
                raise InferenceServerException(str(error)) from error
        if tensor.datatype != self._datatype:
            raise InferenceServerException(
                f"got unexpected datatype {tensor.datatype} from numpy array, "
                f"expected {self._datatype}."
            )
        if list(tensor.shape) != self._shape:
            raise InferenceServerException(
                f"got unexpected numpy array shape {list(tensor.shape)}, expected {self._shape}"
            )
        self._data, self.place = tensor.data.copy(), None
        return self

    def set_shared_memory(self, region_name: str, byte_size: int, offset: int = 0) -> Self:
        """Take the data from a registered region, where the server reads it."""
        self._data = None
        self.place = OutputWish(region=region_name, region_bytes=byte_size, region_offset=offset)
        return self

    def tensor(self) -> Tensor:
        """Return it as it is sent."""
        shape = tuple(self._shape)
        if self.place is not None:
            return Tensor(self._name, self._datatype, shape, np.empty(0, np.uint8))
        if self._data is None:
            raise InferenceServerException(f"input {self._name!r} was given no data")
        return Tensor(self._name, self._datatype, shape, self._data)


class InferRequestedOutput:
    """One wanted output. `class_count` asks for the highest elements as text."""

    def __init__(self, name: str, binary_data: bool = True, class_count: int = 0) -> None:
        self._name, self._classes = name, class_count
        self.wish = OutputWish(classes=class_count) if class_count else None

    def name(self) -> str:
        """Return the output's name."""
        return self._name

    def set_shared_memory(self, region_name: str, byte_size: int, offset: int = 0) -> None:
        """Have the server put the output into a registered region."""
        if self._classes:
            raise InferenceServerException("shared memory can't be set on classification output")
        self.wish = OutputWish(region=region_name, region_bytes=byte_size, region_offset=offset)

    def unset_shared_memory(self) -> None:
        """Have the output sent again."""
        self.wish = OutputWish(classes=self._classes) if self._classes else None


class InferResult:
    """One answer."""

    def __init__(self, reply: InferReply, verbose: bool = False) -> None:
        self._tensors = {tensor.name: tensor for tensor in reply.outputs}
        self._response: dict[str, Any] = {
            "model_name": reply.model,
            "model_version": reply.version,
            "outputs": [_described(tensor) for tensor in reply.outputs],
        }
        if reply.id:
            self._response["id"] = reply.id
        if reply.parameters:
            self._response["parameters"] = dict(reply.parameters)
        if verbose:
            print(self._response)  # noqa: T201 - what tritonclient's `verbose` does

    @classmethod
    def from_response_body(
        cls,
        response_body: bytes,
        verbose: bool = False,
        header_length: int | None = None,
        content_encoding: str | None = None,
    ) -> Self:
        """Read an answer that was fetched some other way; not one that is compressed."""
        if content_encoding not in (None, "", "identity"):
            raise InferenceServerException(f"content encoding {content_encoding} is not read here")
        try:
            return cls(decode_reply(response_body, header_length), verbose)
        except SkerryError as error:
            raise told(error) from error

    def as_numpy(self, name: str) -> Array | None:
        """Return an output's array; None where there is no such output."""
        tensor = self._tensors.get(name)
        if tensor is None:
            return None
        return floats_of_bf16(tensor.data) if tensor.datatype == "BF16" else tensor.data

    def get_output(self, name: str) -> dict[str, Any] | None:
        """Return what the answer says of an output; None where there is no such output."""
        outputs: list[dict[str, Any]] = self._response["outputs"]
        return next((output for output in outputs if output["name"] == name), None)

    def get_response(self) -> dict[str, Any]:
        """Return the answer's own words."""
        return self._response


def _described(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": {"binary_data_size": len(raw_from_tensor(tensor))},
    }
