"""Provenance: stated once, signed, checked by the node that takes the model; and fuzzed."""

import base64
import hashlib
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.client.provenance import envelope_for
from skerry.schema.desired import Desired, desired_target
from skerry.schema.model import Manifest, Member, Origin, manifest_target
from skerry.schema.policy import Place, Policy, Residency, Stays, policy_target
from skerry.schema.provenance import PROVENANCE_FILE, provenance_target
from skerry.schema.release import Facts
from skerry.trust.acceptance import accept_desired
from skerry.trust.provenance import (
    ProvenanceInvalid,
    ProvenanceMissing,
    check_builder,
    check_subject,
    open_statement,
    read_builder,
)
from skerry.trust.roles import OfflineKeys

MODEL = manifest_target("prod", "magika", 1)
STATED = provenance_target("prod", "magika", 1)
MANIFEST = Manifest(
    name="magika",
    version=1,
    members=(Member(path="model.onnx", sha256="a" * 64, length_bytes=3),),
)
POLICY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={"health": Residency(stays=Stays.SITE)},
    model_classes={"magika": ("health",)},
    places={"oslo": Place(site="oslo", region="eu", jurisdiction="NO")},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version folder with a manifest."""
    folder = tmp_path / "models" / "magika" / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(MANIFEST))
    return folder


def builder(keys: OfflineKeys) -> str:
    der = load_pem_public_key(keys.public()["models"]).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def send(repo: Any, envelope: bytes | None, **policy: Any) -> Desired:
    """Release the model, with this statement, under this policy; returns what oslo is sent."""
    encoded = msgspec.json.encode(msgspec.structs.replace(POLICY, **policy))
    files = {MODEL: msgspec.json.encode(MANIFEST), policy_target("clinic"): encoded}
    facts = {}
    if envelope is not None:
        files[STATED] = envelope
        facts[MODEL] = Facts(provenance=STATED)
    repo.add(files, facts=facts)
    desired: Desired = repo.desired(policy_sha256=hashlib.sha256(encoded).hexdigest())
    repo.publisher.publish(desired={desired_target("oslo"): msgspec.json.encode(desired)})
    return desired


def accept(repo: Any) -> None:
    client = repo.client()
    client.refresh()
    accept_desired(client, "oslo")


def test_a_statement_is_made_once_and_says_how(repo: Any, folder: Path) -> None:
    envelope = envelope_for(folder, "prod", repo.offline)
    assert envelope is not None
    assert envelope_for(folder, "prod", repo.offline) == envelope
    statement, signed = open_statement("it", envelope)
    digest = hashlib.sha256(msgspec.json.encode(MANIFEST)).hexdigest()
    assert [one.name for one in statement.subject] == [MODEL, "model.onnx"]
    check_subject("it", statement, digest)
    check_builder("it", signed, [builder(repo.offline)])
    raw = msgspec.json.decode(signed.payload)
    assert raw["_type"] == "https://in-toto.io/Statement/v1"
    assert raw["predicateType"] == "https://slsa.dev/provenance/v1"
    assert raw["predicate"]["buildDefinition"]["externalParameters"]["name"] == "magika"
    assert raw["predicate"]["runDetails"]["metadata"]["finishedOn"].endswith("Z")


def test_a_checked_signature_goes_into_the_statement(repo: Any, folder: Path) -> None:
    manifest = msgspec.structs.replace(MANIFEST, origin=Origin(signed_by="ab" * 32))
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    statement, _ = open_statement("it", envelope_for(folder, "prod", repo.offline) or b"")
    asked = statement.predicate.build_definition.external_parameters
    assert asked["signedBy"] == "ab" * 32


def test_a_manifest_without_origin_has_the_digest_that_it_always_had() -> None:
    assert b"origin" not in msgspec.json.encode(MANIFEST)


def test_a_statement_beside_other_bytes_is_not_used(repo: Any, folder: Path) -> None:
    envelope_for(folder, "prod", repo.offline)
    other = msgspec.structs.replace(MANIFEST, version=2)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(ProvenanceInvalid, match="says nothing of sha256"):
        envelope_for(folder, "prod", repo.offline)


def test_a_node_takes_a_model_with_its_statement(repo: Any, folder: Path) -> None:
    envelope = envelope_for(folder, "prod", repo.offline)
    send(repo, envelope, provenance_required=True, builders=(builder(repo.offline),))
    accept(repo)


def test_a_fleet_that_wants_provenance_takes_no_model_without(repo: Any) -> None:
    send(repo, None)
    accept(repo)
    send(repo, None, generation=2, provenance_required=True)
    with pytest.raises(ProvenanceMissing):
        accept(repo)


def test_a_statement_of_another_model_is_refused_wanted_or_not(repo: Any, folder: Path) -> None:
    other = msgspec.structs.replace(MANIFEST, version=2)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(other))
    send(repo, envelope_for(folder, "prod", repo.offline))
    with pytest.raises(ProvenanceInvalid, match="says nothing of"):
        accept(repo)


def test_a_statement_that_no_builder_signed_is_refused(
    repo: Any, folder: Path, tmp_path: Path
) -> None:
    stranger = OfflineKeys.create(tmp_path / "stranger")
    send(repo, envelope_for(folder, "prod", stranger), builders=(builder(repo.offline),))
    with pytest.raises(ProvenanceInvalid, match="none of the fleet's builders"):
        accept(repo)


def test_an_altered_payload_loses_its_signature(repo: Any, folder: Path) -> None:
    whole = msgspec.json.decode(envelope_for(folder, "prod", repo.offline) or b"")
    payload = base64.b64decode(whole["payload"]).replace(b'"version":1', b'"version":9')
    whole["payload"] = base64.b64encode(payload).decode()
    _, envelope = open_statement("it", msgspec.json.encode(whole))
    with pytest.raises(ProvenanceInvalid):
        check_builder("it", envelope, [builder(repo.offline)])
    assert (folder / PROVENANCE_FILE).exists()


@pytest.mark.parametrize("text", ["", "QUJD", "not base64!", "A" * 1000])
def test_what_is_no_key_is_no_builder(text: str) -> None:
    with pytest.raises(ValueError, match="no public key"):
        read_builder(text)


SOUND = msgspec.json.encode(
    {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(b'{"_type":"x"}').decode(),
        "signatures": [{"keyid": "k", "sig": "AA=="}],
    }
)


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.tuples(st.integers(0, len(SOUND)), st.binary(max_size=40)).map(
            lambda cut: SOUND[: cut[0]] + cut[1] + SOUND[cut[0] :]
        ),
        st.binary(max_size=300).map(
            lambda data: SOUND.replace(base64.b64encode(b'{"_type":"x"}'), base64.b64encode(data))
        ),
    )
)
def test_whatever_an_envelope_holds_is_read_or_refused_at_once(data: bytes) -> None:
    begun = time.process_time()
    try:
        open_statement("it", data)
    except ProvenanceInvalid:
        pass
    assert time.process_time() - begun < 0.1
