"""`.skerry/run.json`: what runs in a local fleet and where it listens, for the CLI and the SDK.

Written by `skerry up`, whole or not at all, readable by its user only, and removed when
the fleet stops. `policy` and `tier_order` are the ones in force, so that a client on
this machine judges residency as the nodes do; `up` rewrites the file when they change.
"""

from pathlib import Path

import msgspec

from skerry.base.files import write_private
from skerry.schema.policy import Policy

RUN_SCHEMA = "skerry.run/1"
RUN_FILE = ".skerry/run.json"


class RunNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `http_url`, `grpc_url` are plain and on loopback; `peer_url` wants mutual TLS."""

    node: str
    site: str
    region: str
    tier: str
    http_url: str
    http_url_from: dict[str, str] = {}
    """Plain URL by a client's site, through the emulated link between them; none: no way."""
    grpc_url: str = ""
    peer_url: str = ""
    metrics_url: str = ""
    folder: str = ""
    agent_pid: int = 0
    worker_pid: int = 0


class RunRegion(msgspec.Struct, frozen=True, kw_only=True):
    """One region process."""

    url: str
    pid: int = 0


class RunLink(msgspec.Struct, frozen=True, kw_only=True):
    """One emulated link between two sites: `socket` takes the link emulator's commands."""

    a: str
    b: str
    round_trip_ms: float
    socket: str = ""


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """A running local fleet. Times are Unix seconds; `folder` is the fleet folder."""

    schema: str = RUN_SCHEMA
    fleet: str
    domain: str
    folder: str
    started_unix_s: float
    supervisor_pid: int = 0
    control_socket: str = ""
    central_url: str = ""
    central_pid: int = 0
    regions: dict[str, RunRegion] = {}
    nodes: tuple[RunNode, ...] = ()
    links: tuple[RunLink, ...] = ()
    tier_order: tuple[str, ...] = ()
    policy: Policy | None = None

    def at_site(self, site: str) -> tuple[RunNode, ...]:
        """Return the nodes of one site."""
        return tuple(node for node in self.nodes if node.site == site)

    def round_trip_ms(self, a: str, b: str) -> float:
        """Return the emulated round trip between two sites; 0 where no link is emulated."""
        ends = {a, b}
        return next((link.round_trip_ms for link in self.links if {link.a, link.b} == ends), 0.0)


def write_run_file(path: Path, run: RunFile) -> None:
    """Replace the run file, readable by this user only."""
    write_private(path, msgspec.json.format(msgspec.json.encode(run), indent=2))


def read_run_file(path: Path) -> RunFile:
    """Read a run file.

    Raises `OSError` where it cannot be read, `msgspec.DecodeError` where it is no run file.
    """
    return msgspec.json.decode(path.read_bytes(), type=RunFile)
