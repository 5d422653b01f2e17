"""Attacks on how a model came to be: no statement, one of other bytes, one by a stranger."""

import base64
import hashlib
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from skerry.client.provenance import envelope_for
from skerry.schema.policy import Policy
from skerry.schema.provenance import provenance_target
from skerry.schema.release import Facts
from skerry.testing.signed_fleet import (
    MODEL,
    POLICY_PATH,
    SITE,
    SignedFleet,
    manifest_of,
    policy_of,
)
from skerry.trust.acceptance import accept_desired
from skerry.trust.provenance import ProvenanceInvalid, ProvenanceMissing
from skerry.trust.roles import OfflineKeys

STATED = provenance_target("prod", "magika", 1)


class Trained:
    """A fleet that wants provenance, with a statement made by its own builder."""

    def __init__(self, folder: Path) -> None:
        self.fleet, self.folder = SignedFleet.found(folder), folder

    def statement(self, version: int, keys: OfflineKeys) -> bytes:
        folder = self.folder / f"model-{version}"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(manifest_of(version))
        envelope = envelope_for(folder, "prod", keys)
        assert envelope is not None
        return envelope

    def take(self, envelope: bytes | None) -> None:
        """Release model and statement as whoever holds the keys would, and let a node look."""
        der = load_pem_public_key(self.fleet.offline.public()["models"]).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        policy = msgspec.json.encode(
            msgspec.structs.replace(
                msgspec.json.decode(policy_of(1), type=Policy),
                provenance_required=True,
                builders=(base64.b64encode(der).decode(),),
            )
        )
        files = {MODEL: manifest_of(1), POLICY_PATH: policy}
        facts = {}
        if envelope is not None:
            files[STATED], facts[MODEL] = envelope, Facts(provenance=STATED)
        self.fleet.add(files, facts=facts)
        digest = hashlib.sha256(policy).hexdigest()
        self.fleet.send(self.fleet.desired(policy_sha256=digest))
        client = self.fleet.client()
        client.refresh()
        accept_desired(client, SITE)


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return Trained(tmp_path)


def test_a_model_with_its_builders_statement_is_taken(trained: Trained) -> None:
    trained.take(trained.statement(1, trained.fleet.offline))


@pytest.mark.attack(
    row="U20b",
    title="a model without a statement of how it was made, where the fleet wants one",
    refused="PROVENANCE_MISSING",
    off={"skerry.trust.provenance.check_stated": lambda *_: None},
)
def test_u20b_a_model_without_a_statement_is_refused(trained: Trained) -> None:
    with pytest.raises(ProvenanceMissing) as refusal:
        trained.take(None)
    assert refusal.value.reason == "PROVENANCE_MISSING"


@pytest.mark.attack(
    row="U20c",
    title="a sound statement, of another model",
    refused="PROVENANCE_INVALID",
    off={"skerry.trust.provenance.check_subject": lambda *_: None},
)
def test_u20c_a_statement_of_another_model_is_refused(trained: Trained) -> None:
    with pytest.raises(ProvenanceInvalid, match="says nothing of") as refusal:
        trained.take(trained.statement(2, trained.fleet.offline))
    assert refusal.value.reason == "PROVENANCE_INVALID"


@pytest.mark.attack(
    row="U20d",
    title="a statement that no builder of the fleet signed",
    refused="PROVENANCE_INVALID",
    off={"skerry.trust.provenance.check_builder": lambda *_: None},
)
def test_u20d_a_strangers_statement_is_refused(trained: Trained, tmp_path: Path) -> None:
    stranger = OfflineKeys.create(tmp_path / "stranger")
    with pytest.raises(ProvenanceInvalid, match="none of the fleet's builders"):
        trained.take(trained.statement(1, stranger))
