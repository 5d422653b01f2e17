"""What runs in a local fleet and where it listens, as its run file says it."""

import os
from collections.abc import Mapping

from skerry.fleet.desired import nodes_of, policy_of
from skerry.fleet.place import tier_order
from skerry.local import wires
from skerry.local.folder import LocalFolder
from skerry.local.ports import LOOPBACK, local_url
from skerry.schema.fleet import Fleet, Site
from skerry.schema.run_file import RunFile, RunLink, RunNode, RunRegion


def describe(
    fleet: Fleet,
    applied: Fleet,
    folder: LocalFolder,
    ports: Mapping[str, int],
    pids: Mapping[str, int],
    *,
    started_unix_s: float,
) -> RunFile:
    """Return the run file of this supervisor.

    `fleet` is what the processes were laid out for, `applied` what governs them now;
    `pids` maps a child's name to its process, 0 for one that is down.
    """
    edge = next((site for site in fleet.sites if site.region != site.name), fleet.sites[0])
    return RunFile(
        fleet=fleet.name,
        domain=fleet.domain,
        folder=str(folder.root),
        started_unix_s=started_unix_s,
        supervisor_pid=os.getpid(),
        control_socket=str(folder.control),
        central_url=local_url(ports, f"{wires.CENTRAL}/{wires.API}"),
        central_pid=pids.get(wires.CENTRAL, 0),
        regions={
            region.name: RunRegion(
                url=local_url(ports, f"{region.name}/{wires.API}"),
                pid=pids.get(f"{region.name} region", 0),
            )
            for region in fleet.regions()
        },
        nodes=tuple(
            _node(fleet, site, node, folder, ports, pids)
            for site in fleet.sites
            for node in nodes_of(site)
        ),
        links=tuple(
            RunLink(
                a=link.a,
                b=link.b,
                round_trip_ms=link.round_trip_ms,
                socket=str(folder.links_control),
            )
            for link in fleet.links
        ),
        tier_order=tier_order(applied, edge),
        policy=policy_of(applied, 1),
    )


def _node(
    fleet: Fleet,
    site: Site,
    node: str,
    folder: LocalFolder,
    ports: Mapping[str, int],
    pids: Mapping[str, int],
) -> RunNode:
    number = node.rpartition("/")[2]
    through_links = {
        wire.start.name: f"http://{LOOPBACK}:{ports[wire.port_name]}"
        for wire in wires.wires(fleet)
        if wire.end.name == site.name and wire.service == f"{number}-{wires.HTTP}"
    }
    return RunNode(
        node=node,
        site=site.name,
        region=site.region,
        tier=site.tier,
        http_url=f"http://{LOOPBACK}:{ports[f'{node}/{wires.HTTP}']}",
        http_url_from=through_links,
        grpc_url=f"{LOOPBACK}:{ports[f'{node}/{wires.GRPC}']}",
        peer_url=local_url(ports, f"{node}/{wires.PEER}"),
        metrics_url=f"http://{LOOPBACK}:{ports[f'{node}/{wires.METRICS}']}/metrics",
        folder=str(folder.node(node)),
        agent_pid=pids.get(f"{node} agent", 0),
        worker_pid=pids.get(f"{node} worker", 0),
    )
