"""Stating how a model was made, from what its folder knows; made once, then it stays beside it.

    <repository>/<name>/<version>/provenance.dsse.json

The file is not a member of the model: its digest must not change with who releases it. Holders
who sign a release together share it with the repository.

Errors:  ProvenanceInvalid, for a file there that is about other bytes.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from skerry import __version__
from skerry.base.files import write_atomic
from skerry.schema.model import CARD_FILE, Card, Manifest, manifest_target
from skerry.schema.provenance import (
    BUILD_TYPE,
    PROVENANCE_FILE,
    BuildDefinition,
    Builder,
    BuildMetadata,
    Provenance,
    RunDetails,
    Statement,
    Subject,
)
from skerry.trust.errors import KeyFileError
from skerry.trust.provenance import check_subject, open_statement, seal_statement
from skerry.trust.roles import OfflineKeys

MANIFEST_FILE = "manifest.json"
ROLE = "models"


def envelope_for(folder: Path, channel: str, keys: OfflineKeys) -> bytes | None:
    """Return the signed statement of a version folder; made and kept there if there is none yet.

    None where there is none and this operator holds no key to sign one with.
    """
    path = folder / PROVENANCE_FILE
    manifest = (folder / MANIFEST_FILE).read_bytes()
    if path.exists():
        held = path.read_bytes()
        statement, _ = open_statement(str(path), held)
        check_subject(str(path), statement, hashlib.sha256(manifest).hexdigest())
        return held
    try:
        signer = keys.all_signers()[keys.key_id(ROLE)]
    except (KeyFileError, KeyError):
        return None
    envelope = seal_statement(state(folder, channel, keys.holder), signer)
    write_atomic(path, envelope)
    return envelope


def state(folder: Path, channel: str, holder: str) -> Statement:
    """Return what is known of how a version folder was made."""
    data = (folder / MANIFEST_FILE).read_bytes()
    manifest = msgspec.json.decode(data, type=Manifest)
    made_at = datetime.fromtimestamp(int((folder / MANIFEST_FILE).stat().st_mtime), UTC)
    whole = Subject(
        name=manifest_target(channel, manifest.name, manifest.version),
        digest={"sha256": hashlib.sha256(data).hexdigest()},
    )
    members = [Subject(name=one.path, digest={"sha256": one.sha256}) for one in manifest.members]
    card = _card(folder)
    asked: dict[str, object] = {"name": manifest.name, "version": manifest.version}
    went_in: tuple[Subject, ...] = ()
    if card is not None:
        asked |= {"licence": card.licence, "framework": card.framework, "opset": card.opset}
        went_in = (Subject(uri=card.source),)
    if not isinstance(manifest.origin, msgspec.UnsetType):
        asked |= {"signature": "OpenSSF Model Signing", "signedBy": manifest.origin.signed_by}
    return Statement(
        subject=(whole, *members),
        predicate=Provenance(
            build_definition=BuildDefinition(
                build_type=BUILD_TYPE, external_parameters=asked, resolved_dependencies=went_in
            ),
            run_details=RunDetails(
                builder=Builder(id=f"urn:skerry:holder:{holder}", version={"skerry": __version__}),
                metadata=BuildMetadata(finished_on=made_at.isoformat().replace("+00:00", "Z")),
            ),
        ),
    )


def _card(folder: Path) -> Card | None:
    try:
        return msgspec.json.decode((folder / CARD_FILE).read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None  # a model's runtime in a container has no card
