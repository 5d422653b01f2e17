"""The emulated links of a local fleet, and which of its dials go through them.

Whatever a site dials at another place goes through a link with the round trip of the
fleet file: a site to its region's API and NATS, to the nodes of regional and cloud
sites, and a region to central, which lives where the cloud is. Names read
`<from>><to>/<service>`, so that all that leaves a site starts with its name.

Units: milliseconds one way on a link, bits per second.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from skerry.fleet.desired import nodes_of
from skerry.fleet.links import link_table
from skerry.local.ports import LOOPBACK
from skerry.schema.fleet import Fleet, Kind, Site
from skerry.spine.link import LinkSpec

API, NATS, LEAF, HTTP, GRPC, METRICS, PEER = (
    "api",
    "nats",
    "leaf",
    "http",
    "grpc",
    "metrics",
    "peer",
)
CENTRAL = "central"


@dataclass(frozen=True, slots=True)
class Wire:
    """One link to be: who dials, what, and the port name of the real thing."""

    start: Site
    end: Site
    service: str
    target: str

    @property
    def name(self) -> str:
        """Return the link's name, for example `oslo>region-eu/api`."""
        return f"{self.start.name}>{self.end.name}/{self.service}"

    @property
    def port_name(self) -> str:
        """Return the name of the port that is dialled."""
        return f"link:{self.name}"


def process_ports(fleet: Fleet) -> Iterator[str]:
    """Yield the names of all ports that processes of the fleet listen on."""
    yield from (f"{CENTRAL}/{service}" for service in (API, NATS, LEAF))
    for region in fleet.regions():
        yield from (f"{region.name}/{service}" for service in (API, NATS))
    for site in fleet.sites:
        for node in nodes_of(site):
            yield from (f"{node}/{service}" for service in (HTTP, GRPC, METRICS, PEER))


def central_site(fleet: Fleet) -> Site:
    """Return the site that central lives at: the first cloud, else the first region."""
    clouds = [site for site in fleet.sites if site.kind is Kind.CLOUD]
    return (clouds or list(fleet.regions()))[0]


def wires(fleet: Fleet) -> tuple[Wire, ...]:
    """Return every link that the fleet needs."""
    return tuple(_wires(fleet))


def _wires(fleet: Fleet) -> Iterator[Wire]:
    heart = central_site(fleet)
    for site in fleet.sites:
        region = fleet.site(site.region)
        if site.name != region.name:
            yield Wire(site, region, API, f"{region.name}/{API}")
            yield Wire(site, region, NATS, f"{region.name}/{NATS}")
        elif site.name != heart.name:
            yield Wire(site, heart, API, f"{CENTRAL}/{API}")
            yield Wire(site, heart, LEAF, f"{CENTRAL}/{LEAF}")
        for other in fleet.regions():
            if other.name == site.name:
                continue
            for node in nodes_of(other):
                number = node.rpartition("/")[2]
                yield Wire(site, other, number, f"{node}/{PEER}")
                # What a client at the site dials when it calls that node itself.
                yield Wire(site, other, f"{number}-{HTTP}", f"{node}/{HTTP}")


def link_specs(fleet: Fleet, ports: Mapping[str, int]) -> tuple[LinkSpec, ...]:
    """Return the emulator's links, once every port is known."""
    specs, between = [], link_table(fleet)
    for wire in wires(fleet):
        link = between(wire.start.name, wire.end.name)
        specs.append(
            LinkSpec(
                name=wire.name,
                listen_port=ports[wire.port_name],
                target_host=LOOPBACK,
                target_port=ports[wire.target],
                delay_ms=link.round_trip_ms / 2,
                jitter_ms=link.jitter_ms / 2,
                bandwidth_bit_per_s=link.bandwidth_bit_per_s,
            )
        )
    return tuple(specs)


def dials_of(fleet: Fleet, site: Site, ports: Mapping[str, int]) -> dict[str, str]:
    """Return a node's `dial` settings: what it reaches through a link instead."""
    dial = {}
    for wire in wires(fleet):
        if wire.start.name != site.name:
            continue
        address = f"{LOOPBACK}:{ports[wire.port_name]}"
        if wire.service in (API, NATS) and wire.end.name == site.region:
            dial["region" if wire.service == API else "nats"] = address
        elif wire.service.isdigit():
            dial[f"{wire.end.name}/{wire.service}"] = address
    return dial
