"""The calls about access that central and regions both answer, and how either lets a call in.

Errors:  those of `skerry.trust.access_gate`; NotHereError for an unknown decision.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
from anyio import to_thread

from skerry.base.clock import Clock
from skerry.schema import access_api as api
from skerry.schema.access import Action
from skerry.schema.api import IDENTITY_BODY_BYTES_MAX
from skerry.schema.policy import Policy
from skerry.spine.https_server import Call, CallRefusedError, NotHereError, Reply, Route
from skerry.trust import ledger_people
from skerry.trust.access import Verdict
from skerry.trust.access_data import explain_data
from skerry.trust.access_gate import Caller, Gate
from skerry.trust.access_store import AccessStore
from skerry.trust.spiffe import Role

PEOPLE = frozenset({Role.OPERATOR})


class AccessApi:
    """Requests that wait, broken glass, and explanations of one process."""

    def __init__(
        self,
        gate: Gate,
        store: AccessStore,
        *,
        clock: Clock,
        policy: Callable[[], Policy | None],
        tokens: bool,
        audit: Path,
    ) -> None:
        self._gate, self._store, self._clock = gate, store, clock
        self._policy, self._tokens, self._audit = policy, tokens, audit
        gate.performs("erase", self._perform_erase)

    def routes(self) -> list[Route]:
        """Return every call about access that any process answers."""
        look, glass = Action.LOOK, Action.BREAK_GLASS
        return [
            Route("GET", "/v1/whoami", self._whoami, PEOPLE, look),
            Route("GET", "/v1/requests", self._requests, PEOPLE, look),
            Route("POST", "/v1/requests/{id}/approve", self._approve, PEOPLE, look),
            Route("POST", "/v1/requests/{id}/withdraw", self._withdraw, PEOPLE, look),
            Route("POST", "/v1/break-glass", self._break_glass, PEOPLE, glass),
            Route("POST", "/v1/erase", self._erase, PEOPLE, Action.ERASE_AUDIT),
            Route("POST", "/v1/explain", self._explain, PEOPLE, look),
            Route("GET", "/v1/decisions/{id}", self._decision, PEOPLE, look),
        ]

    async def authorise(self, call: Call, route: Route) -> None:
        """Let a call in, or refuse it: the one place where a process decides who may what."""
        caller, role = await self._caller(call)
        if caller is None or role not in (route.who or ()):
            wanted = " or ".join(f"a {one}" for one in sorted(route.who or ()))
            raise CallRefusedError(call.name, caller.actor if caller else "", wanted)
        call.admit(caller)
        plain = Action.KEYS if role is Role.OPERATOR else Action.FETCH
        await self._gate.enter(caller, route.action or plain, call.name)

    async def _caller(self, call: Call) -> tuple[Caller | None, Role | None]:
        """Return who calls: a token that is shown speaks before a certificate."""
        if call.bearer and self._tokens:
            return await to_thread.run_sync(self._gate.by_token, call.bearer), Role.OPERATOR
        shown = call.certificate
        if shown is None:
            return None, None
        if shown.role is not Role.OPERATOR:  # machines call often, and nothing is looked up
            return self._gate.by_certificate(shown), shown.role
        return await to_thread.run_sync(self._gate.by_certificate, shown), shown.role

    # --- the calls --------------------------------------------------------------------------

    async def _whoami(self, call: Call) -> Reply:
        caller, policies = call.admitted, self._gate.policies
        return api.WhoReply(
            name=caller.name,
            kind=caller.who.kind,
            door=caller.door,
            roles=tuple(sorted(caller.who.roles)),
            policy_generation=policies.document.generation,
            policy_sha256=policies.sha256,
        )

    async def _requests(self, call: Call) -> Reply:
        waiting = await to_thread.run_sync(self._gate.requests.all, self._clock.unix_s())
        return api.RequestsReply(requests=tuple(waiting))

    async def _approve(self, call: Call) -> Reply:
        row, outcome = await self._gate.approve(call.admitted, call.part("id"))
        told = outcome if isinstance(outcome, msgspec.Struct) else None
        return api.ApprovalReply(request=row, outcome=msgspec.Raw(msgspec.json.encode(told)))

    async def _withdraw(self, call: Call) -> Reply:
        row = await self._gate.withdraw(call.admitted, call.part("id"))
        return api.ApprovalReply(request=row)

    async def _break_glass(self, call: Call) -> Reply:
        asked = await call.document(api.GlassRequest, bytes_max=IDENTITY_BODY_BYTES_MAX)
        ends_unix_s = await self._gate.break_glass(call.admitted, asked.reason)
        return api.GlassReply(ends_unix_s=ends_unix_s)

    async def _erase(self, call: Call) -> Reply:
        asked = await call.document(api.EraseRequest, bytes_max=IDENTITY_BODY_BYTES_MAX)
        # The name would stay in the ledger: what says whom is a digest that both can compare.
        whom = hashlib.sha256(asked.person.encode()).hexdigest()[:12]
        body, what = msgspec.json.encode(asked), f"person {whom}: {asked.reason}"
        await self._gate.act(call.admitted, Action.ERASE_AUDIT, what, "erase", body)
        return None

    async def _perform_erase(self, body: bytes, asker: Caller) -> None:
        """Ask this process's ledger to forget a person; it does so with its next entries."""
        asked = msgspec.json.decode(body, type=api.EraseRequest)

        def erase() -> None:
            people = ledger_people.People(self._audit)
            try:
                people.ask(asked.person, actor=asker.actor, reason=asked.reason)
            finally:
                people.close()

        await to_thread.run_sync(erase)

    async def _explain(self, call: Call) -> Reply:
        asked = await call.document(api.ExplainRequest, bytes_max=IDENTITY_BODY_BYTES_MAX)
        if asked.action == Action.OPEN_DATA:
            verdict = explain_data(
                self._gate.policies, self._policy(), asked.what, asked.origin, asked.who
            )
            return self._told(asked, (), verdict, second=False)
        named = await to_thread.run_sync(self._gate.named, asked.who)
        verdict = self._gate.verdict(named, asked.action)
        second = not verdict.allowed and (
            self._gate.verdict(named, asked.action, approved=True).allowed
        )
        return self._told(asked, tuple(sorted(named.who.roles)), verdict, second=second)

    def _told(
        self, asked: api.ExplainRequest, roles: tuple[str, ...], verdict: Verdict, *, second: bool
    ) -> api.Explanation:
        policies = self._gate.policies
        return api.Explanation(
            who=asked.who,
            action=asked.action,
            what=asked.what,
            roles=roles,
            allowed=verdict.allowed,
            second_person=second,
            policies=verdict.policies,
            errors=verdict.errors,
            text=verdict.text,
            policy_generation=policies.document.generation,
            policy_sha256=policies.sha256,
        )

    async def _decision(self, call: Call) -> Reply:
        found = await to_thread.run_sync(self._store.decision, call.part("id"))
        if found is None:
            raise NotHereError(f"decision {call.part('id')[:32]}")
        caller = call.admitted
        if found.who != caller.name:  # one's own decisions are no secret, others' are the ledger's
            await self._gate.enter(caller, Action.LOOK_AUDIT, f"decision {found.id}")
        return api.DecisionReply(decision=found)
