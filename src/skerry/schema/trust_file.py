"""The `trust:` part of the fleet file: what a fleet demands of machines, keys and people.

Every part is optional, and what is left out has the default that its field names.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from skerry.schema.access import TWO_PERSON
from skerry.schema.authored import Authored, Name, Quantity
from skerry.schema.clients import Who
from skerry.schema.tamper import Reaction


class AccessFile(Authored, frozen=True, kw_only=True):
    """Who may do what: roles of operators, what takes two people, policies of the fleet's own."""

    people: dict[Name, list[str]] = {}
    """Name in an operator's certificate to roles; nobody named: each operator holds all roles."""
    two_person: list[str] = msgspec.field(default_factory=lambda: list(TWO_PERSON))
    """Actions that a second person must approve; `apply` may be added."""
    policies: str = ""
    """Cedar policies, added to the shipped ones."""


class TamperFile(Authored, frozen=True, kw_only=True):
    """What a node does when its lid is opened outside a maintenance window."""

    on_open: str = Reaction.ZERO.value
    """`zero` its keys, `quarantine` it, or `alarm` only."""
    on_lost: str = Reaction.QUARANTINE.value
    """The same, when a sensor falls silent or flaps."""
    forget_enrolment: bool = False
    """Whether `zero` takes the enrolment key too: then only a new ticket brings the node back."""
    debounce: Quantity = "300 ms"
    """How long a sensor must read the same before it counts."""


class SignerFile(Authored, frozen=True, kw_only=True):
    """Somebody whose signature counts on custody entries."""

    name: Name
    key: str
    """The public key that `skerry custody key` printed."""
    may: Annotated[list[str], Meta(min_length=1)]
    """Steps that they may give or take: `made`, `shipped`, `received`, and so on."""


class CustodyFile(Authored, frozen=True, kw_only=True):
    """What a fleet demands of its machines' papers."""

    required: bool = False
    """Without an unbroken chain of custody a machine enrols into quarantine only."""
    signers: list[SignerFile] = []


class UpdatesFile(Authored, frozen=True, kw_only=True):
    """What nodes may install: the least release, and what single models demand."""

    min_release: Annotated[int, Meta(ge=0)] = 0
    """Once a release that says so is committed, a node installs no lower one again."""
    hw: dict[Name, list[str]] = {}
    """Model to the machine types that it may run on; others refuse it."""
    needs: dict[Name, list[str]] = {}
    """Model to other models that it does not work without."""


class AttestationFile(Authored, frozen=True, kw_only=True):
    """Whether machines must show, by a TPM 2.0, which machine they are and what they booted."""

    mode: str = "off"
    """`off`, `optional` (machines without a TPM may join, and are marked) or `required`."""
    makers: str = ""
    """File with certificates (PEM) of the TPM makers whose chips are taken."""
    reference: str = ""
    """File with the digests of what may be booted, from `skerry trust reference`."""
    secure_boot: bool = True
    """Whether Secure Boot must be on."""
    report: Quantity = "5 min"
    """Time between two reports of a node; three missed are a quarantine."""
    holds: Quantity = "30 d"
    """How long a pass holds for a node that cannot reach its region."""


class ClientsFile(Authored, frozen=True, kw_only=True):
    """Who may call the inference doors of a site."""

    who: str = Who.LOOPBACK.value
    """`loopback`, `token`, `certificate` or `open`."""
    tokens: dict[Name, str] = {}
    """Name of a client to the hash that `skerry trust client-token` printed."""
    roots: str = ""
    """Authorities (PEM) whose certificates are let in; without any, the fleet's own."""


class TrustFile(Authored, frozen=True, kw_only=True):
    """What the fleet demands; each part is explained in `docs/reference/fleet-file.md`."""

    access: AccessFile = AccessFile()
    tamper: TamperFile = TamperFile()
    clients: ClientsFile = ClientsFile()
    site_life: Quantity = "400 d"
    """How long a site that is cut off goes on issuing for itself."""
    custody: CustodyFile = CustodyFile()
    updates: UpdatesFile = UpdatesFile()
    attestation: AttestationFile = AttestationFile()
    provenance: str = "optional"
    """`required`: no site takes a model without a statement of how it was made."""
    builders: list[str] = []
    """Public keys, base64 of their DER; where there are any, one must have signed the statement."""
