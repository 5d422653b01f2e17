"""The one way in: who calls, what they may, a record of it, a second person where it takes two.

    certificate or token -> Caller -> Cedar -> decision written down -> done, kept, or refused

Central and regions each have one gate. What changes something is noted in the audit ledger before
it is done, and so is every refusal of somebody known; if that cannot be written, nothing is done.

Units:   unix seconds.
Errors:  AccessDeniedError, ApprovalNeededError, SelfApprovalError, TokenRefusedError, PeopleError.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import to_thread

from skerry.base.clock import Clock
from skerry.base.units import SECONDS_PER_DAY
from skerry.schema.access import (
    BREAK_GLASS,
    BREAK_GLASS_S,
    ROLES,
    TWO_PERSON_ABLE,
    AccessPolicy,
    Action,
    Decision,
    Door,
    RequestRow,
    RequestState,
    TokenRow,
)
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.trust.access import TWO_PERSON_ID, AccessSet, Verdict, Who, ask, check_publishable
from skerry.trust.access_errors import (
    AccessDeniedError,
    ApprovalNeededError,
    PeopleError,
    PolicyInvalidError,
    SelfApprovalError,
)
from skerry.trust.access_requests import Requests
from skerry.trust.access_store import AccessStore
from skerry.trust.people import People
from skerry.trust.spiffe import Role, SpiffeId
from skerry.trust.tokens import Tokens

log = logging.getLogger(__name__)

OIDC_TOKEN_S_MAX = 7 * SECONDS_PER_DAY
"""The longest that roles from a provider are believed without asking it again."""
QUIET = frozenset({Action.LOOK, Action.FETCH, Action.REGISTER})
"""Changes nothing, and happens all the time: noted where it is refused."""
ACTED = frozenset({*TWO_PERSON_ABLE, Action.PUBLISH, Action.BAN})
"""What its handler does through `Gate.act`, once it has read what is asked."""
_KINDS = {
    Action.APPLY: AuditKind.APPLY,
    Action.STEER: AuditKind.ROLLOUT,
    Action.UPLOAD: AuditKind.PUBLISH,
    Action.PUBLISH: AuditKind.PUBLISH,
    Action.PUBLISH_POLICY: AuditKind.POLICY,
    Action.CHANGE_ROOT: AuditKind.KEY,
    Action.KEYS: AuditKind.KEY,
    Action.TICKET: AuditKind.JOIN,
    Action.BAN: AuditKind.BAN,
    Action.LIFT_BAN: AuditKind.LIFT_BAN,
    Action.DRILL: AuditKind.DRILL,
    Action.BREAK_GLASS: AuditKind.BREAK_GLASS,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as proven."""

    who: Who
    door: Door
    actor: str
    """For the ledger: a SPIFFE id, or a person's name."""
    scope: frozenset[str] = frozenset()
    """Actions that the token shown is for; empty for all."""
    given: tuple[str, ...] = ()
    """Roles that an OIDC provider gave; nobody here could look them up again."""

    @property
    def name(self) -> str:
        """A person's name, whichever door they came through."""
        return self.who.name


Perform = Callable[[bytes, Caller], Awaitable[Any]]
"""Carries out what was asked; takes the body and who asked for it."""


class Gate:
    """Decides every call of one process."""

    def __init__(self, fleet: str, store: AccessStore, *, note: Note, clock: Clock) -> None:
        self._fleet, self._store, self._note, self._clock = fleet, store, note, clock
        self.people, self.tokens = People(store), Tokens(store)
        self.requests = Requests(store)
        self._policies = AccessSet(AccessPolicy(fleet=fleet, generation=0))
        self._performers: dict[str, Perform] = {}

    # --- the policy in force --------------------------------------------------------------

    @property
    def policies(self) -> AccessSet:
        """The set in force."""
        return self._policies

    def adopt(self, document: AccessPolicy) -> bool:
        """Take a newer policy; on any fault the one before stays, and False says so."""
        if document.generation <= self._policies.document.generation:
            return document == self._policies.document
        try:
            self._policies = check_publishable(document)
        except PolicyInvalidError as error:
            log.error("%s", error)
            return False
        return True

    # --- who calls ------------------------------------------------------------------------

    def by_certificate(self, caller: SpiffeId) -> Caller:
        """Return a caller by a certificate that TLS has verified."""
        if caller.role is Role.OPERATOR:
            named = self._policies.document.people
            roles = named.get(caller.operator, ()) if named else ROLES
            who = self._person(caller.operator, roles)
        elif caller.role is Role.NODE:
            who = Who("Node", caller.node, site=caller.site, region=caller.region)
        elif caller.role is Role.REGION:
            who = Who("Region", caller.region)
        else:
            who = Who("Nobody", str(caller))
        return Caller(who, Door.CERTIFICATE, str(caller))

    def by_token(self, text: str) -> Caller:
        """Return a caller by a bearer token; raises `TokenRefusedError`. Blocking."""
        bearer = self.tokens.find(text, self._clock.unix_s())
        if bearer.door is Door.CERTIFICATE:
            named = self._policies.document.people
            roles = named.get(bearer.who, ()) if named else ROLES
        elif bearer.door is Door.OIDC:
            roles = bearer.roles
        else:
            roles = self.people.roles_of(bearer.who) or ()
        door = bearer.door if bearer.session else Door.TOKEN
        who = self._person(bearer.who, roles)
        return Caller(who, door, bearer.who, bearer.scope, bearer.roles)

    def named(self, name: str) -> Caller:
        """Return somebody as their certificate, or else their password, would show them."""
        named = self._policies.document.people
        roles = named.get(name) or self.people.roles_of(name) or (() if named else ROLES)
        return Caller(self._person(name, roles), Door.NONE, name)

    def _person(self, name: str, roles: tuple[str, ...]) -> Who:
        broken = self._store.granted(name, self._clock.unix_s())
        return Who("Person", name, frozenset((*roles, BREAK_GLASS) if broken else roles))

    # --- deciding ---------------------------------------------------------------------------

    def verdict(
        self, caller: Caller, action: str, *, approved: bool = False, own: bool = False
    ) -> Verdict:
        """Decide, and write nothing down."""
        return self._policies.decide(
            ask(
                caller.who,
                action,
                self._fleet,
                door=caller.door,
                two_person=self._policies.needs_two(action),
                approved=approved,
                own=own,
                in_scope=not caller.scope or action in caller.scope,
            )
        )

    async def enter(self, caller: Caller, action: Action, what: str) -> None:
        """Let a call in that one person may make, or raise `AccessDeniedError`.

        For actions that may take two this is a look at the door, and `act` follows with the body.
        """
        verdict = self.verdict(caller, action, approved=True)
        if not (verdict.allowed and action in ACTED):
            await self._settle(caller, action, what, verdict)

    async def require(self, caller: Caller, action: Action, what: str) -> None:
        """Let somebody do what one person may, though their call is of another kind."""
        await self._settle(caller, action, what, self.verdict(caller, action, approved=True))

    def issue(
        self, caller: Caller, *, label: str, life_s: float, scope: tuple[str, ...]
    ) -> tuple[str, TokenRow]:
        """Make a token for a person who has come through a door other than a token. Blocking."""
        if caller.door is Door.TOKEN or caller.who.kind != "Person":
            raise PeopleError("a token makes no tokens", "log in, or show your certificate")
        if caller.door is Door.OIDC and life_s > OIDC_TOKEN_S_MAX:
            raise PeopleError(
                f"a token of {life_s / SECONDS_PER_DAY:g} days",
                "the provider's word is kept for 7 days at most",
            )
        return self.tokens.issue(
            caller.name,
            caller.door,
            label=label,
            life_s=life_s,
            now_unix_s=self._clock.unix_s(),
            scope=scope,
            roles=caller.given,
        )

    def performs(self, kind: str, perform: Perform) -> None:
        """Say what carries out requests of a kind: at once, or when a second person agrees."""
        self._performers[kind] = perform

    async def act(self, caller: Caller, action: Action, what: str, kind: str, body: bytes) -> Any:
        """Do what one person may do; keep what takes two, and raise `ApprovalNeededError`."""
        verdict = self.verdict(caller, action)
        alone = verdict.policies == (TWO_PERSON_ID,)
        if alone and self.verdict(caller, action, approved=True).allowed:
            row = await to_thread.run_sync(
                partial(
                    self.requests.add, kind, action, what, caller.name, body, self._clock.unix_s()
                )
            )
            why = f"it waits for a second person, as request {row.id}"
            await self._write(caller, action, what, verdict, why)
            raise ApprovalNeededError(caller.name, action, row.id)
        await self._settle(caller, action, what, verdict)
        return await self._performers[kind](body, caller)

    async def approve(self, caller: Caller, request: str) -> tuple[RequestRow, Any]:
        """Agree to another person's request, and carry it out."""
        row = await to_thread.run_sync(self.requests.waiting, request, self._clock.unix_s())
        action, what = Action(row.action), f"{row.what} (request {row.id} of {row.who})"
        own = is_own(row, caller)
        verdict = self.verdict(caller, action, approved=True, own=own)
        try:
            await self._settle(caller, action, what, verdict)
        except AccessDeniedError as error:
            if own:
                raise SelfApprovalError(caller.name, f"request {row.id}") from error
            raise
        if not await to_thread.run_sync(
            self.requests.settle, row.id, RequestState.DONE, caller.name
        ):
            raise PeopleError(f"request {row.id} waits no longer", "skerry trust requests")
        kind, body = await to_thread.run_sync(self.requests.body, row.id)
        asker = Caller(Who("Person", row.who), Door.NONE, row.who)
        try:
            return row, await self._performers[kind](body, asker)
        except BaseException:
            self.requests.fail(row.id)
            raise

    async def check_second(self, caller: Caller, what: str, first: str) -> None:
        """Refuse to let a change go on by who applied it, where `apply` takes two people.

        Whoever broke the glass may apply alone, and so may approve alone.
        """
        if not is_first(caller, first) or not self._policies.needs_two(Action.APPLY):
            return
        if BREAK_GLASS in caller.who.roles:
            return
        verdict = self.verdict(caller, Action.APPLY, approved=True, own=True)
        await self._write(caller, Action.STEER, f"approve {what}", verdict, verdict.text)
        raise SelfApprovalError(caller.name, what)

    async def withdraw(self, caller: Caller, request: str) -> RequestRow:
        """Take back a request: one's own, or anybody's by whoever might approve it."""
        row = await to_thread.run_sync(self.requests.waiting, request, self._clock.unix_s())
        if not is_own(row, caller):
            action = Action(row.action)
            verdict = self.verdict(caller, action, approved=True)
            await self._settle(caller, action, f"withdraw request {row.id}", verdict)
        await to_thread.run_sync(self.requests.settle, row.id, RequestState.WITHDRAWN, caller.name)
        return row

    async def break_glass(self, caller: Caller, reason: str) -> float:
        """Give a person the emergency role for `BREAK_GLASS_S`; returns when it ends."""
        if len(reason.strip()) < 10:
            raise PeopleError("breaking the glass wants a reason", "say what happened")
        await self.enter(caller, Action.BREAK_GLASS, reason.strip()[:500])
        ends_unix_s = self._clock.unix_s() + BREAK_GLASS_S
        await to_thread.run_sync(self._store.grant, caller.name, reason[:500], ends_unix_s)
        log.warning("%s broke the glass: %s", caller.actor, reason[:500])
        return ends_unix_s

    # --- writing down -----------------------------------------------------------------------

    async def _settle(self, caller: Caller, action: Action, what: str, verdict: Verdict) -> None:
        if verdict.allowed and action in QUIET:
            return
        decision = await self._write(caller, action, what, verdict, verdict.text)
        if not verdict.allowed:
            raise AccessDeniedError(caller.name, action, verdict.text, decision.id)

    async def _write(
        self, caller: Caller, action: Action, what: str, verdict: Verdict, why: str
    ) -> Decision:
        """Keep the decision, and note it; raises where it cannot be kept."""
        policies = self._policies
        decision = Decision(
            id=secrets.token_hex(6),
            at_unix_s=self._clock.unix_s(),
            who=caller.name,
            roles=tuple(sorted(caller.who.roles)),
            door=caller.door,
            action=action,
            what=what[:500],
            allowed=verdict.allowed,
            policies=verdict.policies,
            errors=verdict.errors,
            policy_generation=policies.document.generation,
            policy_sha256=policies.sha256,
            text=why,
        )
        await to_thread.run_sync(self._store.keep_decision, decision)
        await self._note(
            AuditEvent(
                kind=_KINDS.get(action, AuditKind.ACCESS),
                outcome=AuditOutcome.DONE if verdict.allowed else AuditOutcome.REFUSED,
                actor=caller.actor,
                target=what[:500],
                reason="" if verdict.allowed else AccessDeniedError.reason,
                text=f"{caller.name} {action}: {why}",
                fields={
                    "decision": decision.id,
                    "action": action,
                    "door": caller.door,
                    "roles": ", ".join(decision.roles),
                    "policies": ", ".join(verdict.policies),
                    "policy_generation": str(decision.policy_generation),
                    "policy_sha256": decision.policy_sha256,
                },
            )
        )
        return decision


def is_own(row: RequestRow, caller: Caller) -> bool:
    """Say whether who would approve is who asked, whichever door each came through."""
    return row.who == caller.name


def is_first(caller: Caller, first: str) -> bool:
    """Say whether who would let a change go on is who applied it."""
    return caller.name == first
