"""Central's calls about people: logging in, passwords, API tokens, the OIDC provider.

Errors:  LoginRefusedError, LoginTooOftenError, OidcError, PeopleError, ApprovalNeededError.
"""

from functools import partial

import anyio
import msgspec
from anyio import to_thread

from skerry.base.clock import Clock
from skerry.schema import access_api as api
from skerry.schema.access import Action, Door
from skerry.schema.api import IDENTITY_BODY_BYTES_MAX
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.spine.access_api import PEOPLE
from skerry.spine.https_server import Call, Reply, Route
from skerry.trust.access_errors import LoginRefusedError, LoginTooOftenError, OidcError
from skerry.trust.access_gate import Caller, Gate
from skerry.trust.oidc import OidcProvider
from skerry.trust.people import check_name, check_roles
from skerry.trust.tokens import SESSION_S

HASHES_AT_ONCE = 2
"""Passwords checked at once: each takes 64 MiB, and central has other work to do."""
LOGINS_WAITING_MAX = 32


class PeopleApi:
    """Answers what people ask about themselves and each other."""

    def __init__(
        self, gate: Gate, *, note: Note, clock: Clock, provider: OidcProvider | None
    ) -> None:
        self._gate, self._note, self._clock, self._provider = gate, note, clock, provider
        self._hashing = anyio.CapacityLimiter(HASHES_AT_ONCE)
        gate.performs("person", self._perform)

    def routes(self) -> list[Route]:
        """Return every call about people."""
        look, change, own = Action.LOOK, Action.CHANGE_PEOPLE, Action.OWN_TOKENS
        return [
            Route("POST", "/v1/login", self._login, None),
            Route("GET", "/v1/login/oidc", self._oidc_facts, None),
            Route("POST", "/v1/login/oidc", self._oidc_login, None),
            Route("POST", "/v1/password", self._password, None),
            Route("POST", "/v1/logout", self._logout, PEOPLE, own),
            Route("GET", "/v1/people", self._people, PEOPLE, look),
            Route("PUT", "/v1/people/{name}", self._change, PEOPLE, change),
            Route("GET", "/v1/access-tokens", self._tokens, PEOPLE, own),
            Route("POST", "/v1/access-tokens", self._new_token, PEOPLE, own),
            Route("DELETE", "/v1/access-tokens/{id}", self._revoke, PEOPLE, own),
        ]

    # --- logging in -------------------------------------------------------------------------

    async def _login(self, call: Call) -> Reply:
        asked = await call.document(api.LoginRequest, bytes_max=IDENTITY_BODY_BYTES_MAX)
        roles = await self._checked(asked.name, asked.password, call.source)
        return await self._session(asked.name, Door.PASSWORD, roles, given=())

    async def _password(self, call: Call) -> Reply:
        asked = await call.document(api.PasswordChange, bytes_max=IDENTITY_BODY_BYTES_MAX)
        await self._checked(asked.name, asked.old, call.source)
        await self._noted(asked.name, AuditOutcome.DONE, "", "another password of one's own")
        people, now_unix_s = self._gate.people, self._clock.unix_s()
        await to_thread.run_sync(
            people.set_password, asked.name, asked.new, now_unix_s, limiter=self._hashing
        )
        await to_thread.run_sync(self._gate.tokens.revoke_all, asked.name)
        return None

    async def _checked(self, name: str, password: str, address: str) -> tuple[str, ...]:
        """Check a password in a thread, few at a time; note how it ended."""
        if self._hashing.statistics().tasks_waiting >= LOGINS_WAITING_MAX:
            raise LoginTooOftenError(1.0)
        try:
            return await to_thread.run_sync(
                self._gate.people.login,
                *(name, password, address, self._clock.unix_s()),
                limiter=self._hashing,
            )
        except LoginRefusedError as error:  # one who comes too often costs nothing, and no entry
            await self._noted(name, AuditOutcome.REFUSED, error.reason, str(error), address)
            raise

    async def _oidc_facts(self, call: Call) -> Reply:
        return self._provider.facts if self._provider else api.OidcFacts()

    async def _oidc_login(self, call: Call) -> Reply:
        asked = await call.document(api.OidcLoginRequest, bytes_max=IDENTITY_BODY_BYTES_MAX)
        if self._provider is None:
            raise OidcError("no provider is configured here")
        try:
            person = await to_thread.run_sync(
                self._provider.person, asked.id_token, asked.nonce, self._clock.unix_s()
            )
        except OidcError as error:
            await self._noted("", AuditOutcome.REFUSED, error.reason, error.why)
            raise
        return await self._session(person.name, Door.OIDC, person.roles, given=person.roles)

    async def _session(
        self, name: str, door: Door, roles: tuple[str, ...], *, given: tuple[str, ...]
    ) -> Reply:
        await self._noted(name, AuditOutcome.DONE, "", f"by {door}")
        text, row = await to_thread.run_sync(
            partial(
                self._gate.tokens.issue,
                name,
                door,
                label="login",
                life_s=SESSION_S,
                now_unix_s=self._clock.unix_s(),
                roles=given,
                session=True,
            )
        )
        return api.LoginReply(token=text, name=name, roles=roles, ends_unix_s=row.ends_unix_s)

    async def _logout(self, call: Call) -> Reply:
        if call.bearer:
            token_id = call.bearer.split("_")[1]
            await to_thread.run_sync(self._gate.tokens.revoke, token_id)
        return None

    # --- people -----------------------------------------------------------------------------

    async def _people(self, call: Call) -> Reply:
        everybody = await to_thread.run_sync(self._gate.people.all)
        return api.PeopleReply(people=tuple(everybody))

    async def _change(self, call: Call) -> Reply:
        asked = await call.document(api.PersonChange, bytes_max=IDENTITY_BODY_BYTES_MAX)
        change = msgspec.structs.replace(asked, name=call.part("name"))
        check_name(change.name)
        check_roles(change.roles or ())
        hashed = ""
        if change.password:  # what waits for a second person is never the password itself
            hashed = await to_thread.run_sync(
                self._gate.people.hashed, change.password, limiter=self._hashing
            )
        kept = msgspec.structs.replace(change, password=hashed)
        what = f"{change.name}: {_words(change)}"
        body = msgspec.json.encode(kept)
        await self._gate.act(call.admitted, Action.CHANGE_PEOPLE, what, "person", body)
        return None

    async def _perform(self, body: bytes, asker: Caller) -> None:
        change = msgspec.json.decode(body, type=api.PersonChange)
        people, tokens = self._gate.people, self._gate.tokens
        now_unix_s = self._clock.unix_s()
        if change.remove:
            await to_thread.run_sync(people.remove, change.name)
            await to_thread.run_sync(self._gate.requests.withdraw_all, change.name)
        else:
            await to_thread.run_sync(
                people.put, change.name, change.password, change.roles, now_unix_s
            )
        if change.remove or change.password:
            await to_thread.run_sync(tokens.revoke_all, change.name)

    # --- tokens -----------------------------------------------------------------------------

    async def _tokens(self, call: Call) -> Reply:
        caller = call.admitted
        everybody = self._gate.verdict(caller, Action.CHANGE_PEOPLE, approved=True).allowed
        who = "" if everybody else caller.name
        rows = await to_thread.run_sync(self._gate.tokens.all, self._clock.unix_s(), who)
        return api.TokensReply(tokens=tuple(rows))

    async def _new_token(self, call: Call) -> Reply:
        wish = await call.document(api.TokenWish, bytes_max=IDENTITY_BODY_BYTES_MAX)
        caller = call.admitted
        text, row = await to_thread.run_sync(
            partial(
                self._gate.issue,
                caller,
                label=wish.label,
                life_s=wish.life_s,
                scope=wish.scope,
            )
        )
        return api.TokenReply(token=text, row=row)

    async def _revoke(self, call: Call) -> Reply:
        caller, token_id = call.admitted, call.part("id")
        owner = await to_thread.run_sync(self._gate.tokens.owner, token_id)
        if owner != caller.name:
            await self._gate.require(caller, Action.CHANGE_PEOPLE, f"token {token_id} of {owner}")
        await to_thread.run_sync(self._gate.tokens.revoke, token_id)
        return None

    async def _noted(
        self, name: str, outcome: AuditOutcome, reason: str, text: str, address: str = ""
    ) -> None:
        await self._note(
            AuditEvent(
                kind=AuditKind.LOGIN,
                outcome=outcome,
                actor=name[:128],
                target="central",
                reason=reason,
                text=text,
                personal={"address": address} if address else {},
            )
        )


def _words(change: api.PersonChange) -> str:
    """Say what changes, without the password."""
    if change.remove:
        return "removed"
    parts = []
    if change.roles is not None:
        parts.append(f"roles {', '.join(change.roles) or 'none'}")
    if change.password:
        parts.append("another password")
    return ", ".join(parts) or "nothing"
