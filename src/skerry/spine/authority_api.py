"""Changing a process's authority over its HTTPS API: a request leaves, a chain comes back.

    POST /v1/authority/request   what this authority wants certified; its keys stay here
    POST /v1/authority           the chain for it: checked, tried out, then used

Region and central both mount these two calls, for operators only.

Errors:  AuthorityRefused, and what the audit ledger raises: then nothing has changed.
"""

from collections.abc import Awaitable, Callable

from anyio import to_thread

from skerry.schema import api
from skerry.schema.access import Action
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.spine.https_server import Call, Reply, Route
from skerry.trust.anchors import issuer_key_ids
from skerry.trust.authority import Authority
from skerry.trust.authority_change import AuthorityKeeper
from skerry.trust.errors import TrustError
from skerry.trust.spiffe import Role

OPERATOR = frozenset({Role.OPERATOR})
Use = Callable[[Authority, api.AuthorityGrant], Awaitable[None]]
"""Makes the process show, and issue from, the authority that was just installed."""


def standing(authority: Authority) -> api.AuthorityStanding:
    """Say which authority this is and who stands above it."""
    above = tuple(one for one in issuer_key_ids(authority.chain_pem) if one != authority.key_id)
    return api.AuthorityStanding(
        issuers=(authority.key_id, *dict.fromkeys(above)), ends_unix_s=authority.ends_unix_s
    )


class AuthorityApi:
    """The two calls of one process."""

    def __init__(
        self,
        keeper: AuthorityKeeper,
        *,
        use: Use,
        new_signer: Callable[[], str] = lambda: "",
        note: Note,
    ) -> None:
        self._keeper, self._use, self._new_signer, self._note = keeper, use, new_signer, note

    def routes(self) -> list[Route]:
        """Return both."""
        return [
            Route("POST", "/v1/authority/request", self._request, OPERATOR, Action.KEYS),
            Route("POST", "/v1/authority", self._grant, OPERATOR, Action.KEYS),
        ]

    async def _request(self, call: Call) -> Reply:
        ask = await call.document(api.AuthorityAsk, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        csr_pem = await to_thread.run_sync(lambda: self._keeper.request(new_key=ask.new_key))
        signer = await to_thread.run_sync(self._new_signer) if ask.new_key else ""
        return api.AuthorityRequest(csr_pem=csr_pem, node_signer=signer)

    async def _grant(self, call: Call) -> Reply:
        grant = await call.document(api.AuthorityGrant, bytes_max=api.JSON_BODY_BYTES_MAX)
        event = AuditEvent(
            kind=AuditKind.KEY,
            outcome=AuditOutcome.DONE,
            actor=str(call.caller),
            target=f"authority {self._keeper.authority.host}",
            text="another certificate for this authority",
        )
        await self._note(event)
        try:
            authority = await to_thread.run_sync(self._keeper.install, grant.chain_pem)
        except TrustError as error:
            await self._note(
                AuditEvent(
                    kind=AuditKind.KEY,
                    outcome=AuditOutcome.REFUSED,
                    actor=str(call.caller),
                    target=event.target,
                    reason=error.reason,
                    text=str(error),
                )
            )
            raise
        await self._use(authority, grant)
        return standing(authority)
