"""The guard between recorder and router: in quarantine, restricted data goes no further."""

from collections.abc import Callable

from skerry.node.quarantine import FREE
from skerry.schema.oip import InferFunction, InferReply, InferRequest
from skerry.schema.policy import Policy
from skerry.trust.quarantine import check_quarantine


class Guard:
    """Wraps an infer function; one per worker, which keeps `quarantine` current."""

    def __init__(self, infer: InferFunction, policy: Callable[[], Policy | None]) -> None:
        self._infer, self._policy = infer, policy
        self.quarantine = FREE

    async def infer(self, request: InferRequest) -> InferReply:
        """Answer, or raise `QuarantinedError`."""
        if self.quarantine.causes:
            check_quarantine(self.quarantine, self._policy(), request.model, request.data_class)
        return await self._infer(request)
