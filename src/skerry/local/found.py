"""Founding a fleet of real machines: every first key, and a state folder for each process.

    keys/              offline: root, TUF roles, operators; belongs on a machine that is off
    central/           carry to central's machine:    skerry up --role central --state central
    regions/<region>/  carry to the region's machine: skerry up --role region --state <region>

Nodes need no folder: they join by ticket. Addresses default to the names in the
certificates (`clinic.example`, `region-eu.clinic.example`), which then have to resolve.
"""

from dataclasses import dataclass
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.files import private_folder
from skerry.central.bootstrap import TrustSet, create_trust, install_central, install_region
from skerry.central.settings import CentralSettings
from skerry.region.settings import RegionSettings
from skerry.region.settings import write_settings as write_region_settings
from skerry.schema.context import Context, write_context
from skerry.schema.fleet import Fleet
from skerry.trust.spiffe import central_id, region_id

API_PORT, NATS_PORT, LEAF_PORT = 9443, 4222, 7422


@dataclass(frozen=True, slots=True)
class Founded:
    """What was made, and where."""

    trust: TrustSet
    central: Path
    regions: dict[str, Path]


def found(
    fleet: Fleet,
    fleet_folder: Path,
    out: Path,
    *,
    operator: str,
    listen: str,
    central_address: str,
    passphrase: str | None,
    clock: Clock,
) -> Founded:
    """Make all keys and state folders of a fleet, or add what is missing.

    `listen` is the address that central and regions listen on, `central_address` the name
    or address that regions and operators dial.
    """
    regions = [region.name for region in fleet.regions()]
    trust = create_trust(
        private_folder(out / "keys"),
        fleet=fleet.name,
        domain=fleet.domain,
        regions=regions,
        clock=clock,
        operator=operator,
        passphrase=passphrase,
    )
    place = central_address or central_id(fleet.domain).host
    install_central(
        trust,
        out / "central",
        CentralSettings(
            fleet=fleet.name,
            domain=fleet.domain,
            host=listen,
            api_port=API_PORT,
            nats_port=NATS_PORT,
            leaf_port=LEAF_PORT,
        ),
        clock=clock,
        passphrase=passphrase,
        may_revoke=False,
    )
    folders = {}
    for region in regions:
        state = folders[region] = out / "regions" / region
        install_region(trust, state, region, clock=clock)
        settings = state / "region.json"
        if not settings.exists():
            write_region_settings(
                settings,
                RegionSettings(
                    fleet=fleet.name,
                    domain=fleet.domain,
                    region=region,
                    host=listen,
                    advertise=region_id(fleet.domain, region).host,
                    api_port=API_PORT,
                    nats_port=NATS_PORT,
                    central_url=f"https://{place}:{API_PORT}",
                    hub_url=f"tls://{place}:{LEAF_PORT}",
                    hub_name=central_id(fleet.domain).host,
                ),
            )
    write_context(
        fleet_folder,
        Context(
            fleet=fleet.name,
            domain=fleet.domain,
            central_url=f"https://{place}:{API_PORT}",
            region_urls={
                region: f"https://{region_id(fleet.domain, region).host}:{API_PORT}"
                for region in regions
            },
            identity=str(trust.operator(operator).resolve()),
            roots=str(trust.roots.resolve()),
            offline=str(trust.offline.resolve()),
        ),
    )
    return Founded(trust, out / "central", folders)
