"""A region's HTTPS API: joining, renewing, the mirror, tokens and bans.

`docs/reference/api.md` is its reference; `skerry.schema.api` its documents.

Errors:  those of the parts it calls; each leaves as an `ErrorReply`.
"""

from collections.abc import Awaitable, Callable

import msgspec
from anyio import to_thread

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.region.admission import Admission
from skerry.region.blob_cache import BlobCache
from skerry.region.errors import OtherRegionError
from skerry.region.mirror import Mirror
from skerry.region.roster import Roster
from skerry.region.settings import RegionSettings
from skerry.schema import api
from skerry.schema.access import Action
from skerry.schema.audit import AuditKind
from skerry.schema.audit_api import CheckpointPush
from skerry.spine.files_api import blob_name, metadata_name, repository_file, target_name
from skerry.spine.https_server import Call, File, NotHereError, Reply, Route
from skerry.spine.source_limit import SourceLimit
from skerry.trust.access_gate import Caller, Gate
from skerry.trust.anchors import AnchorStore
from skerry.trust.enrol import BannedError
from skerry.trust.ledger_desk import Desk
from skerry.trust.registry import Registry
from skerry.trust.spiffe import Role, SpiffeId, node_id, region_id

OPERATOR = frozenset({Role.OPERATOR})
NODES = frozenset({Role.NODE})
READERS = frozenset({Role.REGION, Role.NODE, Role.OPERATOR})


class RegionApi:
    """Answers the calls of nodes, joiners and operators."""

    def __init__(
        self,
        settings: RegionSettings,
        *,
        admission: Admission,
        registry: Registry,
        roster: Roster,
        mirror: Mirror,
        blobs: BlobCache,
        anchors: AnchorStore,
        gate: Gate,
        clock: Clock,
        push: Callable[[], api.RegistryPush],
        refused: Callable[[], api.Refused],
        on_change: Callable[[], None],
        on_ban: Callable[[], Awaitable[None]],
        health: Callable[[], api.Health],
        desk: Desk,
    ) -> None:
        self._settings, self._admission, self._registry = settings, admission, registry
        self._roster, self._mirror, self._blobs = roster, mirror, blobs
        self._anchors, self._clock, self._push = anchors, clock, push
        self._refused_now, self._sources = refused, SourceLimit(clock)
        self._gate = gate
        self._on_change, self._on_ban, self._health_now = on_change, on_ban, health
        self._desk = desk
        gate.performs("ban", self._decide_ban)

    def routes(self) -> list[Route]:
        """Return every call there is."""
        return [
            Route("GET", "/v1/health", self._health, None),
            Route("GET", "/v1/trust", self._trust, None),
            Route("POST", "/v1/join", self._join, None, audit=AuditKind.JOIN),
            Route("POST", "/v1/renew", self._renew, None, audit=AuditKind.RENEW),
            Route("POST", "/v1/audit/checkpoints", self._checkpoint, NODES, Action.FETCH),
            Route("GET", "/v1/refused", self._refused, READERS, Action.FETCH),
            Route("GET", "/tuf/metadata/{file}", self._metadata, READERS, Action.FETCH),
            Route("GET", "/tuf/targets/{path:.+}", self._target, READERS, Action.FETCH),
            Route("GET", "/blob/{sha256}", self._blob, READERS, Action.FETCH),
            Route("POST", "/v1/tokens", self._token, OPERATOR, Action.TICKET),
            Route("GET", "/v1/nodes", self._nodes, OPERATOR, Action.LOOK),
            Route("POST", "/v1/bans", self._ban, OPERATOR, Action.BAN),
        ]

    async def admit(self, caller: SpiffeId) -> None:
        """Refuse a node that is banned, however good its certificate still is."""
        if caller.role is Role.NODE:
            why = await to_thread.run_sync(self._registry.banned, str(caller))
            if why is not None:
                raise BannedError(str(caller), why)

    async def _health(self, call: Call) -> Reply:
        return self._health_now()

    async def _trust(self, call: Call) -> Reply:
        return api.TrustReply(
            domain=self._settings.domain,
            region=self._settings.region,
            host=region_id(self._settings.domain, self._settings.region).host,
            roots_pem=self._anchors.roots_pem,
            marker=self._settings.marker,
            anchors=self._anchors.chain_bytes,
        )

    async def _refused(self, call: Call) -> Reply:
        return await to_thread.run_sync(self._refused_now)

    async def _join(self, call: Call) -> Reply:
        return await self._issue(call, joining=True)

    async def _renew(self, call: Call) -> Reply:
        return await self._issue(call, joining=False)

    async def _issue(self, call: Call, *, joining: bool) -> Reply:
        self._sources.check(call.source)
        try:
            request = await call.document(
                api.IdentityRequest, bytes_max=api.IDENTITY_BODY_BYTES_MAX
            )
            reply, changed = await to_thread.run_sync(
                lambda: self._admission.admit(request, joining=joining)
            )
        except SkerryError:
            self._sources.count(call.source)
            raise
        if changed:
            self._on_change()
        return reply

    async def _metadata(self, call: Call) -> Reply:
        return repository_file(self._mirror.folder / "metadata", metadata_name(call))

    async def _target(self, call: Call) -> Reply:
        return repository_file(self._mirror.folder / "targets", target_name(call))

    async def _blob(self, call: Call) -> Reply:
        sha256 = blob_name(call)
        path = await self._blobs.path(sha256)
        if path is None:
            raise NotHereError(f"blob {sha256[:12]}")
        return File(path, forever=True)

    async def _token(self, call: Call) -> Reply:
        request = await call.document(api.TokenRequest, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        return await to_thread.run_sync(self._admission.ticket, request, call.admitted.actor)

    async def _checkpoint(self, call: Call) -> Reply:
        push = await call.document(CheckpointPush, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        return await self._desk.push(str(call.caller).removeprefix("spiffe://"), push)

    async def _nodes(self, call: Call) -> Reply:
        return await to_thread.run_sync(self._push)

    async def _ban(self, call: Call) -> Reply:
        request = await call.document(api.BanRequest, bytes_max=api.IDENTITY_BODY_BYTES_MAX)
        action = Action.BAN if request.banned else Action.LIFT_BAN
        what, body = f"{request.node}: {request.reason}", msgspec.json.encode(request)
        reply: Reply = await self._gate.act(call.admitted, action, what, "ban", body)
        return reply

    async def _decide_ban(self, body: bytes, asker: Caller) -> Reply:
        request = msgspec.json.decode(body, type=api.BanRequest)
        settings = self._settings
        site, _, number = request.node.partition("/")
        if not number.isdigit():
            raise OtherRegionError(request.node, settings.region)
        name = str(node_id(settings.domain, settings.region, site, int(number)))

        def decide() -> api.Registration | None:
            if request.banned:
                self._registry.ban(name, request.reason, self._clock.unix_s())
            else:
                self._registry.lift_ban(name)
            nodes = self._roster.nodes(self._registry.bans())
            return next((node for node in nodes if node.node == request.node), None)

        found = await to_thread.run_sync(decide)
        await self._on_ban()
        if found is None:
            raise NotHereError(f"node {request.node}")
        if request.banned and request.forget:  # cut first: its logins are found by the roster
            await to_thread.run_sync(self._roster.forget, name)
            self._on_change()
        return found
