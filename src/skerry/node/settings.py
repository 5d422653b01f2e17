"""A node's settings: what cannot be derived from its identity or its desired state."""

from pathlib import Path

import msgspec

from skerry.base.files import write_private
from skerry.node.errors import SettingsError

SETTINGS_BYTES_MAX = 256 * 1024


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one node is told by whoever installs it; people may edit the file.

    Ports of 0 are replaced by free ones at the first start and kept from then on.
    """

    fleet: str
    domain: str
    region: str
    site: str
    number: int
    tier: str
    region_url: str
    """The region's API, `https://host:port`."""
    region_host: str
    """The name in the region's certificate."""
    host: str = "127.0.0.1"
    """Where the doors listen; loopback unless told otherwise."""
    http_port: int = 0
    """OIP over HTTP for clients on this machine."""
    grpc_port: int = 0
    """OIP over gRPC for clients on this machine."""
    metrics_port: int = 0
    """Prometheus metrics."""
    peer_port: int = 0
    """OIP over HTTP with mutual TLS, for other nodes."""
    dial: dict[str, str] = {}
    """`<node>`, `region` or `nats` to `host:port`: dial there instead (an emulated link)."""
    journal_bytes_max: int = 256 * 1024 * 1024
    """Room for request records that the agent has not read yet, in bytes."""
    outbox_bytes_max: int = 512 * 1024 * 1024
    """Room for records that have not gone up yet, in bytes."""
    intake_folder: str = ""
    """A folder whose files are answered as they arrive; empty for none."""
    intake_model: str = ""
    """The model that answers them."""
    tick_s: float = 10.0
    """Longest time between two looks at the region for a new desired state, in seconds."""
    status_s: float = 2.0
    """Time between two status reports, in seconds."""

    @property
    def node(self) -> str:
        """Return the node's name, `<site>/<n>`."""
        return f"{self.site}/{self.number}"


def read_settings(path: Path) -> NodeSettings:
    """Read and check a settings file; raises `SettingsError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(str(path), error.strerror or str(error)) from error
    if len(data) > SETTINGS_BYTES_MAX:
        raise SettingsError(str(path), f"is larger than {SETTINGS_BYTES_MAX} bytes")
    try:
        settings = msgspec.json.decode(data, type=NodeSettings)
    except msgspec.DecodeError as error:
        raise SettingsError(str(path), str(error)) from error
    for name in ("http_port", "grpc_port", "metrics_port", "peer_port"):
        if not 0 <= getattr(settings, name) <= 65_535:
            raise SettingsError(
                str(path), f"{name} is {getattr(settings, name)}, wanted 0 to 65535"
            )
    for name in ("tick_s", "status_s"):
        if not 0 < getattr(settings, name) <= 3600:
            raise SettingsError(
                str(path), f"{name} is {getattr(settings, name):g}, wanted 0 to 3600 s"
            )
    return settings


def write_settings(path: Path, settings: NodeSettings) -> None:
    """Write a settings file, readable by this user only."""
    write_private(path, msgspec.json.format(msgspec.json.encode(settings), indent=2))
