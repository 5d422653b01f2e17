"""Central's settings and the layout of its state folder.

    central.json     settings, as below
    keys/            authority.pem, roots.pem, nats.json, online/ (TUF), nats-operator/ (optional)
    central.db       the store
    access.db        people, tokens, requests that wait, decisions
    repository/      what nodes trust, as published
    blobs/           model bytes, by digest
    audit/           the audit ledger, and what it knows of others'
    nats/            the NATS child's own state

Errors:  SettingsError.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.base.errors import Exit
from skerry.central.errors import CentralError
from skerry.schema.access import OidcSettings
from skerry.schema.audit_api import AuditSettings
from skerry.schema.settings_file import read_settings_file, write_settings_file

SETTINGS_FILE = "central.json"
PORTS = ("api_port", "nats_port", "leaf_port")


class SettingsError(CentralError):
    """Central's settings file cannot be used."""

    code = "E1207"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the page to read."""
        return "docs/reference/api.md says where the settings are described"


class CentralSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What central is told by whoever installs it; people may edit the file.

    Ports of 0 are replaced by free ones at the first start and kept from then on, so that
    regions find central again.
    """

    fleet: str
    """The fleet's name, as in its fleet file."""
    domain: str
    """The fleet's trust domain, for example `clinic.example`."""
    host: str = "127.0.0.1"
    """Where API and NATS listen; loopback unless told otherwise."""
    api_port: int = 0
    """The HTTPS API."""
    nats_port: int = 0
    """NATS, for central's own process."""
    leaf_port: int = 0
    """NATS, for the servers of regions."""
    certificate_life_s: float = 3600.0
    """How long central's own certificate lives, in seconds; renewed at half life."""
    stale_s: float = 10.0
    """A node's report older than this, in seconds, counts as stale."""
    blobs_bytes_max: int = 64 * 1024**3
    """Room for model bytes."""
    oidc: OidcSettings | None = None
    """An OIDC provider whose people may log in; none unless named."""
    audit: AuditSettings = AuditSettings()
    """Where audit events go besides this process's own ledger."""
    checks: dict[str, tuple[str, ...]] = {}
    """Commands that a fleet file may name in `rollout.check`: name to program and arguments."""
    marker: str = ""
    """Shown wherever the fleet is shown; `THROWAWAY` where its keys were made for a trial."""


@dataclass(frozen=True, slots=True)
class CentralFolder:
    """Where everything of one central lies."""

    folder: Path

    @property
    def settings(self) -> Path:
        """Settings file."""
        return self.folder / SETTINGS_FILE

    @property
    def authority(self) -> Path:
        """Central's own authority: issues for central and for operators."""
        return self.folder / "keys" / "authority.pem"

    @property
    def roots(self) -> Path:
        """Root certificates of the fleet."""
        return self.folder / "keys" / "roots.pem"

    @property
    def nats_kit(self) -> Path:
        """What the NATS child and the process beside it need."""
        return self.folder / "keys" / "nats.json"

    @property
    def nats_operator(self) -> Path:
        """All NATS keys of the fleet, where central may revoke logins; may be absent."""
        return self.folder / "keys" / "nats-operator"

    @property
    def online_keys(self) -> Path:
        """TUF keys of the online roles."""
        return self.folder / "keys" / "online"

    @property
    def store(self) -> Path:
        """The SQLite store."""
        return self.folder / "central.db"

    @property
    def access(self) -> Path:
        """People, tokens, requests that wait and decisions."""
        return self.folder / "access.db"

    @property
    def repository(self) -> Path:
        """What the publisher publishes."""
        return self.folder / "repository"

    @property
    def blobs(self) -> Path:
        """Model bytes."""
        return self.folder / "blobs"

    @property
    def audit(self) -> Path:
        """The audit ledger, and what it knows of others'."""
        return self.folder / "audit"

    @property
    def nats(self) -> Path:
        """The NATS child's folder."""
        return self.folder / "nats"

    @property
    def server_identity(self) -> Path:
        """Certificate and key that the NATS child shows; replaced at each renewal."""
        return self.folder / "keys" / "server.pem"


def read_settings(path: Path) -> CentralSettings:
    """Read and check a settings file; raises `SettingsError`."""
    return read_settings_file(
        path,
        CentralSettings,
        SettingsError,
        ports=PORTS,
        above_zero=("certificate_life_s", "stale_s", "blobs_bytes_max"),
    )


def write_settings(path: Path, settings: CentralSettings) -> None:
    """Write a settings file, readable by this user only."""
    write_settings_file(path, settings)
