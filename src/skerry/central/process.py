"""The central process, wired: store, NATS hub, ingest, reports, rollouts, signing, HTTPS API.

Starts in the order in which each part needs the one before it, says *ready* once all of it
answers, and stops in reverse. Nothing of it is on the way of an inference request: while
central is away, sites and regions go on.

Errors:  FolderBusyError for a second start, ListenError for a port that is taken, SettingsError.
"""

import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
import msgspec

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.base.files import FolderLock
from skerry.central.custody_api import CustodyApi
from skerry.central.ends import central_ends
from skerry.central.http_api import CentralApi
from skerry.central.node_papers import NodePapers
from skerry.central.notary import Notary
from skerry.central.people_api import PeopleApi
from skerry.central.publishing import adopt_published, residency_of
from skerry.central.reports import Reports
from skerry.central.ring_check import RingChecks
from skerry.central.rollout import Conductor
from skerry.central.settings import CentralFolder, CentralSettings, read_settings, write_settings
from skerry.central.sqlite_store import SqliteStore
from skerry.central.store import off_loop
from skerry.central.trust_api import TrustApi
from skerry.schema.api import Nudge
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note, unwritten
from skerry.schema.expiry import Expiry, alarms
from skerry.schema.records import Envelope, Event, Keep
from skerry.spine import subjects
from skerry.spine.access_api import AccessApi
from skerry.spine.audit import Audit
from skerry.spine.blobs import BlobStore
from skerry.spine.bus import Bus
from skerry.spine.errors import SpineError
from skerry.spine.expiries_api import ExpiriesApi
from skerry.spine.https_server import HttpsServer
from skerry.spine.ingest import Ingest
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_change import HeldKit, NatsChange
from skerry.spine.nats_jwt import claims_of
from skerry.spine.nats_operator import NatsOperator
from skerry.spine.nats_server import free_port
from skerry.spine.served_nats import ServedNats
from skerry.trust.access_gate import Gate
from skerry.trust.access_store import AccessStore
from skerry.trust.anchors import AnchorStore, issuer_key_ids
from skerry.trust.authority_change import AuthorityKeeper
from skerry.trust.oidc import OidcProvider
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OnlineKeys
from skerry.trust.spiffe import central_id

log = logging.getLogger(__name__)

TICK_S = 1.0
SIGN_TICK_S = 300.0
RETRY_S = 1.0


class Central:
    """One central process between start and stop."""

    def __init__(self, state: Path, settings: CentralSettings, clock: Clock) -> None:
        self._place, self._settings, self._clock = CentralFolder(state), settings, clock
        self._held = HeldKit(self._place.nats_kit)
        self._anchors = AnchorStore(self._place.roots)
        self._keeper = AuthorityKeeper(self._place.authority, self._anchors, clock)
        self._served = ServedNats(
            self._keeper.authority,
            central_id(settings.domain),
            life_s=settings.certificate_life_s,
            identity_file=self._place.server_identity,
            roots=self._place.roots,
            clock=clock,
        )
        self._boot, self._events = secrets.token_hex(6), 0
        self._bus: Bus | None = None
        self._note: Note = unwritten

    async def serve(self, on_ready: Callable[[int, int, int], None]) -> None:
        """Run until cancelled; `on_ready` gets the ports of API, NATS and leaf links."""
        place, settings = self._place, self._settings
        rng = random.Random()  # noqa: S311  # spreads retries, guards nothing
        async with AsyncExitStack() as stack:
            audit = Audit.open(
                place.audit, central_id(settings.domain), settings.audit, self._clock
            )
            stack.callback(audit.close)
            self._audit, self._note = audit, audit.ledger.note
            self._store = SqliteStore(place.store)
            stack.callback(self._store.close)
            blobs = BlobStore(place.blobs, limit_bytes=settings.blobs_bytes_max)
            publisher = Publisher.open(
                place.repository, OnlineKeys.load(place.online_keys), self._clock
            )
            publisher.refresh()  # central may have been away for longer than a signature lives
            notary = self._notary = Notary(publisher, lambda: self._bus)

            await self._served.start(
                self._held.kit,
                place.nats,
                host=settings.host,
                client_port=settings.nats_port,
                leaf_port=settings.leaf_port,
            )
            stack.push_async_callback(self._served.stop)
            bus = await NatsBus.connect(
                [self._served.url],
                name="central",
                inbox_prefix=subjects.INBOX_CENTRAL,
                tls=self._served.client_tls,
                tls_hostname=self._served.host,
                credentials=lambda: self._held.kit.process,
                domain=subjects.CENTRAL_DOMAIN,
            )
            stack.push_async_callback(bus.close)
            self._bus = bus

            reports = Reports(self._store, self._clock, lambda: conductor.wake())
            checks = RingChecks(settings.checks)
            node_papers = NodePapers(self._store)
            conductor = Conductor(
                self._store,
                notary,
                reports.observed,
                self.note,
                self._clock,
                checks.ask,
                node_papers.refused,
            )
            await reports.load()
            await bus.subscribe(subjects.STATUS_ALL, reports.hear)
            ingest = Ingest(bus, self._keep_records, clock=self._clock, rng=rng)
            access_store = AccessStore(place.access)
            stack.callback(access_store.close)
            gate = Gate(settings.fleet, access_store, note=self._note, clock=self._clock)
            adopt_published(gate, notary)
            access = AccessApi(
                gate,
                access_store,
                clock=self._clock,
                policy=lambda: residency_of(notary, settings.fleet),
                tokens=True,
                audit=place.audit,
            )
            people = PeopleApi(
                gate,
                note=self._note,
                clock=self._clock,
                provider=OidcProvider(settings.oidc) if settings.oidc else None,
            )
            api = CentralApi(
                settings,
                store=self._store,
                notary=notary,
                conductor=conductor,
                reports=reports,
                blobs=blobs,
                repository=place.repository,
                gate=gate,
                clock=self._clock,
                nats_ready=lambda: self._served.up and bus.connected,
                account=self._account_of,
                anchors=self._anchors,
                issuers=lambda: issuer_key_ids(self._served.identity.chain_pem),
                alarms=lambda: alarms(self._ends(), self._clock.unix_s()),
                note=self._note,
                desk=audit.desk,
            )
            trust_api = TrustApi(
                self._anchors,
                self._keeper,
                domain=settings.domain,
                use=self._served.use,
                nudge=self._nudge_regions,
                gate=gate,
                note=self._note,
            )
            custody = CustodyApi(
                self._store, node_papers, note=self._note, on_change=conductor.wake
            )
            nats_change = NatsChange(
                self._held,
                self._served,
                [bus],
                ends_unix_s=lambda: self._keeper.authority.ends_unix_s,
                note=self._note,
            )
            apis = (api, trust_api, nats_change, people, access, ExpiriesApi(self._ends), custody)
            server = HttpsServer(
                [route for one in apis for route in one.routes()],
                self._served.door.context,
                authorise=access.authorise,
                on_refused=audit.refusals.tell,
            )
            port = await server.start(settings.host, settings.api_port)
            stack.push_async_callback(server.stop)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conductor.run, TICK_S, _log_error)
                tasks.start_soon(self._every, TICK_S, reports.save)
                tasks.start_soon(self._every, SIGN_TICK_S, notary.refresh)
                tasks.start_soon(self._restarting, ingest.run)
                tasks.start_soon(self._served.renew, rng)
                tasks.start_soon(self._served.watch)
                tasks.start_soon(audit.run, None, log.warning)
                on_ready(port, settings.nats_port, settings.leaf_port)

    def _ends(self) -> list[Expiry]:
        return central_ends(
            self._held.kit,
            self._notary.role_bytes,
            roots_pem=self._anchors.roots_pem,
            chain_pem=self._served.identity.chain_pem,
        )

    # --- records and logins -----------------------------------------------------------

    async def _account_of(self, region: str, revoked: list[str]) -> str:
        """Revoke logins that a region reports, and return its account as it then is.

        Without the operator's keys in its folder central cannot; a login then ends within
        its hour, and its renewal is refused by the region.
        """
        folder = self._place.nats_operator
        if not folder.exists():
            return ""
        operator = NatsOperator.create(folder, fleet=self._settings.fleet, regions=())
        jwt = operator.account_jwt(region)
        new = [public for public in revoked if public not in _revoked_in(jwt)]
        if new:
            await self._audit.ledger.note(
                AuditEvent(
                    kind=AuditKind.BAN,
                    outcome=AuditOutcome.DONE,
                    actor=str(central_id(self._settings.domain)),
                    target=f"{len(new)} logins of {region}",
                    fields={"logins": " ".join(new)},
                )
            )
            jwt = operator.revoke(region, new, now_unix_s=int(self._clock.unix_s()))
        return jwt

    async def _nudge_regions(self) -> None:
        """Tell every region to ask now; who misses it asks by itself soon."""
        if self._bus is None:
            return
        nudge = msgspec.json.encode(Nudge(generation=0, role="anchors"))
        for region in await off_loop(self._store.regions):
            with suppress(SpineError):
                await self._bus.publish(subjects.command_region(region.region), nudge)

    async def _keep_records(self, envelopes: list[Envelope]) -> None:
        await off_loop(self._store.add_records, envelopes)

    async def note(self, kind: str, site: str, text: str) -> None:
        """Keep an event of central's own, beside those of the nodes."""
        self._events += 1
        at_unix_ms = int(self._clock.unix_s() * 1000)
        event = Event(kind=kind, at_unix_ms=at_unix_ms, site=site, node="central", text=text)
        envelope = Envelope(
            key=f"central.central.0.{self._boot}.{self._events}",
            keep=Keep.MUST,
            kind="event",
            at_unix_ms=at_unix_ms,
            body=msgspec.Raw(msgspec.json.encode(event)),
        )
        await off_loop(self._store.add_records, [envelope])

    # --- loops ------------------------------------------------------------------------

    async def _every(self, tick_s: float, act: Callable[[], Awaitable[object]]) -> None:
        while True:
            await anyio.sleep(tick_s)
            try:
                await act()
            except SkerryError as error:
                log.error("%s", error)

    async def _restarting(self, run: Callable[[], Awaitable[None]]) -> None:
        """Keep a loop running through errors that it cannot handle itself."""
        while True:
            try:
                await run()
            except SkerryError as error:
                log.error("%s", error)
            await anyio.sleep(RETRY_S)


async def run_central(
    state: Path, *, clock: Clock | None = None, on_ready: Callable[[int, int, int], None]
) -> None:
    """Run central on a state folder until cancelled; raises at once if it cannot start."""
    place = CentralFolder(state)
    with FolderLock(state):
        settings = _with_ports(place, read_settings(place.settings))
        central = Central(state, settings, clock or SystemClock())
        await central.serve(on_ready)


def _log_error(error: SkerryError) -> None:
    log.error("%s", error)


def _revoked_in(account_jwt: str) -> dict[str, int]:
    """Return the user keys that an account revokes, each with the time up to which."""
    return dict(claims_of(account_jwt)["nats"].get("revocations") or {})


def _with_ports(place: CentralFolder, settings: CentralSettings) -> CentralSettings:
    """Choose free ports where the settings leave them open, and keep the choice."""
    chosen = {
        name: free_port(settings.host)
        for name in ("api_port", "nats_port", "leaf_port")
        if not getattr(settings, name)
    }
    if chosen:
        settings = msgspec.structs.replace(settings, **chosen)
        write_settings(place.settings, settings)
    return settings
