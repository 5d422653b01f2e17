"""Central and regions in this process, on real NATS and TLS, with nodes that serve nothing.

For attacks and figures about identity: a hollow node joins, renews, hears what is trusted and
logs in to NATS with the node's own code, and has the node's own peer door; it runs no models.

Units:   seconds.
Errors:  those of the parts; HollowFleetError where the processes do not come up.
"""

import asyncio
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.central.bootstrap import TrustSet, create_trust, install_central, install_region
from skerry.central.process import run_central
from skerry.central.settings import CentralSettings
from skerry.client.operator import Operator
from skerry.local.rotate_ca import Rotation
from skerry.local.rotate_operator import OperatorChange
from skerry.node.enrol import join, renew
from skerry.node.identity import IdentityFiles
from skerry.node.peer_door import PeerDoor
from skerry.node.trust_news import take_refused, take_roots
from skerry.region.process import run_region
from skerry.region.settings import RegionSettings, write_settings
from skerry.schema.observed import Observed, State, Window
from skerry.schema.records import Envelope, Event, Keep
from skerry.spine import subjects
from skerry.spine.bus import Message
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_jwt import ServerKit
from skerry.spine.nats_server import free_port
from skerry.trust.anchors import issuer_key_ids
from skerry.trust.spiffe import SpiffeId, central_id, node_id, region_id
from skerry.trust.tls import LiveServerContext

FLEET, DOMAIN = "clinic", "clinic.example"
START_S_MAX = 30.0
T = TypeVar("T")


class HollowFleetError(SkerryError):
    """A process of a hollow fleet did not come up."""

    code = "E0264"


class Loop:
    """An event loop in a thread of its own, which lives as long as the fleet."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], *, within_s: float = START_S_MAX) -> T:
        """Run something there and return what it gave."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within_s)

    def close(self) -> None:
        """End what still runs there, the loop and its thread."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(START_S_MAX)
        self.loop.close()


class Process:
    """One process of the fleet, as a task of the loop."""

    def __init__(self, loop: Loop, start: Callable[[Callable[..., None]], Any]) -> None:
        self._loop, self._start = loop, start
        self._task: asyncio.Task[None] | None = None
        self._ended: Future[None] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        ready = threading.Event()

        async def run() -> None:
            self._task = asyncio.current_task()
            with suppress(asyncio.CancelledError):
                await self._start(lambda *ports: ready.set())

        self._ended = asyncio.run_coroutine_threadsafe(run(), self._loop.loop)
        until_s = time.monotonic() + START_S_MAX
        while not ready.wait(0.02):
            if self._ended.done():
                self._ended.result()
            if time.monotonic() > until_s:
                raise HollowFleetError(f"not ready within {START_S_MAX:g} s")

    def stop(self) -> None:
        """Stop it in order and wait for its end."""
        if self._ended is not None and self._task is not None:
            # Cancelled once, not for good: what it does to end in order may still wait.
            self._loop.loop.call_soon_threadsafe(self._task.cancel)
            self._ended.result(START_S_MAX)
            self._ended = None


class HollowFleet:
    """One fleet of one central and some regions, below a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        regions: Sequence[str] = ("eu", "us"),
        certificate_life_s: float = 3600.0,
        clock: Clock | None = None,
    ) -> None:
        self.folder, self.clock = folder, clock or SystemClock()
        self.trust: TrustSet = create_trust(
            folder / "keys",
            fleet=FLEET,
            domain=DOMAIN,
            regions=list(regions),
            clock=self.clock,
            throwaway=True,
        )
        api, leaf = free_port(), free_port()
        self.urls = {"central": f"https://127.0.0.1:{api}"}
        install_central(
            self.trust,
            folder / "central",
            CentralSettings(fleet=FLEET, domain=DOMAIN, api_port=api, leaf_port=leaf),
            clock=self.clock,
        )
        self.loop = Loop()
        state = folder / "central"
        self.processes = {
            "central": Process(
                self.loop, lambda ready: run_central(state, clock=self.clock, on_ready=ready)
            )
        }
        for name in regions:
            install_region(self.trust, folder / name, name, clock=self.clock)
            port = free_port()
            self.urls[name] = f"https://127.0.0.1:{port}"
            settings = RegionSettings(
                fleet=FLEET,
                domain=DOMAIN,
                region=name,
                central_url=self.urls["central"],
                hub_url=f"tls://127.0.0.1:{leaf}",
                api_port=port,
                certificate_life_s=certificate_life_s,
                mirror_tick_s=1.0,
                push_tick_s=0.5,
            )
            write_settings(folder / name / "region.json", settings)
            self.processes[name] = Process(self.loop, self._region(folder / name))
        self.nodes: list[HollowNode] = []

    def _region(self, state: Path) -> Callable[[Callable[..., None]], Any]:
        return lambda ready: run_region(state, clock=self.clock, on_ready=ready)

    def start(self) -> "HollowFleet":
        """Start central, then the regions."""
        for process in self.processes.values():
            process.start()
        return self

    def close(self) -> None:
        """Stop everything, nodes first."""
        for node in self.nodes:
            self.loop.run(node.leave())
        for process in reversed(self.processes.values()):
            process.stop()
        self.loop.close()

    def operator(self, where: str) -> Operator:
        """Return central or a region as the operator sees it now."""
        host = central_id(DOMAIN).host if where == "central" else region_id(DOMAIN, where).host
        return Operator.with_identity(
            self.urls[where], host, self.trust.operator("local"), self.trust.roots
        )

    def rotation(self) -> Rotation:
        """Return the change of roots and authorities, as the holder of the keys makes it."""
        return Rotation(
            trust=self.trust,
            central=partial(self.operator, "central"),
            regions={name: partial(self.operator, name) for name in self.urls if name != "central"},
            clock=self.clock,
        )

    def operator_change(self) -> OperatorChange:
        """Return the change of NATS keys, as their holder makes it."""
        return OperatorChange(
            trust=self.trust,
            central=partial(self.operator, "central"),
            regions={name: partial(self.operator, name) for name in self.urls if name != "central"},
            clock=self.clock,
        )

    def kit(self, region: str) -> ServerKit:
        """Return what a region's NATS server and process hold, as it now lies on the disk."""
        path = self.folder / region / "keys" / "nats.json"
        return msgspec.json.decode(path.read_bytes(), type=ServerKit)

    def nudges(self, region: str, site: str, node: "HollowNode") -> Callable[[], bool]:
        """Listen for the region's nudges of a site as one of its nodes; tells if one came."""
        heard = threading.Event()

        async def on_nudge(message: Message) -> None:
            heard.set()

        assert node.bus is not None  # noqa: S101 - a node that joined has logged in
        self.loop.run(node.bus.subscribe(subjects.command(region, site), on_nudge))
        return heard.is_set

    def node(self, site: str, number: int = 1, *, region: str = "eu") -> "HollowNode":
        """Let a node in, and log it in to its region's NATS."""
        node = HollowNode(self, node_id(DOMAIN, region, site, number))
        node.join()
        self.loop.run(node.log_in())
        self.nodes.append(node)
        return node


class HollowNode:
    """One node that joins, renews and is connected, and serves nothing."""

    def __init__(self, fleet: HollowFleet, name: SpiffeId) -> None:
        self.fleet, self.id = fleet, name
        self.folder = fleet.folder / f"node-{name.site}-{name.number}"
        self.folder.mkdir()
        self.files = IdentityFiles(self.folder)
        self.url, self.host = fleet.urls[name.region], region_id(DOMAIN, name.region).host
        self.bus: NatsBus | None = None
        self.door = PeerDoor(DOMAIN, fleet.clock)
        self.tls: LiveServerContext | None = None

    def join(self) -> None:
        """Join by a ticket from the region."""
        ticket = self.fleet.operator(self.id.region).ticket(self.id.site, self.id.number)
        join(self.files, ticket, inference_url="https://127.0.0.1:1", clock=self.fleet.clock)
        self.tls = LiveServerContext(self.files.load(), self.files.trusted_pem())

    def renew(self) -> None:
        """Renew at the region."""
        renew(
            self.files,
            url=self.url,
            host=self.host,
            inference_url="https://127.0.0.1:1",
            clock=self.fleet.clock,
        )

    def hear(self) -> None:
        """Take what the region trusts now, and renew where an authority above is being left."""
        take_roots(self.files, url=self.url)
        if self.files.is_leaving(self.files.load().chain_pem):
            self.renew()
            if self.bus is not None:
                self.fleet.loop.run(self.bus.replace_credentials())
        take_refused(self.files, url=self.url, host=self.host)
        self.heed()

    def heed(self) -> None:
        """Show and refuse what now lies on the disk, as a worker does on SIGHUP."""
        self.door.refuse(frozenset(self.files.refused().ids), self.files.shut_out())
        if self.tls is not None:
            self.tls.renew(self.files.load(), self.files.trusted_pem())

    async def log_in(
        self, *, at: str = "", tls: Callable[[], ssl.SSLContext] | None = None, wait: bool = True
    ) -> NatsBus:
        """Connect to NATS as this node."""
        await self.leave()
        login = self.files.load_login()
        self.bus = await NatsBus.connect(
            [at or login.nats_url],
            name=self.id.node,
            inbox_prefix=subjects.inbox_node(self.id.region, self.id.site, self.id.number),
            tls=tls or self.files.client_tls,
            tls_hostname=login.nats_host,
            credentials=self.files.credentials,
            wait=wait,
            timeout_s=3.0,
        )
        return self.bus

    async def leave(self) -> None:
        """Close the connection, where there is one."""
        bus, self.bus = self.bus, None
        if bus is not None:
            await bus.close()

    async def keep(self, key: str) -> None:
        """Hand over one event for keeping; returns once the region has stored it."""
        assert self.bus is not None  # noqa: S101 - a node that joined has logged in
        name, at_unix_ms = self.id, int(self.fleet.clock.unix_s() * 1000)
        event = Event(
            kind="hollow", at_unix_ms=at_unix_ms, site=name.site, node=name.node, text=key
        )
        envelope = Envelope(
            key=f"{name.region}.{name.site}.{name.number}.hollow.{key}",
            keep=Keep.MUST,
            kind="event",
            at_unix_ms=at_unix_ms,
            body=msgspec.Raw(msgspec.json.encode(event)),
        )
        await self.bus.publish_kept(
            subjects.telemetry(name.region, name.site, name.number, Keep.MUST),
            msgspec.json.encode(envelope),
            msg_id=envelope.key,
        )

    async def report(self) -> None:
        """Say what is true of this node, as its agent does."""
        assert self.bus is not None  # noqa: S101 - a node that joined has logged in
        identity, name = self.files.load(), self.id
        window = Window(
            duration_s=1, requests=0, errors=0, local=0, latency_ms_p50=None, latency_ms_p95=None
        )
        report = Observed(
            node=name.node,
            site=name.site,
            region=name.region,
            boot="hollow",
            at_unix_s=self.fleet.clock.unix_s(),
            generation=0,
            desired_sha256="",
            in_sync=True,
            state=State.OK,
            reason="",
            models=(),
            window=window,
            certificate_ends_unix_s=identity.ends_unix_s,
            anchors_version=self.files.anchors.version,
            issuers=issuer_key_ids(identity.chain_pem),
        )
        subject = subjects.status(name.region, name.site, name.number)
        await self.bus.publish(subject, msgspec.json.encode(report))

    def copy(self, folder: Path) -> IdentityFiles:
        """Copy this node's disk, as a thief does."""
        return IdentityFiles(Path(shutil.copytree(self.folder, folder)))
