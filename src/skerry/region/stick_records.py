"""Records that came by stick: from a node without a link, to central, through its region.

    POST /v1/stick   a report as the node signed it; its records go up as if it had sent them

The region believes what the node's enrolment key signed, and of that only records of the node
itself. Each has a key that makes it count once, so a stick may be brought twice.

Errors:  ReportRefused, BannedError, and what a `NatsBus` raises while central is away: then bring
         it again.
"""

from collections.abc import Callable

import msgspec
from anyio import to_thread

from skerry.schema.access import Action
from skerry.schema.records import Envelope
from skerry.schema.stick_report import SignedReport, StickTaken
from skerry.spine import subjects
from skerry.spine.authority_api import OPERATOR
from skerry.spine.bus import Bus
from skerry.spine.https_server import Call, Reply, Route
from skerry.spine.relay import travels
from skerry.trust.enrol import BannedError
from skerry.trust.registry import Registry
from skerry.trust.spiffe import SpiffeId
from skerry.trust.stick_report import REPORT_BYTES_MAX, ReportRefused, read_report


class StickApi:
    """The one call of a region."""

    def __init__(self, region: str, registry: Registry, bus: Callable[[], Bus]) -> None:
        self._region, self._registry, self._bus = region, registry, bus

    def routes(self) -> list[Route]:
        """Return it."""
        return [Route("POST", "/v1/stick", self._take, OPERATOR, Action.TICKET)]

    async def _take(self, call: Call) -> Reply:
        signed = await call.document(SignedReport, bytes_max=REPORT_BYTES_MAX)
        data = msgspec.json.encode(signed)
        said = await to_thread.run_sync(read_report, data, self._registry)
        node = SpiffeId.parse(said.spiffe_id)
        why = await to_thread.run_sync(self._registry.banned, said.spiffe_id)
        if why is not None:
            raise BannedError(said.spiffe_id, why)
        check_own(said.records, node)
        for envelope in said.records:
            await self._bus().publish_kept(
                subjects.up(self._region, envelope.keep),
                msgspec.json.encode(envelope),
                msg_id=envelope.key,
            )
        return StickTaken(node=node.node, records=len(said.records))


def check_own(records: tuple[Envelope, ...], node: SpiffeId) -> None:
    """Refuse records of another node, and of kinds that never leave a region."""
    own = f"{node.region}.{node.site}.{node.number}."
    for envelope in records:
        if not (envelope.key.startswith(own) and travels(envelope)):
            raise ReportRefused(f"record {envelope.key[:120]!r} is not one that {node} may send")
