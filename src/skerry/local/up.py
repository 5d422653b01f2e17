"""A whole fleet as processes on this machine: what `skerry up` runs.

    links, central, then each region, then each node's worker and agent

Everything in it is real, the links between places apart: those are emulated, with the
round trips of the fleet file. Keys are throwaway ones, and say so. The state lies in
`.skerry` beside the fleet file; a second start goes on from it.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from skerry.base.clock import Clock, SystemClock
from skerry.base.errors import SkerryError
from skerry.base.files import FolderLock, private_folder, write_private
from skerry.base.ids import node_name
from skerry.central.bootstrap import TrustSet, create_trust, install_central, install_region
from skerry.central.settings import CentralSettings
from skerry.client.change import apply, check_models
from skerry.client.operator import Operator
from skerry.fleet.applied import write_applied
from skerry.fleet.desired import nodes_of
from skerry.fleet.load import load_fleet
from skerry.local import wires
from skerry.local.control import Answer, Order, serve_control
from skerry.local.describe import describe
from skerry.local.errors import ChildError
from skerry.local.folder import LocalFolder
from skerry.local.ports import LOOPBACK, kept_ports, local_url
from skerry.local.ports_free import until_free
from skerry.local.supervisor import Child, Supervisor
from skerry.node.enrol import join
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings, write_settings
from skerry.region.settings import RegionFolder, RegionSettings
from skerry.region.settings import read_settings as read_region_settings
from skerry.region.settings import write_settings as write_region_settings
from skerry.schema.fleet import Fleet, Site
from skerry.schema.run_file import write_run_file
from skerry.spine.errors import LinkError
from skerry.spine.link import LinkControl, LinksConfig
from skerry.trust.roles import OfflineKeys
from skerry.trust.spiffe import central_id, region_id

OPERATOR = "local"
READY_S_MAX = 30.0
IN_SYNC_S_MAX = 60.0
TICK_S = 5.0
"""Nodes look for a new desired state this often, nudged or not: a trial is short."""
FOLLOW_S = 1.0
LINKS = "links"
CENTRAL = "central"

Say = Callable[[str], None]


@dataclass(slots=True)
class LocalFleet:
    """One local fleet between start and stop."""

    fleet: Fleet
    folder: LocalFolder
    say: Say
    clock: Clock
    supervisor: Supervisor
    ports: dict[str, int]
    trust: TrustSet
    started_unix_s: float
    applied: Fleet
    """What was applied last; `fleet` is what the processes were laid out for."""

    async def start(self) -> None:
        """Start every process, in the order in which each needs the one before it."""
        await self._start_links()
        self.say("central")
        await self._start_central()
        for region in self.fleet.regions():
            self.say(f"region {region.name}")
            await self._start_region(region)
        await anyio.to_thread.run_sync(self._join_all)
        nodes = [node for site in self.fleet.sites for node in nodes_of(site)]
        for node in nodes:
            for half in ("worker", "agent"):
                self.supervisor.launch(f"{node} {half}", self._node_command(node, half))
        for node in nodes:
            self.say(f"node {node}")
            for half in ("worker", "agent"):
                await self.supervisor.wait_ready(f"{node} {half}", ready_s_max=READY_S_MAX)
        self.write_run_file()

    async def settle(self) -> None:
        """Apply the fleet file if nothing ever was, and wait until every node is in sync.

        A file that has changed since is left to `skerry apply`, which shows and asks.
        """
        central = self.operator()
        applied = await anyio.to_thread.run_sync(central.applied)
        if applied.fleet is not None and applied.fleet != self.fleet:
            self.say("the fleet file differs from what was applied; see: skerry diff")
            self.applied = applied.fleet
        elif applied.fleet is None:
            send = partial(
                apply,
                self.fleet,
                self.folder.models,
                OfflineKeys.load(self.trust.offline),
                central,
                expected_generation=applied.generation,
                reason="skerry up",
                clock=self.clock,
            )
            reply = await anyio.to_thread.run_sync(send)
            self.say(f"applied as generation {reply.generation}")
        deadline_s = time.monotonic() + IN_SYNC_S_MAX
        while True:
            status = await anyio.to_thread.run_sync(central.status)
            behind = [node.node for node in status.nodes if not node.in_sync]
            wanted = sum(site.nodes for site in self.fleet.sites)
            if len(status.nodes) == wanted and not behind:
                return
            if time.monotonic() > deadline_s:
                names = ", ".join(behind) or f"{len(status.nodes)} of {wanted} reported"
                raise ChildError("the fleet", f"did not come into sync: {names}", "")
            await anyio.sleep(0.3)

    async def follow_changes(self) -> None:
        """Keep the run file true, for clients that judge by its policy, and `skerry diff`."""
        central = self.operator()
        while True:
            await anyio.sleep(FOLLOW_S)
            try:
                applied = (await anyio.to_thread.run_sync(central.applied)).fleet
            except SkerryError:  # central is away: what was last known stays
                continue
            if applied is not None and applied != self.applied:
                self.applied = applied
                self.write_run_file()
                write_applied(self.folder.root, applied)

    def operator(self) -> Operator:
        """Return central, as the local operator sees it."""
        return operator_of(self.folder, self.fleet.domain, self._central_url)

    async def obey(self, order: Order) -> Answer:
        """Carry out one order of the control socket."""
        match order.verb:
            case "kill":
                for name in order.names:
                    self.supervisor.kill(name)
            case "hold":
                await self.supervisor.stop(*order.names)
            case "release":
                for name in order.names:
                    self.supervisor.relaunch(name)
                for name in order.names:
                    await self.supervisor.wait_ready(name, ready_s_max=READY_S_MAX)
            case "pids":
                pass
            case _:
                return Answer(error=f"there is no order {order.verb!r}")
        return Answer(pids={name: child.pid for name, child in self.supervisor.children.items()})

    def write_run_file(self) -> None:
        """Say what runs now, for every other command."""
        pids = {name: child.pid for name, child in self.supervisor.children.items()}
        write_run_file(
            self.folder.run_file,
            describe(
                self.fleet,
                self.applied,
                self.folder,
                self.ports,
                pids,
                started_unix_s=self.started_unix_s,
            ),
        )

    # --- one process after the other ----------------------------------------------------

    async def _start_links(self) -> None:
        config = LinksConfig(
            links=wires.link_specs(self.fleet, self.ports), control=str(self.folder.links_control)
        )
        write_private(self.folder.links, msgspec.json.encode(config))
        command = [sys.executable, "-m", "skerry.spine.link", str(self.folder.links)]
        self.supervisor.launch(LINKS, command)
        control = LinkControl(self.folder.links_control)
        with anyio.fail_after(READY_S_MAX):
            while True:
                try:
                    await anyio.to_thread.run_sync(control.status)
                    return
                except LinkError:
                    await anyio.sleep(0.05)

    async def _start_central(self) -> None:
        settings = CentralSettings(
            fleet=self.fleet.name,
            domain=self.fleet.domain,
            api_port=self.ports[f"{CENTRAL}/{wires.API}"],
            nats_port=self.ports[f"{CENTRAL}/{wires.NATS}"],
            leaf_port=self.ports[f"{CENTRAL}/{wires.LEAF}"],
            marker=self.trust.marker,
        )
        install = partial(
            install_central, self.trust, self.folder.central, settings, clock=self.clock
        )
        await anyio.to_thread.run_sync(install)
        await self.supervisor.start(
            CENTRAL, _process("central", self.folder.central), ready_s_max=READY_S_MAX
        )

    async def _start_region(self, region: Site) -> None:
        state = self.folder.region(region.name)
        install = partial(install_region, self.trust, state, region.name, clock=self.clock)
        await anyio.to_thread.run_sync(install)
        file, decided = RegionFolder(state).settings, self._region_settings(region)
        write_region_settings(
            file,
            msgspec.structs.replace(read_region_settings(file), **decided)
            if file.exists()  # what people changed in it stays
            else RegionSettings(**decided),
        )
        await self.supervisor.start(
            f"{region.name} region", _process("region", state), ready_s_max=READY_S_MAX
        )

    def _region_settings(self, region: Site) -> dict[str, Any]:
        """Return the settings that are decided here, at every start."""
        heart = wires.central_site(self.fleet)
        api, leaf = (
            self.ports[
                f"{CENTRAL}/{service}"
                if region.name == heart.name
                else f"link:{region.name}>{heart.name}/{service}"
            ]
            for service in (wires.API, wires.LEAF)
        )
        return {
            "fleet": self.fleet.name,
            "domain": self.fleet.domain,
            "region": region.name,
            "api_port": self.ports[f"{region.name}/{wires.API}"],
            "nats_port": self.ports[f"{region.name}/{wires.NATS}"],
            "central_url": f"https://{LOOPBACK}:{api}",
            "hub_url": f"tls://{LOOPBACK}:{leaf}",
            "marker": self.trust.marker,
        }

    def _join_all(self) -> None:
        """Let every node in that has no identity yet; each by a ticket of its own."""
        for site in self.fleet.sites:
            region = region_id(self.fleet.domain, site.region)
            url = local_url(self.ports, f"{site.region}/{wires.API}")
            for number in range(1, site.nodes + 1):
                node = node_name(site.name, number)
                place = NodeFolder(self.folder.node(node)).make()
                settings = self._node_settings(site, number, url, region.host)
                write_settings(place.settings, settings)
                files = IdentityFiles(place.identity)
                if files.identity.exists():
                    continue
                ticket = operator_of(self.folder, self.fleet.domain, url, host=region.host).ticket(
                    site.name, number
                )
                join(
                    files,
                    ticket,
                    inference_url=f"https://{LOOPBACK}:{settings.peer_port}",
                    clock=self.clock,
                )

    def _node_settings(
        self, site: Site, number: int, region_url: str, region_host: str
    ) -> NodeSettings:
        node = node_name(site.name, number)
        intake = self.folder.root / "intake" / site.name if number == 1 else None
        first_model = next((m.name for m in self.fleet.models if site.tier in m.tiers), "")
        return NodeSettings(
            fleet=self.fleet.name,
            domain=self.fleet.domain,
            region=site.region,
            site=site.name,
            number=number,
            tier=site.tier,
            region_url=region_url,
            region_host=region_host,
            hardware=self.fleet.tiers[site.tier].machine.name,
            http_port=self.ports[f"{node}/{wires.HTTP}"],
            grpc_port=self.ports[f"{node}/{wires.GRPC}"],
            metrics_port=self.ports[f"{node}/{wires.METRICS}"],
            peer_port=self.ports[f"{node}/{wires.PEER}"],
            dial=wires.dials_of(self.fleet, site, self.ports),
            tick_s=TICK_S,
            intake_folder=str(intake) if intake else "",
            intake_model=first_model if intake else "",
        )

    def _node_command(self, node: str, half: str) -> list[str]:
        state = str(self.folder.node(node))
        parent = str(os.getpid())
        return [
            sys.executable,
            "-m",
            "skerry.node",
            half,
            "--state",
            state,
            "--with-parent",
            parent,
        ]

    @property
    def _central_url(self) -> str:
        return local_url(self.ports, f"{CENTRAL}/{wires.API}")


def operator_of(folder: LocalFolder, domain: str, url: str, *, host: str = "") -> Operator:
    """Return a process of a local fleet as its operator sees it; central unless `host` says."""
    return Operator.with_identity(
        url,
        host or central_id(domain).host,
        folder.keys / "operators" / f"{OPERATOR}.pem",
        folder.keys / "roots.pem",
    )


async def run_local_fleet(root: Path, *, say: Say, on_ready: Callable[[LocalFleet], None]) -> None:
    """Run the fleet of a folder until cancelled.

    Raises `FleetFileError`, `FolderBusyError`, `PortTakenError`, `ModelMissingError`, `ChildError`.
    """
    fleet = load_fleet(root)
    folder = LocalFolder(root.resolve())
    check_models(fleet, folder.models)
    folder.make()
    clock = SystemClock()
    with FolderLock(folder.state):
        private_folder(folder.logs)
        trust = await anyio.to_thread.run_sync(
            partial(
                create_trust,
                folder.keys,
                fleet=fleet.name,
                domain=fleet.domain,
                regions=[region.name for region in fleet.regions()],
                clock=clock,
                operator=OPERATOR,
                throwaway=True,
            )
        )
        names = [*wires.process_ports(fleet), *(wire.port_name for wire in wires.wires(fleet))]
        ports = kept_ports(folder.ports, names)
        await until_free(ports, str(folder.ports))
        async with anyio.create_task_group() as tasks:
            local: LocalFleet | None = None

            def changed(_: Child) -> None:
                if local is not None and folder.run_file.exists():
                    local.write_run_file()

            supervisor = Supervisor(tasks, folder.logs, on_change=changed)
            local = LocalFleet(
                fleet, folder, say, clock, supervisor, ports, trust, clock.unix_s(), fleet
            )
            try:
                await local.start()
                tasks.start_soon(serve_control, folder.control, local.obey)
                await local.settle()
                local.write_run_file()
                write_applied(folder.root, local.applied)
                on_ready(local)
                await local.follow_changes()
            finally:
                folder.run_file.unlink(missing_ok=True)
                with anyio.CancelScope(shield=True):
                    await _stop_all(supervisor)


async def _stop_all(supervisor: Supervisor) -> None:
    """Stop from the outside in: nodes, regions, central, links."""
    names = list(supervisor.children)
    nodes = [name for name in names if name.endswith((" worker", " agent"))]
    regions = [name for name in names if name.endswith(" region")]
    for group in (nodes, regions, [name for name in names if name not in {*nodes, *regions}]):
        await supervisor.stop(*group)


def _process(room: str, state: Path) -> list[str]:
    return [sys.executable, "-m", f"skerry.{room}", "--state", str(state), "--with-parent"]
