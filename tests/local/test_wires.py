"""The emulated links of a local fleet: what leaves a site goes through one, and nothing else."""

from pathlib import Path

import pytest

from skerry.fleet.desired import nodes_of
from skerry.fleet.load import load_fleet
from skerry.fleet.start import start_from
from skerry.local.wires import central_site, dials_of, link_specs, process_ports, wires
from skerry.schema.fleet import Fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    root: Path = tmp_path_factory.mktemp("clinic")
    start_from("clinic", "clinic", root)
    return load_fleet(root)


@pytest.fixture(scope="module")
def ports(fleet: Fleet) -> dict[str, int]:
    names = [*process_ports(fleet), *(wire.port_name for wire in wires(fleet))]
    return {name: 20_000 + number for number, name in enumerate(names)}


def test_every_port_has_one_name(fleet: Fleet) -> None:
    names = [*process_ports(fleet), *(wire.port_name for wire in wires(fleet))]
    assert len(names) == len(set(names))


def test_every_wire_ends_at_a_port_that_a_process_listens_on(fleet: Fleet) -> None:
    listening = set(process_ports(fleet))
    assert all(wire.target in listening for wire in wires(fleet))
    assert all(wire.start.name != wire.end.name for wire in wires(fleet))


def test_all_that_leaves_a_site_starts_with_its_name(fleet: Fleet) -> None:
    for wire in wires(fleet):
        assert wire.name.startswith(f"{wire.start.name}>{wire.end.name}/")


def test_a_link_delays_each_way_by_half_the_round_trip(fleet: Fleet, ports: dict[str, int]) -> None:
    specs = {spec.name: spec for spec in link_specs(fleet, ports)}
    assert set(specs) == {wire.name for wire in wires(fleet)}
    edge = next(site for site in fleet.sites if site.region != site.name)
    link = next(one for one in fleet.links if {one.a, one.b} == {edge.name, edge.region})
    spec = specs[f"{edge.name}>{edge.region}/api"]
    assert spec.delay_ms == link.round_trip_ms / 2
    assert spec.target_port == ports[f"{edge.region}/api"]


def test_a_site_dials_its_region_and_far_nodes_through_links_and_neighbours_directly(
    fleet: Fleet, ports: dict[str, int]
) -> None:
    for site in fleet.sites:
        dials = dials_of(fleet, site, ports)
        assert not set(dials) & set(nodes_of(site))
        if site.region != site.name:
            assert {"region", "nats"} <= set(dials)
            far = {node for other in fleet.regions() for node in nodes_of(other)}
            assert set(dials) == {"region", "nats"} | far
        specs = {spec.listen_port: spec.name for spec in link_specs(fleet, ports)}
        for address in dials.values():
            assert specs[int(address.rpartition(":")[2])].startswith(f"{site.name}>")


def test_central_lives_at_the_cloud(fleet: Fleet) -> None:
    assert central_site(fleet).name == "cloud"
