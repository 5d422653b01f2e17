"""Taking another kit while the process runs: the new is proven before the old is left.

    check -> push the accounts -> log in anew beside the old -> leaf link anew -> keep on disk

    GET  /v1/nats   which operator keys the server knows, and how long logins may last here
    POST /v1/nats   another kit: its accounts, its logins, and who is to be cut

Region and central both mount these two calls, for operators only. Whatever fails, the kit of
before goes on. With `restart` the server itself starts anew, for operator keys that it does not
know: links drop for as long as that takes, and what is kept waits for it.

Units:   seconds.
Errors:  NatsKeyError, AccountPushError, what a `NatsBus` raises, and what the audit ledger raises:
         then nothing has changed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import anyio
import msgspec
from anyio import to_thread

from skerry.base.errors import SkerryError
from skerry.base.files import write_private
from skerry.schema import api
from skerry.schema.access import Action
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.spine.authority_api import OPERATOR
from skerry.spine.errors import NatsKeyError
from skerry.spine.https_server import Call, Reply, Route
from skerry.spine.nats_admin import NatsAdmin
from skerry.spine.nats_jwt import ServerKit
from skerry.spine.served_nats import ServedNats

LINK_S_MAX = 10.0
"""Longest that a region's link to the hub may take to come back."""
LOOK_AGAIN_S = 0.05


async def _nothing() -> None:
    return


class NatsStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What a process's server goes by."""

    trusted: tuple[str, ...]
    """The operator keys that it takes an account from."""
    ends_unix_s: float
    """How long the logins of this process may last."""


class NatsGrant(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/nats`: what a process's server and its logins go by from now on. Secret."""

    kit: ServerKit
    revoked: tuple[str, ...] = ()
    """Logins that were left: whoever is still connected by one is cut."""
    restart: bool = False
    """Start the server anew, so that it also knows other operator keys."""


class HeldKit:
    """The kit of one process: in use, and on its disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kit = msgspec.json.decode(path.read_bytes(), type=ServerKit)
        """The kit in use."""

    def keep(self) -> None:
        """Write the kit in use to the disk; blocking."""
        write_private(self._path, msgspec.json.encode(self.kit))


class Login(Protocol):
    """A connection of this process that logs in with what the kit in use says."""

    async def replace_credentials(self) -> None:
        """Log in anew, then leave the connection of before."""


class NatsChange:
    """The two calls of one process, and what they do."""

    def __init__(
        self,
        held: HeldKit,
        served: ServedNats,
        logins: Sequence[Login],
        *,
        ends_unix_s: Callable[[], float],
        on_change: Callable[[], Awaitable[None]] = _nothing,
        note: Note,
    ) -> None:
        self._held, self._served, self._logins = held, served, tuple(logins)
        self._ends_unix_s, self._on_change, self._note = ends_unix_s, on_change, note
        self._turn = anyio.Lock()

    def routes(self) -> list[Route]:
        """Return both."""
        return [
            Route("GET", "/v1/nats", self._show, OPERATOR, Action.KEYS),
            Route("POST", "/v1/nats", self._take, OPERATOR, Action.KEYS),
        ]

    async def _show(self, call: Call) -> Reply:
        async with self._system() as system:
            trusted = await system.trusted()
        return NatsStanding(trusted=tuple(sorted(trusted)), ends_unix_s=self._ends_unix_s())

    async def _take(self, call: Call) -> Reply:
        grant = await call.document(NatsGrant, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        kit = self._checked(grant.kit)
        event = AuditEvent(
            kind=AuditKind.KEY,
            outcome=AuditOutcome.DONE,
            actor=str(call.caller),
            target=f"NATS keys of {kit.name}",
            text=f"other keys; {len(grant.revoked)} logins to be cut",
        )
        await self._note(event)
        async with self._turn:
            try:
                await self.take(kit, grant.revoked, restart=grant.restart)
            except SkerryError as error:
                failed = AuditOutcome.FAILED
                await self._note(msgspec.structs.replace(event, outcome=failed, text=str(error)))
                raise
        return await self._show(call)

    def _checked(self, kit: ServerKit) -> ServerKit:
        """Return a kit for this server and its accounts; the key that signs nodes stays ours."""
        held = self._held.kit
        for what in ("name", "account", "system_account"):
            if getattr(kit, what) != getattr(held, what):
                found = f"a kit for the {what} {getattr(kit, what)[:64]!r}"
                raise NatsKeyError(found, f"one for {getattr(held, what)!r}")
        seed = kit.node_signer_seed or held.node_signer_seed
        return msgspec.structs.replace(kit, node_signer_seed=seed)

    async def take(self, kit: ServerKit, revoked: Sequence[str], *, restart: bool) -> None:
        """Move over to a kit, and cut whoever is still connected by a login that was left."""
        before = self._held.kit
        async with self._system() as system:
            links = await system.leafs()
            if not restart:
                for jwt in (kit.system_jwt, kit.account_jwt):
                    await system.push_account(jwt)
        self._held.kit = kit
        try:
            if restart:
                await self._served.restart(kit)
            await self._log_in(before, kit, () if restart else links)
        except BaseException:
            self._held.kit = before
            self._served.use_kit(before)
            raise
        await to_thread.run_sync(self._held.keep)
        async with self._system() as system:
            await system.revoke(kit.account_jwt, revoked)
        await self._on_change()

    async def _log_in(self, before: ServerKit, kit: ServerKit, links: Sequence[int]) -> None:
        """Prove each new login beside the one before, this process's first."""
        if (kit.process.seed, kit.system.seed) != (before.process.seed, before.system.seed):
            for login in self._logins:
                await login.replace_credentials()
        self._served.use_kit(kit)
        if kit.leaf is None or before.leaf is None or kit.leaf.seed == before.leaf.seed:
            return
        async with self._system() as system:
            for link in links:  # it dials again within a second, with the login in the file
                await system.kick(link)
            with anyio.move_on_after(LINK_S_MAX) as waited:
                while links and not set(await system.leafs()) - set(links):
                    await anyio.sleep(LOOK_AGAIN_S)
        if waited.cancelled_caught:
            raise NatsKeyError("the hub did not take the new login", "one of its account")

    @asynccontextmanager
    async def _system(self) -> AsyncIterator[NatsAdmin]:
        system = await NatsAdmin.connect(
            [self._served.url],
            tls=self._served.client_tls,
            tls_hostname=self._served.host,
            credentials=lambda: self._held.kit.system,
        )
        try:
            yield system
        finally:
            await system.close()
