"""How an artifact came to be: an in-toto statement with an SLSA provenance predicate.

Only what is read or written here is named; a statement of another tool may say more.

Source:  in-toto attestation framework, Statement v1; SLSA 1.2, provenance predicate v1; DSSE 1.0.
"""

from typing import Any

import msgspec

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PROVENANCE_FILE = "provenance.dsse.json"
"""Beside the model's files; not a member, for it names their digest."""
BUILD_TYPE = "urn:skerry:model-add:1"
"""What skerry does to a model: read, convert, compare with its trainer, describe."""


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that a statement is about, or one that went into it."""

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = {}


class BuildDefinition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was asked for, and what went in."""

    build_type: str
    external_parameters: dict[str, Any]
    resolved_dependencies: tuple[Subject, ...] = ()


class Builder(msgspec.Struct, frozen=True, kw_only=True):
    """Who made it, and with which versions of what."""

    id: str
    version: dict[str, str] = {}


class BuildMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """When."""

    finished_on: str = ""
    """RFC 3339, UTC."""


class RunDetails(msgspec.Struct, frozen=True, kw_only=True):
    """How it was made."""

    builder: Builder
    metadata: BuildMetadata = BuildMetadata()


class Provenance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The SLSA predicate."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The in-toto statement: this is how these files were made."""

    type_: str = msgspec.field(name="_type", default=STATEMENT_TYPE)
    subject: tuple[Subject, ...]
    predicate_type: str = PREDICATE_TYPE
    predicate: Provenance


class EnvelopeSignature(msgspec.Struct, frozen=True, kw_only=True):
    """One signature of an envelope."""

    keyid: str = ""
    sig: bytes


class SignedEnvelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A DSSE envelope; in JSON, `payload` and `sig` are base64."""

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]


def provenance_target(channel: str, name: str, version: int) -> str:
    """Return the TUF target path of a model version's statement."""
    return f"{channel}/model/{name}/{version}.provenance.json"
