"""The worker: the data path of a node, from doors to models; no control plane.

    door -> front (file to tensors) -> explainer -> shadow -> recorder -> guard -> router -> models

It starts from what lies in the node's folder and needs no network, no region and no
agent. SIGHUP makes it read desired state, policy, signals and identity again; requests
under way finish as they began.
"""

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import anyio
import msgspec
import numpy as np

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.base.files import FolderLock, write_private
from skerry.base.http_client import HttpClient
from skerry.base.ports import free_ports, is_loopback
from skerry.base.processes import settle
from skerry.base.sockets import socket_address
from skerry.learn.explainer import Explainer
from skerry.node.activation import adopt
from skerry.node.client_doors import ClientDoors
from skerry.node.folder import NodeFolder
from skerry.node.guard import Guard
from skerry.node.identity import IdentityFiles
from skerry.node.peer_door import RECHECK_S, PeerDoor
from skerry.node.quarantine import read_quarantine
from skerry.node.recorder import Recorder
from skerry.node.settings import PORTS, NodeSettings, read_settings, write_settings
from skerry.node.shadow import NodeShadow
from skerry.node.signals import read_signals
from skerry.pipeline.errors import FileRefusedError
from skerry.pipeline.folder_source import FolderSettings, FolderSource
from skerry.pipeline.front import wrap as with_front
from skerry.pipeline.steps import Label
from skerry.route import rules
from skerry.route.away import CallPeer
from skerry.route.peer_http import HttpPeers
from skerry.route.router import Router
from skerry.schema.clients import ClientPolicy
from skerry.schema.desired import Peer
from skerry.schema.model import Card
from skerry.schema.oip import InferFunction, InferReply, InferRequest, Tensor
from skerry.schema.policy import Place
from skerry.serve.listening import Listener
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings
from skerry.spine.journal import JournalWriter
from skerry.trust.acceptance import AcceptedDesired
from skerry.trust.access_channel import AccessChannel
from skerry.trust.access_data import forbids_of
from skerry.trust.spiffe import node_id
from skerry.trust.tls import LiveServerContext, client_context

SIGNALS_S = 0.25
INTAKE_DEADLINE_S = 10.0


class WorkerReady(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker says once it answers: also the content of `worker.json`."""

    ready: bool
    pid: int
    http_port: int
    grpc_port: int
    metrics_port: int
    peer_port: int
    refused: tuple[str, ...] = ()
    """Models that should be served and are not, each with its reason."""


class Worker:
    """One node's data path."""

    def __init__(
        self, folder: NodeFolder, settings: NodeSettings, clock: Clock, admin_socket: str
    ) -> None:
        self._folder, self._settings, self._clock = folder, settings, clock
        self._admin_socket = admin_socket
        self._files = IdentityFiles(folder.identity)
        self._rng = random.Random()  # noqa: S311 - spreads probes and hedges, guards nothing
        self._journal = JournalWriter(folder.journal, limit_bytes=settings.journal_bytes_max)
        self._client = HttpClient()
        self._server_tls: LiveServerContext | None = None
        self._router: Router | None = None
        self._shadow: NodeShadow | None = None
        self._guard: Guard | None = None
        self._signals: dict[str, str | float] = {}
        self._accepted: AcceptedDesired | None = None
        self._domain = settings.domain
        self._peer_door = PeerDoor(settings.domain, clock)
        self._clients = ClientDoors(self._files)
        self._server = self._make_server()

    async def run(self, *, announce: bool) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        stop, reload = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        await self._server.start()
        self.read_again()
        settle()
        self._say_ready(announce=announce)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._reload_on, reload)
                tasks.start_soon(self._watch_signals)
                tasks.start_soon(self._recheck_peers)
                if self._shadow is not None:
                    tasks.start_soon(self._shadow.save_now_and_then)
                if self._settings.intake_folder and self._settings.intake_model:
                    tasks.start_soon(self._intake)
                await stop.wait()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._server.stop()
                if self._shadow is not None:
                    await self._shadow.aclose()
                if self._router is not None:
                    await self._router.aclose()
                self._journal.flush()
                self._journal.close()
                self._folder.worker.unlink(missing_ok=True)

    def read_again(self) -> None:
        """Take over what lies in the folder now: identity, desired state, policy, signals."""
        self._heed_quarantine()
        # Not joined yet, or a file that cannot be used: the identity of before stays.
        with contextlib.suppress(SkerryError, OSError, ValueError):
            identity, roots = self._files.load(), self._files.trusted_pem()
            self._client.tls = client_context(identity, roots)
            self._peer_door.refuse(frozenset(self._files.refused().ids), self._files.shut_out())
            self._clients.renew()
            if self._server_tls is not None:
                self._server_tls.renew(identity, roots)
        accepted = AcceptedDesired.load(self._folder.current)
        if accepted is not None and self._router is not None:
            self._accepted = accepted
            access = AccessChannel(self._folder.access, accepted.desired.fleet).document
            forbids = forbids_of(access, accepted.policy)
            self._router.update(accepted.desired, accepted.policy, forbids=forbids)
            self._judge_rules()

    async def _follow_clients(self) -> None:
        """Open the doors anew where the fleet lets in other clients than before."""
        policy = self._accepted.desired.clients if self._accepted else self._clients.policy
        if policy != self._clients.policy:
            # Without an identity to show, the doors stay as they are.
            with contextlib.suppress(SkerryError, OSError, ValueError):
                await self._server.admit(self._clients.terms(policy))

    def _heed_quarantine(self) -> None:
        """Refuse restricted data from here on; where the keys are gone, forget them too."""
        if self._guard is None:
            return
        self._guard.quarantine = read_quarantine(self._folder.quarantine)
        if self._guard.quarantine.causes and not self._files.identity.exists():
            self._client.tls = None
            if self._server_tls is not None:
                self._server_tls.forget()

    def _make_server(self) -> Server:
        settings, accepted = self._settings, AcceptedDesired.load(self._folder.current)
        listeners = []
        with contextlib.suppress(
            SkerryError, OSError
        ):  # an unprovisioned node serves its own machine only
            tls = LiveServerContext(self._files.load(), self._files.trusted_pem())
            self._server_tls = tls
            listeners.append(
                Listener(
                    host=settings.host,
                    port=settings.peer_port,
                    ssl=tls.context,
                    authorize=self._peer_door.admit,
                    option="peer_port",
                )
            )
        return Server(
            ServeSettings(
                repository=str(self._folder.serving),
                host=settings.host,
                http_port=settings.http_port,
                grpc_port=settings.grpc_port,
                metrics_port=settings.metrics_port,
                uds=self._admin_socket,
                admin_over_tcp=False,
                site=settings.site,
                node=settings.node,
                tier=settings.tier,
                memory_bytes_max=settings.memory_bytes_max or None,
                providers=settings.providers,
                upstream_hosts=settings.upstream_hosts,
                upstream_secrets=str(self._folder.secrets),
                container_ports=str(self._folder.container_ports),
            ),
            clock=self._clock,
            wrap=self._wrap,
            listeners=listeners,
            clients=self._clients.terms(accepted.desired.clients if accepted else ClientPolicy()),
        )

    def _wrap(self, local: InferFunction) -> InferFunction:
        """Put router, recorder, shadow, explainer and front before the models."""
        settings = self._settings
        peers = HttpPeers(self._client, server_name=self._server_name, dial=settings.dial)
        self._router = Router(
            place=Place(site=settings.site, region=settings.region, jurisdiction=""),
            node=settings.node,
            tier=settings.tier,
            policy=None,
            tier_order=(settings.tier,),
            peers=(),
            call_peer=self._call_peer(peers),
            probe_peer=peers.probe,
            clock=self._clock,
            rng=self._rng,
            local=local,
            settings=settings.route,
            explains=settings.route.explain or is_loopback(settings.host),
        )
        self._guard = Guard(
            self._router.infer, lambda: self._accepted.policy if self._accepted else None
        )
        self._guard.quarantine = read_quarantine(self._folder.quarantine)
        recorder = Recorder(self._guard.infer, self._journal, site=settings.site, clock=self._clock)
        answer: InferFunction = recorder.infer
        if settings.shadow:
            self._shadow = NodeShadow(
                answer,
                settings.shadow,
                here=local,
                call_peer=self._call_peer(peers),
                accepted=lambda: self._accepted,
                cards=self._card,
                site=settings.site,
                folder=self._folder.shadow,
                clock=self._clock,
            )
            answer = self._shadow.infer
        explainer = Explainer(
            answer,
            run=lambda request: self._server.service.run_apart(request),
            asked=lambda: self._server.service.count(),
            metadata=lambda *of: self._server.service.metadata(*of),
            cards=self._card,
            node=settings.node,
            clock=self._clock,
        )
        self._answer = with_front(explainer.infer, self._card)
        return self._answer

    def _card(self, model: str, version: str) -> Card | None:
        return self._server.service.card(model, version)

    def _call_peer(self, peers: HttpPeers) -> CallPeer:
        """Call peers, but none that the region has banned."""

        async def call(peer: Peer, request: InferRequest, deadline_s: float) -> InferReply:
            self._peer_door.check(peer)
            return await peers.call(peer, request, deadline_s)

        return call

    def _server_name(self, peer: Peer) -> str:
        number = int(peer.node.rpartition("/")[2])
        return node_id(self._domain, peer.region, peer.site, number).host

    def _say_ready(self, *, announce: bool) -> None:
        ports = self._server.ports
        ready = WorkerReady(
            ready=True,
            pid=os.getpid(),
            http_port=ports.http,
            grpc_port=ports.grpc,
            metrics_port=ports.metrics,
            peer_port=ports.extra[0] if ports.extra else 0,
            refused=tuple(str(error) for error in self._server.refused),
        )
        line = msgspec.json.encode(ready)
        write_private(self._folder.worker, line)
        if announce:
            os.write(1, line + b"\n")

    async def _reload_on(self, reload: asyncio.Event) -> None:
        while True:
            await reload.wait()
            reload.clear()
            self.read_again()
            await self._follow_clients()

    async def _recheck_peers(self) -> None:
        """Cut peers whose certificate has ended, or who were banned since they came."""
        while True:
            await self._clock.sleep(RECHECK_S)
            self._server.recheck()

    async def _watch_signals(self) -> None:
        """Follow what meters and people write; rules act here, also offline."""
        while True:
            self._heed_quarantine()
            signals = await anyio.to_thread.run_sync(read_signals, self._folder.signals)
            if signals != self._signals:
                self._signals = signals
                self._judge_rules()
            await self._clock.sleep(SIGNALS_S)

    def _judge_rules(self) -> None:
        if self._router is not None and self._accepted is not None:
            findings = rules.judge_all(self._accepted.desired.rules, self._signals)
            self._router.prefer(rules.preferred(findings))

    async def _intake(self) -> None:
        """Answer files that arrive in a folder; they go no further than this process."""
        settings = FolderSettings(poll_s=0.1, settle_s=0.1, deadline_s=INTAKE_DEADLINE_S)
        folder = Path(self._settings.intake_folder)
        await FolderSource(folder, self._label, clock=self._clock, settings=settings).run()

    async def _label(self, content: bytes) -> Label:
        data = np.empty(1, dtype=np.object_)
        data[0] = content
        request = InferRequest(
            model=self._settings.intake_model,
            inputs=[Tensor("file", "BYTES", (1,), data)],
            deadline_s=INTAKE_DEADLINE_S,
            received_s=self._clock.monotonic_s(),
            body_bytes=len(content),
        )
        try:
            reply = await self._answer(request)
        except SkerryError as error:
            if getattr(error, "http_status", 500) < 500:
                raise FileRefusedError(str(error), "a file that the model takes") from error
            raise
        label, score = (tensor.data for tensor in reply.outputs[:2])
        return Label(label[0].decode(), float(score[0]))


def with_free_ports(settings: NodeSettings) -> NodeSettings:
    """Return settings whose ports of 0 are replaced by ports that are free now."""
    open_ = [name for name in PORTS if getattr(settings, name) == 0]
    chosen = dict(zip(open_, free_ports(len(open_), settings.host), strict=True))
    return msgspec.structs.replace(settings, **chosen)


async def run_worker(state: Path, *, announce: bool) -> None:
    """Run the worker of one state folder until it is told to stop.

    Raises `SettingsError`, `FolderBusyError`, `PortBusyError`, `SocketPathError`.
    """
    folder = NodeFolder(state).make()
    settings = read_settings(folder.settings)
    with FolderLock(folder.journal), socket_address(folder.admin_socket) as admin_socket:
        settled = with_free_ports(settings)
        if settled != settings:
            write_settings(folder.settings, settled)
        adopt(folder)  # a node that has just joined serves nothing yet
        await Worker(folder, settled, SystemClock(), admin_socket).run(announce=announce)
