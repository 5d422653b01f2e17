"""Founding a fleet of real machines: every first key, and a state folder for each process.

    keys/              offline: root, TUF roles, operators; belongs on a machine that is off
    central/           carry to central's machine:    skerry up --role central --state central
    regions/<region>/  carry to the region's machine: skerry up --role region --state <region>

With several key holders, `keys/` holds no signing keys: each holder has a folder
(`keys/holders/<name>`, or one of their own elsewhere), and where not enough of them are here,
`founding.signing.json` goes from one to the next, and `finish` founds once it is signed.

Nodes need no folder: they join by ticket. Addresses default to the names in the
certificates (`clinic.example`, `region-eu.clinic.example`), which then have to resolve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.files import private_folder, write_atomic
from skerry.central.bootstrap import (
    First,
    TrustSet,
    create_trust,
    found_repository,
    install_central,
    install_region,
)
from skerry.central.settings import CentralFolder, CentralSettings
from skerry.region.settings import RegionSettings
from skerry.region.settings import write_settings as write_region_settings
from skerry.schema.context import Context, write_context
from skerry.schema.fleet import Fleet
from skerry.trust import ceremony
from skerry.trust.ceremony import SigningFile
from skerry.trust.ceremony_changes import founding
from skerry.trust.ceremony_keys import HOLDER_FILE, Holder, write_anchor, write_holder
from skerry.trust.roles import OfflineKeys, PublicKeys
from skerry.trust.spiffe import central_id, region_id

API_PORT, NATS_PORT, LEAF_PORT = 9443, 4222, 7422
SIGNING_FILE = "founding.signing.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Who signs for a fleet, where that is more than one person."""

    public: Sequence[Holder]
    here: Sequence[OfflineKeys] = ()
    """Those of them whose keys are opened on this machine."""
    thresholds: Mapping[str, int] = field(default_factory=dict)
    """Role to signatures wanted; 1 for those left out."""


@dataclass(frozen=True, slots=True)
class Founded:
    """What was made, and where."""

    trust: TrustSet
    central: Path
    regions: dict[str, Path]
    pending: Path | None
    """The file that holders have yet to sign; None where the fleet is founded."""


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
    holders: Holders | None = None,
) -> Founded:
    """Make all keys and state folders of a fleet, or add what is missing.

    `listen` is the address that central and regions listen on, `central_address` the name
    or address that regions and operators dial.
    """
    regions = [region.name for region in fleet.regions()]
    pending = out / SIGNING_FILE
    shared = holders is not None or holders_folder(out).exists()
    trust = create_trust(
        private_folder(out / "keys"),
        fleet=fleet.name,
        domain=fleet.domain,
        regions=regions,
        clock=clock,
        operator=operator,
        passphrase=passphrase,
        offline=not shared,
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
        first=_first(fleet.name, out, holders, clock) if shared else None,
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
            offline=str(_signing_folder(trust, out, operator, shared=shared).resolve()),
        ),
    )
    waits = pending if pending.exists() else None
    return Founded(trust, out / "central", folders, waits)


def finish(out: Path, fleet: Fleet, file: SigningFile, *, clock: Clock) -> None:
    """Found the fleet's repository with first roles that enough holders have signed."""
    ceremony.check_offered(file, clock.unix_s())
    ceremony.check_complete(file)
    trust = TrustSet(out / "keys", fleet.name, fleet.domain)
    found_repository(trust, CentralFolder(out / "central"), file.offered, clock=clock)
    for region in fleet.regions():
        install_region(trust, out / "regions" / region.name, region.name, clock=clock)
    _keep_anchors(out, file.offered["root"])
    (out / SIGNING_FILE).unlink(missing_ok=True)


def holders_folder(out: Path) -> Path:
    """Return where the folders of key holders are."""
    return out / "keys" / "holders"


def _first(fleet: str, out: Path, holders: Holders | None, clock: Clock) -> First:
    """Return what signs the first roles with the keys that are here, or leaves a file to sign."""

    def first(online: PublicKeys) -> Mapping[str, bytes] | None:
        if holders is None:  # a later run, while the file of the first one is on its way
            return None
        for holder in holders.public:
            folder = private_folder(holders_folder(out) / holder.name)
            write_holder(folder / HOLDER_FILE, holder)
        file = founding(
            fleet, holders.public, online, holders.thresholds, now_unix_s=clock.unix_s()
        )
        ceremony.check_offered(file, clock.unix_s())
        for keys in holders.here:
            file = ceremony.sign(file, keys.all_signers(), keys.holder)
        if not ceremony.is_complete(file):
            write_atomic(out / SIGNING_FILE, ceremony.write_signing(file))
            return None
        _keep_anchors(out, file.offered["root"])
        return file.offered

    return first


def _keep_anchors(out: Path, root: bytes) -> None:
    """Let each holder whose folder is here know the fleet's root from its first day."""
    for folder in holders_folder(out).iterdir():
        write_anchor(folder, root)


def _signing_folder(trust: TrustSet, out: Path, operator: str, *, shared: bool) -> Path:
    """Return the keys with which this operator's `apply` signs: their own, or the first here."""
    if not shared:
        return trust.offline
    own = holders_folder(out) / operator
    if own.exists():
        return own
    here = sorted(path for path in holders_folder(out).iterdir() if any(path.glob("models.*")))
    return here[0] if here else own
