"""The agent: the control side of a node. It keeps the machine at its desired state.

Four loops share one process: records go from the journal to the outbox and up, the
identity is renewed, the signed state is fetched and carried out, and what is true is
reported. None of them is needed for an answer: the worker serves while this process
is gone, and when it comes back it goes on from what lies on the disk.
"""

import asyncio
import contextlib
import os
import random
import signal
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.base.files import FolderLock
from skerry.base.ids import new_boot_id
from skerry.base.processes import rss_bytes
from skerry.base.units import MS_PER_SECOND
from skerry.node.attestation import Reporting
from skerry.node.attester import Attester, attester_of
from skerry.node.audit_link import AuditLink
from skerry.node.containers import Containers
from skerry.node.errors import NotJoinedError
from skerry.node.folder import NodeFolder
from skerry.node.forget import forget_keys
from skerry.node.identity import IdentityFiles, identity_files
from skerry.node.locked import demands_of, is_locked, sealers_of, wait_for_identity
from skerry.node.papers import follow_papers
from skerry.node.quarantine import read_quarantine
from skerry.node.reconcile import Reconciler
from skerry.node.record_keeper import RecordKeeper
from skerry.node.renewal import Renewal
from skerry.node.settings import NodeSettings, read_settings
from skerry.node.signals import read_signals
from skerry.node.stick import Stick
from skerry.node.tamper import TamperWatch
from skerry.node.trust_news import take_refused, take_roots
from skerry.node.uplink import RegionLink
from skerry.node.upstream import Mirror, region_address
from skerry.node.worker_admin import WorkerAdmin, worker_pid
from skerry.route import rules
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.observed import Observed, ObservedModel, State
from skerry.spine.audit import Audit
from skerry.spine.journal import JournalReader
from skerry.spine.outbox import Outbox, OutboxLimits
from skerry.trust.anchors import issuer_key_ids
from skerry.trust.attest.nv_counter import NvCounter
from skerry.trust.attest.tpm import opener
from skerry.trust.spiffe import node_id
from skerry.trust.update_client import UpdateClient

TRIAL_LOOK_S = 0.5
"""Time between two looks while a new version is on trial."""
TRUST_TICK_S = 300.0
"""Longest time between two looks at what the region trusts, where a nudge was missed."""
WAKE_S_MIN = 0.2
"""Nudges closer together than this are one."""


class Agent:
    """One node's control side."""

    def __init__(self, folder: NodeFolder, settings: NodeSettings, clock: Clock) -> None:
        self._folder, self._settings, self._clock = folder, settings, clock
        self._files = identity_files(folder, settings)
        self._boot = new_boot_id()
        name = node_id(settings.domain, settings.region, settings.site, settings.number)
        self._audit = Audit.open(folder.audit, name, settings.audit, clock)
        self._rng = random.Random()  # noqa: S311 - spreads load, guards nothing
        self._worker = WorkerAdmin(folder.admin_socket)
        self._outbox = Outbox(
            folder.outbox,
            region=settings.region,
            site=settings.site,
            node_number=settings.number,
            boot=self._boot,
            limits=OutboxLimits(bytes_max=settings.outbox_bytes_max),
        )
        self._keeper = RecordKeeper(
            JournalReader(folder.journal),
            self._outbox,
            site=settings.site,
            node=settings.node,
            clock=clock,
            on_new=self._records_waiting,
            on_note=self._note,
        )
        mirror = Mirror(settings, self._files, Stick(folder, clock))
        first, *others = mirror.fetches
        bootstrap = self._files.tuf_root.read_bytes() if self._files.tuf_root.exists() else b""
        self._reconciler = Reconciler(
            folder,
            settings.site,
            UpdateClient(
                folder.trust,
                bootstrap,
                first,
                clock,
                mirrors=others,
                counter=NvCounter(opener(settings.tpm)) if settings.tpm else None,
            ),
            mirror,
            clock=clock,
            observe=self.observe,
            tell=self._keeper.event,
            name=str(name),
            note=self._audit.ledger.note_now,
            containers=Containers(settings.node, folder.container_ports),
            hardware=settings.hardware,
        )
        self._link = RegionLink(
            settings,
            self._files,
            self._outbox,
            clock=clock,
            rng=self._rng,
            report=self.observe,
            on_nudge=self._wake_now,
            on_note=self._note,
            on_away=lambda: self._renewal.hurry(),
        )
        attester = attester_of(settings)
        self._reporting = self._make_reporting(attester) if attester else None
        self._renewal = Renewal(
            self._files,
            region_url=region_address(settings),
            region_host=settings.region_host,
            inference_url=f"https://{settings.host}:{settings.peer_port}",
            clock=clock,
            rng=self._rng,
            on_renewed=self._renewed,
            on_failed=self._note,
            attester=attester,
        )
        self._watch = self._make_watch() if settings.sensors else None
        self._stop, self._keys_gone = asyncio.Event(), False
        self._wake, self._trust_wake = asyncio.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, *, announce: bool) -> bool:
        """Work until SIGTERM or SIGINT, or until keys are gone: then return True."""
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        await anyio.to_thread.run_sync(
            partial(self._keeper.event, "agent.started", f"agent of {self._settings.node}")
        )
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keeper.run)
                tasks.start_soon(self._link.run)
                tasks.start_soon(self._renewal.run)
                tasks.start_soon(self._hear_trust)
                tasks.start_soon(self._reconcile)
                tasks.start_soon(self._follow_papers)
                if self._watch is not None:
                    tasks.start_soon(self._watch.run)
                link = AuditLink(self._settings, self._files)
                tasks.start_soon(self._audit.run, link.bring, self._note, self._checkpoint)
                if self._reporting is not None:
                    tasks.start_soon(self._reporting.run)
                if announce:
                    line = {"ready": True, "pid": os.getpid(), "node": self._settings.node}
                    os.write(1, msgspec.json.encode(line) + b"\n")
                await self._stop.wait()
                tasks.cancel_scope.cancel()
        except* NotJoinedError:  # whoever looked for the identity as it went
            if not self._keys_gone:
                raise
        finally:
            if self._watch is not None:
                self._watch.close()
            self._outbox.close()
            if self._keys_gone:  # a renewal that was under way may have brought another
                forget_keys(self._files, enrolment=False)
            self._audit.close()
        return self._keys_gone

    def observe(self) -> Observed:
        """Say what is true of this node now. Blocking: asks the worker, reads files."""
        settings, standing = self._settings, self._reconciler.standing
        now_s, identity = self._clock.unix_s(), self._files.load()
        disk, accepted = standing.disk, standing.accepted
        pid = worker_pid(self._folder)
        models = self._models() if pid else ()
        state, reason = self._state(pid, models)
        signals = read_signals(self._folder.signals)
        stats = self._outbox.stats()
        return Observed(
            node=settings.node,
            site=settings.site,
            region=settings.region,
            boot=self._boot,
            at_unix_s=now_s,
            generation=standing.generation,
            desired_sha256=accepted.desired_sha256 if accepted else "",
            in_sync=standing.in_sync,
            state=state,
            reason=reason,
            models=models,
            window=self._keeper.recent.window(
                from_unix_ms=int(disk.trial_at_unix_s * MS_PER_SECOND),
                to_unix_ms=int(now_s * MS_PER_SECOND),
                slow_ms=accepted.desired.gate.latency_ms_p95 if accepted else None,
            ),
            reverted_generation=disk.gave_up,
            reverted_reason=disk.gave_up_reason,
            refusal=standing.refusal,
            outbox_records=sum(stats.records.values()),
            outbox_dropped={keep.value: count for keep, count in stats.dropped.items() if count},
            certificate_ends_unix_s=identity.ends_unix_s,
            agent_rss_bytes=rss_bytes(os.getpid()),
            worker_rss_bytes=rss_bytes(pid),
            signals=signals,
            rules_active=rules.active(
                rules.judge_all(accepted.desired.rules if accepted else (), signals)
            ),
            quarantine=read_quarantine(self._folder.quarantine).reason,
            anchors_version=self._files.anchors.version,
            issuers=issuer_key_ids(identity.chain_pem),
        )

    def _state(self, pid: int, models: tuple[ObservedModel, ...]) -> tuple[State, str]:
        """Say how the node is, and the first reason if it is not well."""
        standing = self._reconciler.standing
        if not models and not self._worker.alive():
            return State.DOWN, "the worker does not answer"
        if not pid:
            return State.WARN, "the worker is starting"
        not_ready = [model for model in models if not model.ready]
        if not_ready:
            why = standing.held_up or not_ready[0].reason
            return State.WARN, f"{not_ready[0].name}: {why}"
        quarantine = read_quarantine(self._folder.quarantine).reason
        trouble = (quarantine and f"in quarantine, {quarantine}") or standing.refusal
        trouble = trouble or standing.alarm or standing.held_up
        return (State.WARN, trouble) if trouble else (State.OK, "")

    def _models(self) -> tuple[ObservedModel, ...]:
        """Ask the worker for every model that should serve; empty if it does not answer."""
        versions = self._reconciler.serving_versions()
        try:
            return tuple(
                ObservedModel(
                    name=name,
                    version=version,
                    ready=ready,
                    reason="" if ready else "the worker does not serve it",
                )
                for name, version in versions.items()
                for ready in (self._worker.ready(name, version),)
            )
        except SkerryError:
            return ()

    async def _reconcile(self) -> None:
        """Look at the signed state on every wake and tick; look often while on trial."""
        await anyio.to_thread.run_sync(self._round)  # from disk, before any network
        while True:
            await anyio.to_thread.run_sync(self._turn)
            self._link.status_changed()
            on_trial = self._reconciler.standing.disk.trial != 0
            with anyio.move_on_after(TRIAL_LOOK_S if on_trial else self._settings.tick_s):
                await self._wake.wait()
                await self._clock.sleep(WAKE_S_MIN)
            self._wake.clear()

    def _turn(self) -> None:
        try:
            self._reconciler.refresh()
        except (SkerryError, OSError) as error:  # what was accepted before still holds
            self._note(str(error))
        self._round()

    def _round(self) -> None:
        standing = self._reconciler.standing
        before = standing.held_up
        self._reconciler.round()
        if standing.held_up and standing.held_up != before:  # once, however long it lasts
            self._note(standing.held_up)

    async def _renewed(self, issuer: str) -> None:
        """A new identity lies on the disk: show it from now on, dropping nothing."""
        await self._note_renewal(issuer)
        await anyio.to_thread.run_sync(
            partial(self._keeper.event, "identity.renewed", f"issued by the {issuer}", by=issuer)
        )
        self._wake_worker()
        if issuer == "region":
            try:
                await self._link.use_new_identity()
            except SkerryError as error:  # NATS is away: its next connection shows the new one
                self._note(str(error))

    def _make_watch(self) -> TamperWatch:
        return TamperWatch(
            self._folder,
            self._settings,
            self._outbox,
            boot=self._boot,
            demands=lambda: demands_of(self._reconciler.standing.accepted),
            clock=self._clock,
            on_sent=self._link.records_waiting,
            on_quarantine=self._quarantined,
            on_keys_gone=self._lose_keys,
            on_note=self._note,
            note=self._audit.ledger.note_soon,
            sealers=sealers_of(self._folder, self._settings),
        )

    def _make_reporting(self, attester: Attester) -> Reporting:
        return Reporting(
            attester,
            self._folder,
            self._files,
            url=region_address(self._settings),
            host=self._settings.region_host,
            clock=self._clock,
            rng=self._rng,
            on_change=self._quarantined,
            on_note=self._note,
        )

    async def _follow_papers(self) -> None:
        """Fetch maintenance windows, and heed what central says of this machine's custody."""

        def wanted() -> bool:
            accepted = self._reconciler.standing.accepted
            demanded = accepted is not None and bool(accepted.desired.custody.signers)
            held = "custody" in read_quarantine(self._folder.quarantine).causes
            return demanded or held or bool(self._settings.sensors)

        await follow_papers(
            self._files,
            self._folder,
            url=region_address(self._settings),
            host=self._settings.region_host,
            clock=self._clock,
            wanted=wanted,
            on_quarantine=self._quarantined,
            on_note=self._note,
        )

    def _quarantined(self) -> None:
        self._wake_worker()
        self._link.status_changed()

    def _lose_keys(self) -> None:
        """Stop: what this process still holds of the keys goes with it."""
        self._keys_gone = True
        self._stop.set()

    def _wake_worker(self) -> None:
        pid = worker_pid(self._folder)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)

    async def _hear_trust(self) -> None:
        """Ask what the region trusts and whom it refuses: at the start, on a nudge, now and then.

        A node whose certificate hangs on an authority that is being left renews soon.
        """
        while True:
            try:
                await anyio.to_thread.run_sync(self._take_trust)
            except (SkerryError, OSError) as error:  # what is known stays
                self._note(str(error))
            with anyio.move_on_after(TRUST_TICK_S):
                await self._trust_wake.wait()
            self._trust_wake.clear()

    def _take_trust(self) -> None:
        url, host = region_address(self._settings), self._settings.region_host
        try:
            changed = take_roots(self._files, url=url)
            changed = take_refused(self._files, url=url, host=host) or changed
        finally:
            if self._files.is_leaving(self._files.load().chain_pem):
                anyio.from_thread.run_sync(self._renewal.hurry)
        if changed:
            self._wake_worker()
            self._link.status_changed()

    async def _note_renewal(self, issuer: str) -> None:
        """Note a renewal. What keeps a machine in its fleet is not held up by a full disk."""
        name = self._audit.name
        event = AuditEvent(
            kind=AuditKind.RENEW,
            outcome=AuditOutcome.DONE,
            actor=f"spiffe://{name}",
            target=issuer,
            text=f"a new identity from the {issuer}",
        )
        try:
            await self._audit.ledger.note(event)
        except SkerryError as error:
            self._note(str(error))

    def _checkpoint(self, size: int, note: str) -> None:
        """Send a checkpoint of the audit ledger up with the records, for central to keep."""
        self._keeper.event("audit.checkpoint", f"{size} entries", size=size, note=note)

    def _records_waiting(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._link.records_waiting)

    def _wake_now(self, role: str) -> None:
        (self._trust_wake if role == "anchors" else self._wake).set()

    def _note(self, text: str) -> None:
        """Write a line for whoever reads the log; the log is local and holds no content."""
        os.write(2, f"{self._settings.node}: {text}\n".encode())


async def run_agent(state: Path, *, announce: bool) -> bool:
    """Run the agent of one state folder until it is told to stop.

    Returns True where the node's keys are gone and the process has to start anew.
    Raises `SettingsError`, `NotJoinedError`, `FolderBusyError`.
    """
    folder = NodeFolder(state).make()
    settings = read_settings(folder.settings)
    with FolderLock(folder.root):
        clock = SystemClock()
        if is_locked(folder):
            if not await wait_for_identity(folder, settings, clock, announce=announce):
                return False
            announce = False
        IdentityFiles(folder.identity).load()
        return await Agent(folder, settings, clock).run(announce=announce)
