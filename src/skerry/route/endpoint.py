"""What every endpoint answers, whatever carries it: HTTP, gRPC, a Unix socket, this process.

The SDK and its fakes know endpoints by this protocol alone, so that each of them can
stand in for any other, and one suite of tests holds for all.

Units:   seconds, from the call on.
Errors:  PeerUnreachableError, PeerBrokenError, TimeoutError, and PeerAnsweredError for
         whatever the endpoint itself refused.
"""

from typing import Protocol

import msgspec

from skerry.route.errors import PeerAnsweredError
from skerry.route.health import PROBE_S_MAX
from skerry.schema.oip import InferReply, InferRequest
from skerry.schema.oip_documents import IndexRow, ModelMetadata, ServerMetadata


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """How often something happened, and how long it took in all, in nanoseconds."""

    count: int = 0
    ns: int = 0


class ModelStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a model version has done since its server started, in the protocol's words.

    `inference_count` counts items and `execution_count` runs: a batch of 8 is 8 and 1.
    `inference_stats` has `success`, `fail`, `queue`, `compute_infer` and others by name.
    """

    name: str
    version: str = ""
    last_inference: int = 0
    """Milliseconds since 1970; 0: never."""
    inference_count: int = 0
    execution_count: int = 0
    inference_stats: dict[str, Duration] = {}


class Endpoint(Protocol):
    """One place that answers inference requests."""

    url: str
    """How people know it."""

    async def infer(self, request: InferRequest, deadline_s: float) -> InferReply:
        """Answer one request; the reply says who served it where the endpoint does."""
        ...

    async def ready(self, model: str, version: str, deadline_s: float) -> bool:
        """Say whether it would answer: anything (`model` empty), or this model."""
        ...

    async def server(self, deadline_s: float) -> ServerMetadata:
        """Say who answers there."""
        ...

    async def metadata(self, model: str, version: str, deadline_s: float) -> ModelMetadata:
        """Describe a model's versions, inputs and outputs."""
        ...

    async def models(self, deadline_s: float) -> list[IndexRow]:
        """List its model versions and their states."""
        ...

    async def statistics(
        self, model: str, version: str, deadline_s: float
    ) -> list[ModelStatistics]:
        """Count what its models did; `model` empty means all."""
        ...

    async def load(self, model: str, folder: str, deadline_s: float) -> None:
        """Load or swap a model, from its repository or (`folder`) from a version folder."""
        ...

    async def unload(self, model: str, deadline_s: float) -> None:
        """Take a model out of service."""
        ...

    async def aclose(self) -> None:
        """Let go of what it holds."""
        ...


async def probe(endpoint: Endpoint) -> None:
    """Raise unless the endpoint is ready; see `route.router.ProbePeer`."""
    if not await endpoint.ready("", "", PROBE_S_MAX):
        raise PeerAnsweredError(endpoint.url, 503, "not ready")
