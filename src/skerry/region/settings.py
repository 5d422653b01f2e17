"""A region's settings and the layout of its state folder.

    region.json      settings, as below
    keys/            authority.pem (the region's own), roots.pem, nats.json, 1.root.json
    enrolment.db     tokens, enrolment keys, bans
    machines.db      each node's TPM and its last verdict
    reference.json   what machines may boot, as last accepted
    roster.db        nodes, where they are reached, their live logins
    mirror/          metadata and targets carried from central
    blobs/           model bytes, each fetched once
    stick/           floors of what bundles brought
    audit/           the audit ledger, and what it knows of others'
    nats/            the NATS child's own state

Errors:  SettingsError.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.region.errors import SettingsError
from skerry.schema.audit_api import AuditSettings
from skerry.schema.settings_file import read_settings_file, write_settings_file

SETTINGS_FILE = "region.json"
PORTS = ("api_port", "nats_port")


class RegionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a region is told by whoever installs it; people may edit the file.

    Ports of 0 are replaced by free ones at the first start and kept from then on, so that
    nodes find their region again.
    """

    fleet: str
    """The fleet's name, as in its fleet file."""
    domain: str
    """The fleet's trust domain, for example `clinic.example`."""
    region: str
    """This region's id."""
    central_url: str
    """Central's API, `https://host:port`; its certificate is checked against the domain."""
    hub_url: str
    """Central's NATS listener for regions, `tls://host:port`."""
    hub_name: str = ""
    """The name in central's NATS certificate, where `hub_url` holds an address it does not name."""
    host: str = "127.0.0.1"
    """Where API and NATS listen; loopback unless told otherwise."""
    advertise: str = ""
    """The address that nodes dial; `host` where empty."""
    api_port: int = 0
    """The HTTPS API."""
    nats_port: int = 0
    """NATS, for nodes and for the region's own process."""
    certificate_life_s: float = 3600.0
    """How long certificates and logins of nodes and of the region itself live, in seconds."""
    authority_command: tuple[str, ...] = ()
    """A program and its arguments that certify this region's authority: it reads a request
    (PEM) and writes a chain (PEM). Empty: the fleet's own root does."""
    mirror_tick_s: float = 5.0
    """Longest time between two looks at central for new signed state, in seconds."""
    push_tick_s: float = 15.0
    """Longest time between two pushes of the registry to central, in seconds."""
    blobs_bytes_max: int = 64 * 1024**3
    """Room for model bytes."""
    audit: AuditSettings = AuditSettings()
    """Where audit events go besides this process's own ledger."""
    marker: str = ""
    """Shown wherever the region is shown; `THROWAWAY` where its keys were made for a trial."""


@dataclass(frozen=True, slots=True)
class RegionFolder:
    """Where everything of one region lies."""

    folder: Path

    @property
    def settings(self) -> Path:
        """Settings file."""
        return self.folder / SETTINGS_FILE

    @property
    def authority(self) -> Path:
        """The region's authority: issues for its nodes and for itself."""
        return self.folder / "keys" / "authority.pem"

    @property
    def authority_issuer(self) -> Path:
        """Which command certified the authority last."""
        return self.folder / "keys" / "authority.issuer"

    @property
    def roots(self) -> Path:
        """Root certificates of the fleet."""
        return self.folder / "keys" / "roots.pem"

    @property
    def nats_kit(self) -> Path:
        """What the NATS child and the process beside it need."""
        return self.folder / "keys" / "nats.json"

    @property
    def tuf_root(self) -> Path:
        """Root metadata that a joining node starts from."""
        return self.folder / "keys" / "1.root.json"

    @property
    def server_identity(self) -> Path:
        """Certificate and key that the NATS child shows; replaced at each renewal."""
        return self.folder / "keys" / "server.pem"

    @property
    def enrolment(self) -> Path:
        """Tokens, enrolment keys and bans."""
        return self.folder / "enrolment.db"

    @property
    def access(self) -> Path:
        """Requests that wait for a second person, and decisions."""
        return self.folder / "access.db"

    @property
    def access_policy(self) -> Path:
        """The access policy that is in force here."""
        return self.folder / "access.json"

    @property
    def verified(self) -> Path:
        """What this process itself has verified of the mirror."""
        return self.folder / "verified"

    @property
    def machines(self) -> Path:
        """TPMs and their last verdicts."""
        return self.folder / "machines.db"

    @property
    def reference(self) -> Path:
        """Reference values as last accepted."""
        return self.folder / "reference.json"

    @property
    def roster(self) -> Path:
        """Nodes and their live logins."""
        return self.folder / "roster.db"

    @property
    def mirror(self) -> Path:
        """Carried metadata and targets."""
        return self.folder / "mirror"

    @property
    def blobs(self) -> Path:
        """Model bytes."""
        return self.folder / "blobs"

    @property
    def stick(self) -> Path:
        """Floors of what bundles brought: an older one is refused."""
        return self.folder / "stick"

    @property
    def audit(self) -> Path:
        """The audit ledger, and what it knows of others'."""
        return self.folder / "audit"

    @property
    def nats(self) -> Path:
        """The NATS child's folder."""
        return self.folder / "nats"


def read_settings(path: Path) -> RegionSettings:
    """Read and check a settings file; raises `SettingsError`."""
    return read_settings_file(
        path,
        RegionSettings,
        SettingsError,
        ports=PORTS,
        above_zero=("certificate_life_s", "mirror_tick_s", "push_tick_s", "blobs_bytes_max"),
    )


def write_settings(path: Path, settings: RegionSettings) -> None:
    """Write a settings file, readable by this user only."""
    write_settings_file(path, settings)
