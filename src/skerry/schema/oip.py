"""Inference requests and answers, as every room sees them; transports turn bytes into these.

The words are those of the Open Inference Protocol v2. Tensors hold their data as a
numpy array that may alias a receive buffer: nobody writes to it, and nobody reuses
the buffer before the answer is out. Skerry's own facts ride in fields here, as
`skerry-*` headers on HTTP and as parameters or metadata on gRPC. They are structs because
every request makes several, and msgspec makes those in a fraction of a dataclass's time.
"""

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from skerry.schema.answer_stream import AnswerStream

Parameter = bool | int | float | str
InferFunction = Callable[["InferRequest"], Awaitable["InferReply"]]
"""What a door calls: the local engine, or the router in front of it."""

PARAMETER_SEQUENCE_ID = "sequence_id"
"""Names the stream that a request belongs to, whose state is kept where it began."""

HEADER_DATA_CLASS = "skerry-data-class"
HEADER_DEADLINE_MS = "skerry-deadline-ms"
HEADER_SERVED_BY = "skerry-served-by"
HEADER_HOPS = "skerry-hops"
HEADER_ORIGIN = "skerry-origin"
HEADER_TRACEPARENT = "traceparent"
HEADER_EXPLAIN_ROUTE = "skerry-explain-route"
PARAMETER_ROUTE = "skerry-route"
"""The reply parameter that says how a request was routed, as JSON of a `RouteTrace`."""
PRIORITY_LAST = 1_000_000
"""Of work that no client waits for, such as explanations and shadows: after everything else."""

DATATYPES: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype(np.uint16),  # first, so that uint16 read backwards is UINT16
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
"""OIP datatype to numpy dtype; BYTES is an object array of `bytes`, BF16 its bits as a number."""

RegionReader = Callable[[str, int, int], memoryview]
"""Looks bytes of a registered shared memory region up: its name, how many bytes, from where."""


class Tensor(msgspec.Struct, gc=False):
    """One named array. `data` has the tensor's shape and the dtype of `DATATYPES`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: NDArray[Any]


class Form(Protocol):
    """What repeats itself in requests that differ in their tensors' bytes alone."""

    @property
    def outputs(self) -> list[str] | None:
        """The outputs asked for."""
        ...


class FormedInputs(list[Tensor]):
    """Input tensors whose names, datatypes and shapes are those of a form. Nobody changes it."""

    __slots__ = ("form",)

    form: Form


class OutputWish(msgspec.Struct, kw_only=True):
    """What shall become of an output beyond being sent; 0 and "" ask for nothing.

    `classes` asks for the top k as text (Triton's classification extension); `region`
    names the shared memory that takes the output, which then is not sent.
    """

    classes: int = 0
    region: str = ""
    region_bytes: int = 0
    region_offset: int = 0


class ServedBy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Who answered and why: the facts behind `skerry-served-by`."""

    site: str
    node: str
    tier: str
    model: str
    version: str
    reason: str
    """`local`, or why it was not: `local-down`, `hedge`, `queue-full`, `stand-in`, `rule:...`"""

    @cached_property
    def text(self) -> str:
        """`site=..;node=..;tier=..;model=..;version=..;reason=..`."""
        return (
            f"site={self.site};node={self.node};tier={self.tier};"
            f"model={self.model};version={self.version};reason={self.reason}"
        )


class InferRequest(msgspec.Struct, kw_only=True, gc=False):
    """One inference request.

    `deadline_s` is the budget left, in seconds, counted from `received_s` (monotonic);
    None means the model's own limit. `data_class` of None means the model's default.
    `hops` counts forwards between nodes, so that a loop ends. `origin_site` is where
    the data was first received; None means here.
    """

    model: str
    inputs: list[Tensor]
    version: str = ""
    id: str = ""
    outputs: list[str] | None = None
    binary_outputs: bool = True
    parameters: dict[str, Parameter] = {}
    data_class: str | None = None
    deadline_s: float | None = None
    traceparent: str | None = None
    received_s: float = 0.0
    hops: int = 0
    origin_site: str | None = None
    body_bytes: int = 0
    """Size of the request's content, for counting bytes that go upstream."""
    priority: int = 0
    """Triton's `priority`: 1 is the most urgent, 0 the model's default."""
    client: int = 0
    """Who asks, as the door tells clients apart; requests of one client wait behind each other."""
    timeline: list[tuple[str, float]] | None = None
    """What happened to it when, in monotonic seconds; None unless it is traced."""
    streams: bool = False
    """Whether the answer may come piece by piece; the door that asks can send it on so."""
    wishes: dict[str, OutputWish] | None = None
    """By output; what the door itself does to the answer, wherever it came from."""
    wanted: dict[str, OutputWish] | None = None
    """By output, for a sender: the wishes to send. A door never sets it, so none is forwarded."""
    placed: dict[str, OutputWish] | None = None
    """By input, for a sender: those that lie in shared memory already; only where is sent."""


class InferReply(msgspec.Struct, kw_only=True, gc=False):
    """One answer."""

    model: str
    version: str
    outputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Parameter] = {}
    served_by: ServedBy | None = None
    stream: AnswerStream | None = None
    """The answer piece by piece, in place of outputs; it must be read to its end or closed."""
    placed: dict[str, OutputWish] | None = None
    """The outputs that lie in shared memory already; only where is sent."""
