"""Provenance: stated once, signed, checked by the node that takes the model; and fuzzed."""

import base64
import hashlib
import time
from pathlib import Path

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
from skerry.schema.model import Manifest, Member, Origin, manifest_target
from skerry.schema.provenance import PROVENANCE_FILE
from skerry.trust.provenance import (
    ProvenanceInvalid,
    check_builder,
    check_subject,
    open_statement,
    read_builder,
)
from skerry.trust.roles import OfflineKeys

MODEL = manifest_target("prod", "magika", 1)
MANIFEST = Manifest(
    name="magika",
    version=1,
    members=(Member(path="model.onnx", sha256="a" * 64, length_bytes=3),),
)


@pytest.fixture
def keys(tmp_path: Path) -> OfflineKeys:
    return OfflineKeys.create(tmp_path / "offline")


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


def test_a_statement_is_made_once_and_says_how(keys: OfflineKeys, folder: Path) -> None:
    envelope = envelope_for(folder, "prod", keys)
    assert envelope is not None
    assert envelope_for(folder, "prod", keys) == envelope
    statement, signed = open_statement("it", envelope)
    digest = hashlib.sha256(msgspec.json.encode(MANIFEST)).hexdigest()
    assert [one.name for one in statement.subject] == [MODEL, "model.onnx"]
    check_subject("it", statement, digest)
    check_builder("it", signed, [builder(keys)])
    raw = msgspec.json.decode(signed.payload)
    assert raw["_type"] == "https://in-toto.io/Statement/v1"
    assert raw["predicateType"] == "https://slsa.dev/provenance/v1"
    assert raw["predicate"]["buildDefinition"]["externalParameters"]["name"] == "magika"
    assert raw["predicate"]["runDetails"]["metadata"]["finishedOn"].endswith("Z")


def test_a_checked_signature_goes_into_the_statement(keys: OfflineKeys, folder: Path) -> None:
    manifest = msgspec.structs.replace(MANIFEST, origin=Origin(signed_by="ab" * 32))
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    statement, _ = open_statement("it", envelope_for(folder, "prod", keys) or b"")
    asked = statement.predicate.build_definition.external_parameters
    assert asked["signedBy"] == "ab" * 32


def test_a_manifest_without_origin_has_the_digest_that_it_always_had() -> None:
    assert b"origin" not in msgspec.json.encode(MANIFEST)


def test_a_statement_beside_other_bytes_is_not_used(keys: OfflineKeys, folder: Path) -> None:
    envelope_for(folder, "prod", keys)
    other = msgspec.structs.replace(MANIFEST, version=2)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(ProvenanceInvalid, match="says nothing of sha256"):
        envelope_for(folder, "prod", keys)


def test_an_altered_payload_loses_its_signature(keys: OfflineKeys, folder: Path) -> None:
    whole = msgspec.json.decode(envelope_for(folder, "prod", keys) or b"")
    payload = base64.b64decode(whole["payload"]).replace(b'"version":1', b'"version":9')
    whole["payload"] = base64.b64encode(payload).decode()
    _, envelope = open_statement("it", msgspec.json.encode(whole))
    with pytest.raises(ProvenanceInvalid):
        check_builder("it", envelope, [builder(keys)])
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
