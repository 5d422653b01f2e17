"""Arrays in and out: what a caller has, as request tensors; a reply, as an `Answer`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.client.errors import InputError
from skerry.schema.oip import DATATYPES, InferReply, Parameter, Tensor

Array = NDArray[Any]
FILE_INPUT = "file"
_DATATYPE_OF = {dtype: name for name, dtype in DATATYPES.items() if name != "BYTES"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, with who gave it and why.

    `model` is what really answered: a stand-in's own name where one stood in.
    `fallback_reason` is None when the first choice answered; else words such as
    `hedge`, `local-down`, `stand-in:queue-full`, `rule:power.source == ups`.
    """

    outputs: dict[str, Array]
    served_by: str
    site: str
    tier: str
    model: str
    version: str
    fallback_reason: str | None
    latency_ms: float
    """Measured here, from the call to the whole answer."""
    request_id: str = ""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    """What else the answer said, by name."""

    @property
    def label(self) -> str | None:
        """The first label, where the model's card says how to make one."""
        labels = self.outputs.get("label")
        if labels is None or not labels.size:
            return None
        first = labels.reshape(-1)[0]
        return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)

    @property
    def score(self) -> float | None:
        """The first label's score, 0 to 1."""
        scores = self.outputs.get("score")
        return None if scores is None or not scores.size else float(scores.reshape(-1)[0])


def answer_of(reply: InferReply, latency_s: float) -> Answer:
    """Return a reply in the caller's words; its arrays may be read-only views."""
    served = reply.served_by
    assert served is not None  # noqa: S101 - the router always says
    return Answer(
        outputs={tensor.name: tensor.data for tensor in reply.outputs},
        served_by=served.node,
        site=served.site,
        tier=served.tier,
        model=served.model,
        version=served.version,
        fallback_reason=None if served.reason == "local" else served.reason,
        latency_ms=latency_s * MS_PER_SECOND,
        request_id=reply.id,
        parameters=reply.parameters,
    )


def tensors_of(
    inputs: Mapping[str, ArrayLike] | None, file: bytes | Path | Sequence[bytes] | None
) -> list[Tensor]:
    """Return what the caller gave as tensors; raises `InputError`, or `OSError` for a path."""
    if (inputs is None) == (file is None):
        raise InputError("the request", "of both kinds or none", "inputs= or file=, one of them")
    if inputs is not None:
        return [as_tensor(name, value) for name, value in inputs.items()]
    if isinstance(file, Path):
        file = file.read_bytes()
    contents = [file] if isinstance(file, bytes) else list(file or ())
    data = np.empty(len(contents), dtype=np.object_)
    data[:] = contents
    return [Tensor(FILE_INPUT, "BYTES", data.shape, data)]


def as_tensor(name: str, value: ArrayLike) -> Tensor:
    """Return one input as a tensor; text and bytes become BYTES. Raises `InputError`."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"input {name!r}", f"no array ({error})", "one array") from error
    if array.dtype.kind in "USO":
        flat = [_bytes(name, item) for item in array.reshape(-1).tolist()]
        data = np.empty(len(flat), dtype=np.object_)
        data[:] = flat
        return Tensor(name, "BYTES", array.shape, data.reshape(array.shape))
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
    datatype = _DATATYPE_OF.get(array.dtype)
    if datatype is None:
        raise InputError(f"input {name!r}", f"of dtype {array.dtype}", ", ".join(DATATYPES))
    return Tensor(name, datatype, array.shape, array)


def _bytes(name: str, item: object) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes):
        return item
    raise InputError(f"input {name!r}", f"with a {type(item).__name__} inside", "bytes or text")
