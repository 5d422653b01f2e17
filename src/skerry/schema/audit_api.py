"""How ledgers and their witnesses speak, and where audit events are handed on to.

A process brings each new checkpoint to the process above it, which witnesses it and passes it
on to two neighbours; what they answer comes back with a later call. Hashes travel as hex.
"""

import msgspec


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What shows a witness that a tree continues the one of `old_size` that it has seen."""

    old_size: int
    hashes: tuple[str, ...] = ()


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint of somebody's ledger, with what its receiver needs to check it."""

    owner: str
    note: str
    key: str
    """The ledger's first key, taken as it comes by a witness that knows no other."""
    proof: Proof


class CheckpointPush(msgspec.Struct, frozen=True, kw_only=True):
    """A process brings its newest checkpoint, and what it did as a witness."""

    note: str
    key: str
    proof: Proof
    """For the receiver."""
    for_witnesses: dict[str, Proof] = {}
    """For the neighbours that the last reply named."""
    seen: dict[str, int] = {}
    """Sizes of neighbours' ledgers that the caller has seen, by chain."""
    cosigned: dict[str, str] = {}
    """Signature lines of the caller under neighbours' checkpoints, by chain."""
    refused: dict[str, str] = {}
    """Neighbours' checkpoints that the caller would not sign, and the stable word why."""


class CheckpointReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the receiver and the neighbours made of it."""

    known_size: int
    """Entries that the receiver has seen; another than was brought asks for a proof from there."""
    signatures: tuple[str, ...] = ()
    """Signature lines of witnesses under the caller's checkpoints."""
    witnesses: dict[str, int] = {}
    """Neighbours that wait for the caller's checkpoint, and the size that they have seen."""
    neighbours: tuple[Brought, ...] = ()
    """Checkpoints for the caller to witness."""


class SyslogExport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Syslog over TLS: RFC 5424 messages, counted octets (RFC 5425)."""

    host: str
    """Name or address of the collector; its certificate must carry it."""
    port: int = 6514
    """Its port."""
    roots: str = ""
    """PEM file with the roots that its certificate is checked against; empty: the system's."""
    identity: str = ""
    """PEM file with certificate and key to show; empty: none."""


class HttpExport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HTTP in batches: JSON lines, one event each, acknowledged by a status of 200 to 299."""

    url: str
    """`https://host[:port]/path`; plain `http://` only to loopback."""
    roots: str = ""
    """PEM file with the roots that its certificate is checked against; empty: the system's."""
    token_file: str = ""
    """File whose content is sent as bearer token; the token itself never stands in settings."""
    batch: int = 200
    """Events in one call at most."""


class AuditSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Where this process's audit events go besides its own ledger."""

    syslog: SyslogExport | None = None
    """A syslog collector."""
    http: HttpExport | None = None
    """An HTTP collector."""
    file: str = ""
    """A file that JSON lines are appended to."""
    reserve_bytes: int = 4 * 1024 * 1024
    """Free disk below which privileged actions are refused, and room kept for evidence, bytes."""
