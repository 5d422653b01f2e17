"""A region hands nodes their papers: the custody entries at central that name the caller.

    GET /v1/papers   for nodes: entries that name the node that asks

The entries carry their own signatures, so the region checks nothing and may answer from memory
while central is away.

Units:  seconds.
Errors: those of the call; where central was never reached, there are no papers.
"""

from anyio import to_thread

from skerry.base.clock import Clock
from skerry.base.recent_cache import RecentCache
from skerry.region.errors import CentralAwayError
from skerry.region.upstream import Upstream
from skerry.schema.access import Action
from skerry.schema.custody import CustodyChain
from skerry.spine.https_server import Call, Reply, Route
from skerry.trust.spiffe import Role

FRESH_S = 30.0
"""How long an answer of central's counts as new: a fleet's nodes all ask once a minute."""
MEMORY_BYTES_MAX = 32 * 1024 * 1024
"""Room for answers that are kept; a node with no papers costs next to nothing."""
_EMPTY_BYTES = 200


class PapersApi:
    """Answers nodes that ask for their papers."""

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream, self._clock = upstream, clock
        self._known = RecentCache[str, tuple[float, CustodyChain]](MEMORY_BYTES_MAX)

    def routes(self) -> list[Route]:
        """Return every call there is."""
        return [Route("GET", "/v1/papers", self._papers, frozenset({Role.NODE}), Action.FETCH)]

    async def _papers(self, call: Call) -> Reply:
        site, number = call.caller.site, call.caller.number
        return await self.papers(site, number)

    async def papers(self, site: str, number: int) -> CustodyChain:
        """Return a node's papers, at most `FRESH_S` old while central answers."""
        node, now_s = f"{site}/{number}", self._clock.monotonic_s()
        at_s, known = self._known.get(node) or (-FRESH_S, CustodyChain())
        if now_s - at_s < FRESH_S:
            return known
        try:
            found = await to_thread.run_sync(self._upstream.papers, site, number)
        except CentralAwayError:
            return known
        size = _EMPTY_BYTES + sum(len(one.payload) + _EMPTY_BYTES for one in found.entries)
        self._known.put(node, (now_s, found), size)
        return found
