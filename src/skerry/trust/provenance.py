"""Provenance: how a model was made, stated and signed, and checked before it is taken.

The statement lies beside the model as a target of its own, so the offline role vouches for it;
the envelope around it is signed by whoever made the release. A fleet that names its builders
wants one of their signatures in it too.

Units:   bytes.
Errors:  ProvenanceMissing, ProvenanceInvalid (refusals), ProvenanceError (while it is made).
Source:  DSSE 1.0 through securesystemslib; in-toto Statement v1; SLSA 1.2. What is claimed is
         Build L1: it exists, says how, and is signed.
"""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.exceptions import VerificationError

from skerry.schema.policy import Policy
from skerry.schema.provenance import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    EnvelopeSignature,
    SignedEnvelope,
    Statement,
)
from skerry.trust._tuf import Envelope, Key, Signature, Signer, SSlibKey
from skerry.trust.errors import UpdateRefused

if TYPE_CHECKING:
    from skerry.trust.update_client import SignedTarget, UpdateClient

ENVELOPE_BYTES_MAX = 64 * 1024
SIGNATURES_MAX = 16
SUBJECTS_MAX = 1000


class ProvenanceMissing(UpdateRefused):
    """A model comes without a statement of how it was made, and the fleet wants one."""

    code = "E0207"
    reason = "PROVENANCE_MISSING"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "apply again with a skerry that states it, or set `trust.provenance` to optional"


class ProvenanceInvalid(UpdateRefused):
    """The statement of how a model was made is of another model, another form, or not signed.

    A statement that is there is checked, whether the fleet wants one or not.
    """

    code = "E0208"
    reason = "PROVENANCE_INVALID"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "release the model again; check `trust.builders` against whoever released it"


def seal_statement(statement: Statement, signer: Signer) -> bytes:
    """Return a statement in an envelope that this key signed."""
    envelope = Envelope(msgspec.json.encode(statement), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    signatures = tuple(
        EnvelopeSignature(keyid=one.keyid, sig=bytes.fromhex(one.signature))
        for one in envelope.signatures.values()
    )
    return msgspec.json.encode(
        SignedEnvelope(payload_type=PAYLOAD_TYPE, payload=envelope.payload, signatures=signatures)
    )


def open_statement(what: str, data: bytes) -> tuple[Statement, SignedEnvelope]:
    """Read an envelope and the statement in it, for form only; raises `ProvenanceInvalid`."""
    if len(data) > ENVELOPE_BYTES_MAX:
        raise ProvenanceInvalid(what, f"it has {len(data)} bytes, over {ENVELOPE_BYTES_MAX}")
    try:
        envelope = msgspec.json.decode(data, type=SignedEnvelope)
        statement = msgspec.json.decode(envelope.payload, type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProvenanceInvalid(what, str(error)) from error
    for field, found, wanted in (
        ("payloadType", envelope.payload_type, PAYLOAD_TYPE),
        ("_type", statement.type_, STATEMENT_TYPE),
        ("predicateType", statement.predicate_type, PREDICATE_TYPE),
    ):
        if found != wanted:
            raise ProvenanceInvalid(what, f"its {field} is {found[:80]!r}, wanted {wanted!r}")
    if len(envelope.signatures) > SIGNATURES_MAX or len(statement.subject) > SUBJECTS_MAX:
        raise ProvenanceInvalid(what, "it has more signatures or subjects than any sound one")
    return statement, envelope


def check_provenance(client: "UpdateClient", image: "SignedTarget", policy: Policy) -> None:
    """Refuse a model whose statement is not the one that the fleet wants of it."""
    path = image.facts.provenance
    if not path:
        check_stated(image, policy)
        return
    statement, envelope = open_statement(path, client.target_bytes(path))
    check_subject(path, statement, image.sha256)
    if policy.builders:
        check_builder(path, envelope, policy.builders)


def check_stated(image: "SignedTarget", policy: Policy) -> None:
    """Refuse a model that nothing is stated of, where the fleet wants a statement."""
    if policy.provenance_required:
        raise ProvenanceMissing(image.path, "nothing says how it was made")


def check_subject(what: str, statement: Statement, sha256: str) -> None:
    """Refuse a statement about other bytes than these."""
    if all(subject.digest.get("sha256") != sha256 for subject in statement.subject):
        raise ProvenanceInvalid(what, f"it says nothing of sha256 {sha256[:12]}")


def check_builder(what: str, envelope: SignedEnvelope, builders: Sequence[str]) -> None:
    """Refuse an envelope that none of the fleet's builders signed."""
    keys = [read_builder(text) for text in builders]
    signatures = {one.keyid: Signature(one.keyid, one.sig.hex()) for one in envelope.signatures}
    signed = Envelope(envelope.payload, envelope.payload_type, signatures)
    try:
        signed.verify(keys, 1)
    except VerificationError as error:
        raise ProvenanceInvalid(what, "none of the fleet's builders signed it") from error


def read_builder(text: str) -> Key:
    """Return the key that `trust.builders` writes as base64 of its DER; raises `ValueError`."""
    try:
        public = load_der_public_key(base64.b64decode(text, validate=True))
        return SSlibKey.from_crypto(public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"no public key in base64 of its DER form: {error}") from error
