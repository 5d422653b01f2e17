"""The region process, wired: NATS leaf, relay, mirror, blob cache, admission, HTTPS API.

Everything here goes on while central is away: nodes join and renew, records are kept, and
what was mirrored once is served. What central missed it hears when it is back.

Errors:  FolderBusyError for a second start, ListenError for a port that is taken, SettingsError.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.base.files import FolderLock
from skerry.region import clones
from skerry.region.access import RegionAccess
from skerry.region.admission import Admission
from skerry.region.attestation import AttestationApi, SignedReference, standing_event
from skerry.region.blob_cache import BlobCache
from skerry.region.ends import region_ends
from skerry.region.http_api import RegionApi
from skerry.region.mirror import Mirror
from skerry.region.papers import PapersApi
from skerry.region.roster import Roster
from skerry.region.settings import RegionFolder, RegionSettings, read_settings, write_settings
from skerry.region.signer import NodeSigner
from skerry.region.stick_records import StickApi
from skerry.region.upstream import Upstream
from skerry.schema.api import AuthorityGrant, Health, Nudge, Refused, RegistryPush
from skerry.schema.attestation import AttestationState, Stands
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note, unwritten
from skerry.spine import subjects
from skerry.spine.audit import Audit
from skerry.spine.authority_api import AuthorityApi
from skerry.spine.blobs import BlobStore
from skerry.spine.bus import Message
from skerry.spine.expiries_api import ExpiriesApi
from skerry.spine.https_server import HttpsServer
from skerry.spine.nats_admin import NatsAdmin
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_change import NatsChange
from skerry.spine.nats_config import HubLink
from skerry.spine.nats_server import free_port
from skerry.spine.relay import Relay
from skerry.spine.served_nats import ServedNats
from skerry.spine.source_limit import SourceLimit
from skerry.trust.anchors import AnchorStore, issuer_key_ids
from skerry.trust.attest.desk import Desk
from skerry.trust.attest.records import Records
from skerry.trust.authority import Authority
from skerry.trust.authority_change import AuthorityHook, AuthorityKeeper
from skerry.trust.registry import SqliteRegistry
from skerry.trust.spiffe import central_id, region_id
from skerry.trust.tls import CertificateError, explain_tls_error

log = logging.getLogger(__name__)

RETRY_S = 1.0
AUTHORITY_LOOK_S = 60.0
CLONE_LOOK_S = 2.0
"""Time between two looks for logins that are used twice."""
ATTESTATION_TICK_S = 10.0
"""Longest time until a missed report is seen."""


class Region:
    """One region process between start and stop."""

    def __init__(self, state: Path, settings: RegionSettings, clock: Clock) -> None:
        self._place, self._settings, self._clock = RegionFolder(state), settings, clock
        self._anchors = AnchorStore(self._place.roots)
        self._keeper = AuthorityKeeper(self._place.authority, self._anchors, clock)
        self._signer = NodeSigner(self._place.nats_kit)
        self._served = ServedNats(
            self._keeper.authority,
            region_id(settings.domain, settings.region),
            life_s=settings.certificate_life_s,
            identity_file=self._place.server_identity,
            roots=self._place.roots,
            clock=clock,
        )
        address = settings.advertise or settings.host
        self._url = f"https://{address}:{settings.api_port}"
        self._nats_url = f"tls://{address}:{settings.nats_port}"
        self._note: Note = unwritten
        self._quarantined: set[str] = set()
        self._cloned: set[str] = set()
        self._look, self._tell, self._judged = anyio.Event(), anyio.Event(), anyio.Event()
        self._central_unix_s: float | None = None
        self._mirrored_unix_s: float | None = None
        self._account_jwt = self._signer.kit.account_jwt

    async def serve(self, on_ready: Callable[[int, int], None]) -> None:
        """Run until cancelled; `on_ready` gets the ports of API and NATS."""
        place, settings = self._place, self._settings
        rng = random.Random()  # noqa: S311  # spreads retries, guards nothing
        async with AsyncExitStack() as stack:
            audit = Audit.open(
                place.audit,
                region_id(settings.domain, settings.region),
                settings.audit,
                self._clock,
            )
            stack.callback(audit.close)
            self._note = audit.ledger.note
            self._registry = SqliteRegistry(place.enrolment)
            stack.callback(self._registry.close)
            self._roster = Roster(place.roster)
            stack.callback(self._roster.close)
            records = Records(place.machines)
            stack.callback(records.close)
            self._reference = SignedReference(place.reference, settings.fleet)
            self._desk = Desk(records, lambda: self._reference.current, self._clock)
            self._upstream = Upstream(
                settings.central_url, central_id(settings.domain).host, self._served.client_tls
            )
            self._mirror = Mirror(place.mirror, self._upstream, self._sites)
            store = BlobStore(place.blobs, limit_bytes=settings.blobs_bytes_max)
            blobs = BlobCache(store, self._upstream, self._mirror.blob_length)

            await self._served.start(
                self._signer.kit,
                place.nats,
                host=settings.host,
                client_port=settings.nats_port,
                hub=HubLink(url=settings.hub_url, tls_name=settings.hub_name),
            )
            stack.push_async_callback(self._served.stop)
            bus = await NatsBus.connect(
                [self._served.url],
                name=settings.region,
                inbox_prefix=subjects.inbox_region(settings.region),
                tls=self._served.client_tls,
                tls_hostname=self._served.host,
                credentials=lambda: self._signer.kit.process,
                domain=settings.region,
                on_note=log.warning,
            )
            stack.push_async_callback(bus.close)
            self._bus = bus
            self._admin = await NatsAdmin.connect(
                [self._served.url],
                tls=self._served.client_tls,
                tls_hostname=self._served.host,
                credentials=lambda: self._signer.kit.system,
            )
            stack.push_async_callback(self._admin.close)
            relay = Relay(bus, region=settings.region, clock=self._clock, rng=rng)
            await relay.ensure()  # nodes may hand over records from the first moment
            await bus.subscribe(subjects.command_region(settings.region), self._on_nudge)

            admission = Admission(
                settings,
                authority=lambda: self._keeper.authority,
                kit=lambda: self._signer.kit,
                registry=self._registry,
                roster=self._roster,
                anchors=self._anchors,
                tuf_root=place.tuf_root.read_bytes(),
                clock=self._clock,
                region_url=self._url,
                nats_url=self._nats_url,
                note=audit.ledger.note_now,
                desk=self._desk,
                site_life_s=lambda: self._access.site_life_s(settings.region),
            )
            access = self._access = RegionAccess(
                place, settings.fleet, self._mirror.folder, note=self._note, clock=self._clock
            )
            stack.callback(access.close)
            api = RegionApi(
                settings,
                admission=admission,
                registry=self._registry,
                roster=self._roster,
                mirror=self._mirror,
                blobs=blobs,
                anchors=self._anchors,
                gate=access.gate,
                clock=self._clock,
                push=self._report,
                refused=self._refused,
                on_change=lambda: self._tell.set(),
                on_ban=self._enforce_bans,
                health=self._health,
                desk=audit.desk,
            )
            authority_api = AuthorityApi(
                self._keeper,
                use=self._use_authority,
                new_signer=self._signer.successor,
                note=self._note,
            )
            nats_change = NatsChange(
                self._signer,
                self._served,
                [bus, self._admin],
                ends_unix_s=lambda: self._keeper.authority.ends_unix_s,
                on_change=self._goes_by_other_keys,
                note=self._note,
            )
            ends = ExpiriesApi(
                lambda: region_ends(
                    settings,
                    self._signer.kit,
                    self._roster,
                    roots_pem=self._anchors.roots_pem,
                    chain_pem=self._served.identity.chain_pem,
                )
            )
            papers = PapersApi(self._upstream, self._clock)
            attestation = AttestationApi(
                self._desk,
                SourceLimit(self._clock),
                note=self._note,
                on_verdict=lambda: self._judged.set(),
            )
            stick = StickApi(settings.region, self._registry, lambda: self._bus)
            apis = (
                *(api, authority_api, nats_change, access.api, ends, papers, attestation),
                stick,
            )
            self._served.reject((await to_thread.run_sync(self._refused)).authorities_pem)
            server = HttpsServer(
                [route for one in apis for route in one.routes()],
                self._served.door.context,
                admit=api.admit,
                authorise=access.api.authorise,
                on_refused=audit.refusals.tell,
            )
            port = await server.start(settings.host, settings.api_port)
            stack.push_async_callback(server.stop)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._restarting, relay.run)
                tasks.start_soon(self._mirror_loop)
                tasks.start_soon(self._registry_loop)
                tasks.start_soon(self._attestation_loop)
                tasks.start_soon(self._served.renew, rng)
                tasks.start_soon(self._served.watch)
                tasks.start_soon(audit.run, self._upstream.checkpoint, log.warning)
                tasks.start_soon(self._clone_loop)
                if settings.authority_command:
                    tasks.start_soon(self._authority_loop)
                on_ready(port, settings.nats_port)

    # --- signed state -----------------------------------------------------------------

    async def _on_nudge(self, message: Message) -> None:
        self._look.set()
        self._tell.set()  # the answer to a push brings what is not signed state

    def _sites(self) -> set[str]:
        """Return whose desired documents to carry: sites with a node here, and its own."""
        return {node.site for node in self._roster.nodes({})} | {self._settings.region}

    async def _mirror_loop(self) -> None:
        """Look at central on a nudge and at each tick; then pass the nudge on to the sites."""
        while True:
            self._look = anyio.Event()
            try:
                changed = await to_thread.run_sync(self._mirror.refresh)
                self._central_unix_s = self._mirrored_unix_s = self._clock.unix_s()
                await to_thread.run_sync(partial(self._take_signed, changed=changed))
                if changed:
                    await self._nudge_sites()
            except (SkerryError, OSError) as error:
                log.warning("mirror: %s", error)
            with anyio.move_on_after(self._settings.mirror_tick_s):
                await self._look.wait()

    def _take_signed(self, *, changed: bool) -> None:
        """Verify what this process itself goes by: who may do what, and what machines may boot."""
        if self._access.take_policy(changed=changed) and self._reference.accept(
            self._access.verified
        ):
            anyio.from_thread.run_sync(self._judged.set)

    async def _nudge_sites(self, role: str = "desired") -> None:
        """Tell every site of the region that something new can be fetched here."""
        region = self._settings.region
        nudge = msgspec.json.encode(Nudge(generation=0, role=role))
        for site in sorted(await to_thread.run_sync(self._sites)):
            await self._bus.publish(subjects.command(region, site), nudge)

    # --- registry ---------------------------------------------------------------------

    def _report(self) -> RegistryPush:
        bans = self._registry.bans()
        revoked = self._roster.live_logins(set(bans), self._clock.unix_s()) if bans else []
        revoked += sorted(self._cloned.difference(revoked))
        return RegistryPush(
            region=self._settings.region,
            region_url=self._url,
            nats_url=self._nats_url,
            nodes=tuple(self._roster.nodes(bans, self._standings())),
            revoked_logins=tuple(revoked),
            anchors_version=self._anchors.version,
            issuers=issuer_key_ids(self._served.identity.chain_pem),
        )

    def _refused(self) -> Refused:
        """Return whom nodes have to refuse: the banned, and all below what they hold."""
        banned = set(self._registry.bans())
        away = banned | self._quarantined
        held = self._roster.site_authorities(banned, self._clock.unix_s()) if banned else b""
        return Refused(ids=tuple(sorted(away)), authorities_pem=held)

    def _standings(self) -> dict[str, Stands]:
        """Return how each node stands with its machine."""
        return self._desk.standings(self._roster.names())

    async def _attestation_loop(self) -> None:
        """Write down, and tell central and the sites, when a node stands otherwise than before."""
        known: dict[str, Stands] = {}
        while True:
            found = await to_thread.run_sync(self._standings)
            changes = {
                name: stands
                for name, stands in found.items()
                if stands.state is not known.get(name, Stands()).state
            }
            silent = AttestationState.QUARANTINE
            self._quarantined = {name for name, one in found.items() if one.state is silent}
            known = found
            for name, stands in changes.items():
                await self._note(standing_event(self._settings.region, name, stands))
            if changes:
                self._tell.set()
                await self._nudge_sites("anchors")
            with anyio.move_on_after(ATTESTATION_TICK_S):
                await self._judged.wait()
            self._judged = anyio.Event()

    async def _registry_loop(self) -> None:
        """Tell central who is here: after each change, at each tick, until it has heard."""
        while True:
            self._tell = anyio.Event()
            wait_s = self._settings.push_tick_s
            try:
                await self._push_registry()
                await self._cut_quietly()
                self._look.set()  # a site that just got its first node has a document to carry
            except (SkerryError, OSError, msgspec.DecodeError) as error:
                log.warning("registry: %s", error)
                if isinstance(explain_tls_error(error), CertificateError):
                    await self._ask_what_is_trusted()
                await self._cut_quietly()
                wait_s = min(wait_s, RETRY_S)
            with anyio.move_on_after(wait_s):
                await self._tell.wait()

    async def _push_registry(self) -> None:
        report = await to_thread.run_sync(self._report)
        reply = await to_thread.run_sync(self._upstream.push, report)
        self._central_unix_s = self._clock.unix_s()
        if reply.anchors:
            await self._take_anchors(reply.anchors)
        if reply.account_jwt and reply.account_jwt != self._account_jwt:
            await self._admin.revoke(reply.account_jwt, report.revoked_logins)
            self._account_jwt = reply.account_jwt

    async def _enforce_bans(self) -> None:
        """Cut banned nodes now; without central's account change they may dial again, and are
        cut again at each round until their login ends.
        """
        self._tell.set()
        try:
            await self._push_registry()
        except (SkerryError, OSError, msgspec.DecodeError) as error:
            log.warning("bans: %s", error)
        await self._cut_banned()
        self._served.reject((await to_thread.run_sync(self._refused)).authorities_pem)
        await self._nudge_sites("anchors")

    async def _cut_quietly(self) -> None:
        try:
            await self._cut_banned()
        except SkerryError as error:
            log.warning("bans: %s", error)

    async def _cut_banned(self) -> None:
        report = await to_thread.run_sync(self._report)
        for public in report.revoked_logins:
            for connection in await self._admin.live(public):
                await self._admin.kick(connection)

    async def _clone_loop(self) -> None:
        """Take a login away that is alive twice: its node gets another, a copy of it does not."""
        while True:
            await anyio.sleep(CLONE_LOOK_S)
            try:
                new = clones.cloned(await self._admin.all_live()) - self._cloned
                for public in sorted(new & await to_thread.run_sync(self._roster.logins)):
                    await self._part_clones(public)
            except (SkerryError, OSError, KeyError, ValueError) as error:
                log.warning("clones: %s", error)

    async def _part_clones(self, public: str) -> None:
        node = await to_thread.run_sync(self._roster.holder, public)
        text = f"{clones.REASON}: the login of {node} is alive on two connections"
        log.error("%s", text)
        await self._note(
            AuditEvent(
                kind=AuditKind.LOGIN,
                outcome=AuditOutcome.REFUSED,
                actor=node,
                target=node,
                reason=clones.REASON,
                text=text,
            )
        )
        self._cloned.add(public)
        await self._enforce_bans()

    # --- whom to trust, and as whom to speak --------------------------------------------

    async def _take_anchors(self, chain: bytes) -> None:
        """Take what the fleet trusts now: doors and NATS at once, sites by a nudge."""
        if await to_thread.run_sync(self._anchors.take, chain, self._settings.domain):
            await self._served.use(self._keeper.authority)
            self._tell.set()
        await self._nudge_sites("anchors")

    async def _ask_what_is_trusted(self) -> None:
        """Away for so long that central's chain is new here: what it says proves itself."""
        try:
            await self._take_anchors(await to_thread.run_sync(self._upstream.anchors))
        except (SkerryError, OSError, msgspec.DecodeError) as error:
            log.warning("trust roots: %s", error)

    async def _use_authority(self, authority: Authority, grant: AuthorityGrant) -> None:
        """Issue from another authority from now on, and sign logins with the key beside it."""
        if grant.account_jwt:
            await self._admin.push_account(grant.account_jwt)
            await to_thread.run_sync(self._signer.switch, grant.account_jwt)
            self._account_jwt = grant.account_jwt
        await self._served.use(authority)
        self._tell.set()

    async def _goes_by_other_keys(self) -> None:
        self._account_jwt = self._signer.kit.account_jwt
        self._tell.set()

    async def _authority_loop(self) -> None:
        """Let a command of the operator's own certify this authority, anew at half its life."""
        hook = AuthorityHook(
            self._keeper, self._settings.authority_command, self._place.authority_issuer
        )
        while True:
            try:
                if await to_thread.run_sync(hook.ask_if_due, self._clock.unix_s()):
                    event = AuditEvent(
                        kind=AuditKind.KEY,
                        outcome=AuditOutcome.DONE,
                        actor=self._settings.authority_command[0],
                        target=f"authority {self._keeper.authority.host}",
                        text="a certificate by the operator's own authority",
                    )
                    await self._note(event)
                    await self._served.use(self._keeper.authority)
                    self._tell.set()
            except (SkerryError, OSError) as error:
                log.error("%s", error)  # the authority of before goes on
            await anyio.sleep(AUTHORITY_LOOK_S)

    # --- the rest ---------------------------------------------------------------------

    def _health(self) -> Health:
        nats_ready = self._served.up and self._bus.connected
        return Health(
            ready=nats_ready,
            role="region",
            name=self._settings.region,
            central_reached_unix_s=self._central_unix_s,
            mirror_refreshed_unix_s=self._mirrored_unix_s,
            nats_ready=nats_ready,
        )

    async def _restarting(self, run: Callable[[], Awaitable[None]]) -> None:
        """Keep a loop running through errors that it cannot handle itself."""
        while True:
            try:
                await run()
            except SkerryError as error:
                log.error("%s", error)
            await anyio.sleep(RETRY_S)


async def run_region(
    state: Path, *, clock: Clock | None = None, on_ready: Callable[[int, int], None]
) -> None:
    """Run a region on a state folder until cancelled; raises at once if it cannot start."""
    place = RegionFolder(state)
    with FolderLock(state):
        settings = _with_ports(place, read_settings(place.settings))
        region = Region(state, settings, clock or SystemClock())
        await region.serve(on_ready)


def _with_ports(place: RegionFolder, settings: RegionSettings) -> RegionSettings:
    """Choose free ports where the settings leave them open, and keep the choice."""
    chosen = {
        name: free_port(settings.host)
        for name in ("api_port", "nats_port")
        if not getattr(settings, name)
    }
    if chosen:
        settings = msgspec.structs.replace(settings, **chosen)
        write_settings(place.settings, settings)
    return settings
