"""Whom the fleet trusts, at central: taken from the operator, handed to whoever asks.

    GET  /v1/anchors   the signed chain; anyone may read it, for it proves itself
    POST /v1/anchors   a longer chain, from an operator who holds the root's key

Errors:  AnchorsRefused, and what the audit ledger raises: then nothing has changed.
"""

from collections.abc import Awaitable, Callable

import msgspec
from anyio import to_thread

from skerry.schema import api
from skerry.schema.access import Action
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.spine.authority_api import OPERATOR, AuthorityApi
from skerry.spine.https_server import Call, Reply, Route
from skerry.trust.access_gate import Caller, Gate
from skerry.trust.anchors import CHAIN_BYTES_MAX, AnchorStore
from skerry.trust.authority import Authority
from skerry.trust.authority_change import AuthorityKeeper


class TrustApi:
    """Central's calls about roots and its own authority."""

    def __init__(
        self,
        anchors: AnchorStore,
        keeper: AuthorityKeeper,
        *,
        domain: str,
        gate: Gate,
        use: Callable[[Authority], Awaitable[None]],
        nudge: Callable[[], Awaitable[None]],
        note: Note,
    ) -> None:
        self._anchors, self._keeper, self._domain = anchors, keeper, domain
        self._use_authority, self._nudge, self._note = use, nudge, note
        self._authority = AuthorityApi(keeper, use=self._use, note=note)
        self._gate = gate
        gate.performs("anchors", self._change_roots)

    def routes(self) -> list[Route]:
        """Return every call there is."""
        return [
            Route("GET", "/v1/anchors", self._show, None),
            Route("POST", "/v1/anchors", self._take, OPERATOR, Action.CHANGE_ROOT),
            *self._authority.routes(),
        ]

    async def _show(self, call: Call) -> Reply:
        return api.AnchorsDocument(anchors=self._anchors.chain_bytes)

    async def _take(self, call: Call) -> Reply:
        offered = await call.document(api.AnchorsDocument, bytes_max=2 * CHAIN_BYTES_MAX)
        body = msgspec.json.encode(offered)
        who, act = call.admitted, Action.CHANGE_ROOT
        reply: Reply = await self._gate.act(who, act, "trust roots", "anchors", body)
        return reply

    async def _change_roots(self, body: bytes, asker: Caller) -> Reply:
        offered = msgspec.json.decode(body, type=api.AnchorsDocument)
        event = AuditEvent(
            kind=AuditKind.KEY,
            outcome=AuditOutcome.DONE,
            actor=asker.actor,
            target="trust roots",
            text="another version of whom the fleet trusts was offered",
        )
        await self._note(event)
        if await to_thread.run_sync(self._anchors.take, offered.anchors, self._domain):
            await self._use_authority(self._keeper.authority)
        await self._nudge()
        return api.AnchorsDocument(anchors=self._anchors.chain_bytes)

    async def _use(self, authority: Authority, grant: api.AuthorityGrant) -> None:
        await self._use_authority(authority)
