"""What a server needs to know: doors, bounds, providers, and whose name it answers in."""

from dataclasses import dataclass
from typing import Literal

import msgspec


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server needs to know. Ports: 0 takes any free one, None leaves the door out."""

    repository: str
    """The model repository, a folder."""
    host: str = "127.0.0.1"
    """The address of every TCP door."""
    http_port: int = 8000
    grpc_port: int | None = 8001
    metrics_port: int | None = 8002
    uds: str | None = None
    """Path of a Unix socket for the HTTP door, beside its port."""
    grpc_uds: str | None = None
    """The same for the gRPC door."""
    grpc_engine: Literal["own", "grpcio"] = "own"
    """What the gRPC door runs on: skerry's own HTTP/2, or the slower grpcio library."""
    tls_chain: str = ""
    """PEM file of a certificate and its issuers: the HTTP and gRPC ports then speak TLS."""
    tls_key: str = ""
    """PEM file of its private key."""
    tls_client_roots: str = ""
    """PEM file of authorities; clients must then show a certificate of theirs."""
    client_tokens: str = ""
    """File of names and token hashes; clients must then show a bearer token of theirs."""
    admin_over_tcp: bool = True
    """Whether loopback doors take repository commands; a Unix socket always does."""
    queue_len_max: int = 1024
    """Requests that may wait per model version, however short its runs are."""
    memory_bytes_max: int | None = None
    """Bound for the memory of all loaded models together; None for none."""
    providers: tuple[str, ...] = ()
    """Execution providers by preference, for models whose settings name none."""
    trace_file: str = ""
    """File for traces of requests; empty: none are made. What was in it goes."""
    drain_s: float = 10.0
    """Longest time that requests under way get when the server stops."""
    upstream_hosts: tuple[str, ...] = ()
    """Hosts other than loopback that the server behind a model may be at."""
    upstream_secrets: str = ""
    """Folder of the files that hold secrets for such servers; empty: none is read."""
    container_ports: str = ""
    """File that says at which ports a node's containers are; empty: there are none."""
    site: str = "local"
    node: str = "local/1"
    tier: str = "edge"


@dataclass(slots=True)
class Ports:
    """Where the doors listen, as opened; `extra` follows the listeners given."""

    http: int = 0
    grpc: int = 0
    metrics: int = 0
    extra: tuple[int, ...] = ()
