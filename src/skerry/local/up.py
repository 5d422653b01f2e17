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

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from skerry.base.clock import Clock, SystemClock
from skerry.base.files import FolderLock, private_folder, write_private
from skerry.base.ids import node_name
from skerry.central.bootstrap import TrustSet, create_trust, install_central, install_region
from skerry.central.settings import CentralSettings
from skerry.client.change import apply
from skerry.client.operator import Operator
from skerry.fleet.desired import nodes_of, policy_of
from skerry.fleet.load import load_fleet
from skerry.fleet.place import tier_order
from skerry.local import wires
from skerry.local.control import Answer, Order, serve_control
from skerry.local.errors import ChildError
from skerry.local.folder import LocalFolder
from skerry.local.ports import LOOPBACK, kept_ports
from skerry.local.supervisor import Child, Supervisor
from skerry.node.enrol import join
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings, write_settings
from skerry.region.settings import RegionSettings
from skerry.region.settings import write_settings as write_region_settings
from skerry.schema.fleet import Fleet, Site
from skerry.schema.run_file import RunFile, RunLink, RunNode, RunRegion, write_run_file
from skerry.spine.errors import LinkError
from skerry.spine.link import LinkControl, LinksConfig
from skerry.trust.roles import OfflineKeys
from skerry.trust.spiffe import central_id, region_id

OPERATOR = "local"
READY_S_MAX = 30.0
IN_SYNC_S_MAX = 60.0
TICK_S = 5.0
"""Nodes look for a new desired state this often, nudged or not: a trial is short."""
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
        """Apply the fleet file if that was not done, and wait until every node is in sync."""
        central = self.operator()
        applied = await anyio.to_thread.run_sync(central.applied)
        if applied.fleet != self.fleet:
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
        fleet = self.fleet
        pids = {name: child.pid for name, child in self.supervisor.children.items()}
        edge = next((site for site in fleet.sites if site.region != site.name), fleet.sites[0])
        write_run_file(
            self.folder.run_file,
            RunFile(
                fleet=fleet.name,
                domain=fleet.domain,
                folder=str(self.folder.root),
                started_unix_s=self.started_unix_s,
                supervisor_pid=os.getpid(),
                control_socket=str(self.folder.control),
                central_url=self._central_url,
                central_pid=pids.get(CENTRAL, 0),
                regions={
                    region.name: RunRegion(
                        url=self._url(f"{region.name}/{wires.API}"),
                        pid=pids.get(f"{region.name} region", 0),
                    )
                    for region in fleet.regions()
                },
                nodes=tuple(
                    self._run_node(site, node, pids)
                    for site in fleet.sites
                    for node in nodes_of(site)
                ),
                links=tuple(
                    RunLink(
                        a=link.a,
                        b=link.b,
                        round_trip_ms=link.round_trip_ms,
                        socket=str(self.folder.links_control),
                    )
                    for link in fleet.links
                ),
                tier_order=tier_order(fleet, edge),
                policy=policy_of(fleet, 1),
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
        write_region_settings(state / "region.json", self._region_settings(region))
        await self.supervisor.start(
            f"{region.name} region", _process("region", state), ready_s_max=READY_S_MAX
        )

    def _region_settings(self, region: Site) -> RegionSettings:
        heart = wires.central_site(self.fleet)
        api, leaf = (
            self.ports[
                f"{CENTRAL}/{service}"
                if region.name == heart.name
                else f"link:{region.name}>{heart.name}/{service}"
            ]
            for service in (wires.API, wires.LEAF)
        )
        return RegionSettings(
            fleet=self.fleet.name,
            domain=self.fleet.domain,
            region=region.name,
            api_port=self.ports[f"{region.name}/{wires.API}"],
            nats_port=self.ports[f"{region.name}/{wires.NATS}"],
            central_url=f"https://{LOOPBACK}:{api}",
            hub_url=f"tls://{LOOPBACK}:{leaf}",
            marker=self.trust.marker,
        )

    def _join_all(self) -> None:
        """Let every node in that has no identity yet; each by a ticket of its own."""
        for site in self.fleet.sites:
            region = region_id(self.fleet.domain, site.region)
            url = self._url(f"{site.region}/{wires.API}")
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

    def _run_node(self, site: Site, node: str, pids: dict[str, int]) -> RunNode:
        number = node.rpartition("/")[2]
        from_sites = {
            wire.start.name: f"http://{LOOPBACK}:{self.ports[wire.port_name]}"
            for wire in wires.wires(self.fleet)
            if wire.end.name == site.name and wire.service == f"{number}-{wires.HTTP}"
        }
        return RunNode(
            node=node,
            site=site.name,
            region=site.region,
            tier=site.tier,
            http_url=f"http://{LOOPBACK}:{self.ports[f'{node}/{wires.HTTP}']}",
            http_url_from=from_sites,
            grpc_url=f"{LOOPBACK}:{self.ports[f'{node}/{wires.GRPC}']}",
            peer_url=f"https://{LOOPBACK}:{self.ports[f'{node}/{wires.PEER}']}",
            metrics_url=f"http://{LOOPBACK}:{self.ports[f'{node}/{wires.METRICS}']}/metrics",
            folder=str(self.folder.node(node)),
            agent_pid=pids.get(f"{node} agent", 0),
            worker_pid=pids.get(f"{node} worker", 0),
        )

    @property
    def _central_url(self) -> str:
        return self._url(f"{CENTRAL}/{wires.API}")

    def _url(self, port_name: str) -> str:
        return f"https://{LOOPBACK}:{self.ports[port_name]}"


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

    Raises `FleetFileError`, `FolderBusyError`, `ModelMissingError`, `ChildError`.
    """
    fleet = load_fleet(root)
    folder = LocalFolder(root.resolve()).make()
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
        async with anyio.create_task_group() as tasks:
            local: LocalFleet | None = None

            def changed(_: Child) -> None:
                if local is not None and folder.run_file.exists():
                    local.write_run_file()

            supervisor = Supervisor(tasks, folder.logs, on_change=changed)
            local = LocalFleet(fleet, folder, say, clock, supervisor, ports, trust, clock.unix_s())
            try:
                await local.start()
                tasks.start_soon(serve_control, folder.control, local.obey)
                await local.settle()
                on_ready(local)
                await anyio.sleep_forever()
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
