"""`GET /v1/expiries`: what ends, as central and every region know it."""

from collections.abc import Callable, Sequence

from anyio import to_thread

from skerry.schema.access import Action
from skerry.schema.expiry import ExpiriesReply, Expiry
from skerry.spine.authority_api import OPERATOR
from skerry.spine.https_server import Call, Reply, Route


class ExpiriesApi:
    """The one call about ends. `ends` may read files: it runs in a worker thread."""

    def __init__(self, ends: Callable[[], Sequence[Expiry]]) -> None:
        self._ends = ends

    def routes(self) -> list[Route]:
        """Return the one call."""
        return [Route("GET", "/v1/expiries", self._show, OPERATOR, Action.LOOK)]

    async def _show(self, call: Call) -> Reply:
        return ExpiriesReply(expiries=tuple(await to_thread.run_sync(self._ends)))
