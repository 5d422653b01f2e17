"""NATS server configuration: signatures first, bodies follow in the next commit."""

from dataclasses import dataclass
from pathlib import Path

from skerry.spine.nats_jwt import ServerKit


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: own chain, its key, and the roots that peers must chain to."""

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLink:
    """Where a region's server dials central's leaf listener. `tls_name` if the URL holds an address only."""

    url: str
    tls_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """One server: hub (`leaf_port` set) or leaf (`hub` set). Ports on `host`."""

    kit: ServerKit
    tls: TlsFiles
    client_port: int
    host: str = "127.0.0.1"
    leaf_port: int | None = None
    hub: HubLink | None = None
    max_file_store_bytes: int = 2 << 30
    max_memory_store_bytes: int = 16 << 20


def render(config: ServerConfig, folder: Path) -> str:
    """Return the text of `nats.conf`."""
    raise NotImplementedError
