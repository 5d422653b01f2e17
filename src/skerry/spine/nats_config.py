"""The configuration file of a NATS server: central's hub, or a region's leaf of it.

Every choice that is not a default has been paid for: `sync_interval: always` because the
default lost whole streams on power loss, `ping_interval: 5s` because a silent cut would
linger for four minutes, `ignore_discovered_servers` because a leaf would leave the address it
was given, an explicit store size because the default follows the free disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from skerry.spine.nats_jwt import ServerKit

LOG_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the server's own chain, its key, and the roots its peers must chain to."""

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLink:
    """Where a region's server dials central's leaf listener, `tls://host:port`.

    The hub's certificate must be good for that host (name or address). Where the URL holds an
    address and the certificate only a name, `tls_name` is that name; the server then also
    tries the name itself when the address does not answer, so it must not lead elsewhere.
    """

    url: str
    tls_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """One server: a hub has a `leaf_port`, a region's server a `hub`. All ports are on `host`."""

    kit: ServerKit
    tls: TlsFiles
    client_port: int
    host: str = "127.0.0.1"
    leaf_port: int | None = None
    hub: HubLink | None = None
    max_file_store_bytes: int = 2 << 30
    max_memory_store_bytes: int = 16 << 20


def render(config: ServerConfig, folder: Path) -> str:
    """Return the text of `nats.conf`; `leaf.creds` in `folder` is the leaf's login.

    NATS reads JSON as a configuration, so no string of ours needs escaping rules of its own.
    """
    kit = config.kit
    tls = _tls(config.tls, verify=True)
    document: dict[str, object] = {
        "server_name": kit.name,
        "host": config.host,
        "port": config.client_port,
        "http": "127.0.0.1:-1",  # health and figures, this machine only; the port is in *.ports
        "ports_file_dir": str(folder),
        "pid_file": str(folder / "nats.pid"),
        "log_file": str(folder / "nats.log"),
        "logfile_size_limit": LOG_BYTES_MAX,
        "logfile_max_num": 2,
        "ping_interval": "5s",
        "ping_max": 2,
        "write_deadline": "5s",
        "max_payload": 1 << 20,
        "max_control_line": 4096,
        "lame_duck_duration": "30s",
        "lame_duck_grace_period": "2s",
        "operator": kit.operator_jwt,
        "system_account": kit.system_account,
        "resolver": {
            "type": "full",
            "dir": str(folder / "jwt"),
            "allow_delete": False,
            "timeout": "100ms",
        },
        "resolver_preload": {
            kit.system_account: kit.system_jwt,
            kit.account: kit.account_jwt,
        },
        "jetstream": {
            "domain": kit.name,
            "store_dir": str(folder / "js"),
            "max_memory_store": config.max_memory_store_bytes,
            "max_file_store": config.max_file_store_bytes,
            "sync_interval": "always",
        },
        "tls": tls,
    }
    leafnodes = _leafnodes(config, folder, tls)
    if leafnodes:
        document["leafnodes"] = leafnodes
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _leafnodes(config: ServerConfig, folder: Path, tls: Mapping[str, object]) -> dict[str, object]:
    leafnodes: dict[str, object] = {}
    if config.leaf_port is not None:
        leafnodes |= {
            "host": config.host,
            "port": config.leaf_port,
            "isolate_leafnode_interest": True,  # right on the top hub only
            "tls": tls,
        }
    if config.hub is not None:
        urls = [config.hub.url]
        if config.hub.tls_name:
            urls.append(f"tls://{config.hub.tls_name}:{urlsplit(config.hub.url).port}")
        leafnodes |= {
            "reconnect": "1s",
            "remotes": [
                {
                    "urls": urls,
                    "no_randomize": True,
                    "account": config.kit.account,
                    "credentials": str(folder / "leaf.creds"),
                    "ignore_discovered_servers": True,
                    "tls": _tls(config.tls, verify=False),
                }
            ],
        }
    return leafnodes


def _tls(files: TlsFiles, *, verify: bool) -> dict[str, object]:
    tls: dict[str, object] = {
        "cert_file": str(files.certificate),
        "key_file": str(files.key),
        "ca_file": str(files.ca),
        "timeout": 5,
        "min_version": "1.3",
    }
    return tls | (asks_for_certificate() if verify else {})


def asks_for_certificate() -> dict[str, object]:
    """Return what makes a server refuse whoever shows no certificate of the roots."""
    return {"verify": True}
