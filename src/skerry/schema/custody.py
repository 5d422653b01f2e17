"""Chain of custody: who handed a machine to whom, from the factory to the scrap heap.

Each hand-over is a `CustodyEntry`, signed by who gives and by who takes, and names the digest
of the entry before it. A chain is kept as JSON lines, one signed entry on each, in the envelope
of DSSE 1.0, so that the fleet's store, a folder on a USB stick and somebody else's tool read
the same bytes.

Units:   unix seconds.
Source:  github.com/secure-systems-lab/dsse, protocol.md and envelope.md.
"""

from enum import StrEnum

import msgspec

CUSTODY_SCHEMA = "skerry.custody/1"
PAYLOAD_TYPE = "application/vnd.skerry.custody+json"
ENTRY_BYTES_MAX = 8 * 1024
"""Bytes of one signed entry, as a line."""
ENTRIES_MAX = 4096
"""Entries of one machine: one a day for eleven years."""


class Step(StrEnum):
    """What an entry tells."""

    MADE = "made"
    """The factory record: serial, board ids, the digest of the TPM's certificate, seals."""
    SHIPPED = "shipped"
    RECEIVED = "received"
    INSTALLED = "installed"
    """In its place: from here on it serves as the node that `place` names."""
    WINDOW = "window"
    """A span in which the lid may be open, agreed before."""
    VISIT = "visit"
    """Somebody was there: who, with which badge, from when to when, seals before and after."""
    BADGE = "badge"
    """A badge was handed out or taken back."""
    SEAL = "seal"
    """Seals were replaced with the lid shut."""
    OPENED = "opened"
    REPAIRED = "repaired"
    """Shut again, under new seals."""
    SCRAPPED = "scrapped"


class CustodyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One hand-over or visit, as both sign it."""

    schema: str = CUSTODY_SCHEMA
    machine: str
    """The serial number; one machine, one chain."""
    number: int
    """Place in the chain, from 0."""
    previous: str
    """SHA-256 of the payload of the entry before, in hex; empty for the first."""
    step: Step
    at_unix_s: int
    giver: str
    """Who gives the machine, or lets somebody near it; a name among the fleet's signers."""
    taker: str
    """Who takes it, or comes to it."""
    place: str = ""
    """Where it then is: a site, or `<site>/<n>` once it is installed."""
    seals_found: tuple[str, ...] = ()
    """Numbers of the seals as the taker read them off."""
    seals_left: tuple[str, ...] = ()
    """Numbers of the seals that are on it from now on."""
    badge: str = ""
    starts_unix_s: int = 0
    """Of a window or a visit."""
    ends_unix_s: int = 0
    facts: dict[str, str] = {}
    """Of a factory record: `ek_sha256`, `board`, and what else the maker states."""
    text: str = ""


class EntrySignature(msgspec.Struct, frozen=True):
    """A signer's name and Ed25519 signature."""

    keyid: str
    sig: bytes


class SignedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A DSSE envelope; `payload` is the JSON of a `CustodyEntry`, as it was signed."""

    payload: bytes
    payload_type: str = msgspec.field(default=PAYLOAD_TYPE, name="payloadType")
    signatures: tuple[EntrySignature, ...] = ()


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose signature counts, and for what."""

    name: str
    key: str
    """The Ed25519 public key, 32 bytes in base64."""
    may: tuple[Step, ...]


class CustodyPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet demands of its machines' papers."""

    required: bool = False
    """Without an unbroken chain a machine enrols into quarantine only."""
    signers: tuple[Signer, ...] = ()


class CustodyChain(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/custody/<machine>`: its chain; `GET /v1/papers/<node>`: entries that name it."""

    entries: tuple[SignedEntry, ...] = ()
    quarantine: str = ""
    """Why the node that they name has to stay in quarantine, by its machine's whole chain."""


class CustodyMachines(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/custody`: every machine that has papers."""

    machines: tuple[str, ...]
