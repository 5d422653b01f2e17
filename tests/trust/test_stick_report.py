"""A node's word on the stick's way back: signed by the key that it joined with, or not believed."""

import time
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.schema.stick_report import SignedReport, StickReport
from skerry.trust.registry import SqliteRegistry, TokenRow
from skerry.trust.stick_report import ReportRefused, read_report, sign_report

NODE = "spiffe://oslo.eu.clinic.example/node/1"
REPORT = StickReport(
    spiffe_id=NODE, at_unix_s=1.0, generation=2, on_trial=False, models={"magika": 1}
)
KEY = generate_private_key(SECP256R1())


@pytest.fixture
def registry(tmp_path: Path) -> SqliteRegistry:
    registry = SqliteRegistry(tmp_path / "enrolment.db")
    registry.add_token(TokenRow(sha256="t", spiffe_id=NODE, ends_unix_s=9.0))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert registry.enrol("t", NODE, public, 1.0)
    return registry


def test_what_the_node_signed_is_read(registry: SqliteRegistry) -> None:
    assert read_report(sign_report(REPORT, KEY), registry) == REPORT


def test_a_strangers_word_and_an_altered_one_are_not_believed(registry: SqliteRegistry) -> None:
    stranger = generate_private_key(SECP256R1())
    with pytest.raises(ReportRefused, match="did not sign it"):
        read_report(sign_report(REPORT, stranger), registry)
    signed = msgspec.json.decode(sign_report(REPORT, KEY), type=SignedReport)
    altered = signed.report.replace(b'"generation":2', b'"generation":9')
    with pytest.raises(ReportRefused, match="did not sign it"):
        read_report(msgspec.json.encode(msgspec.structs.replace(signed, report=altered)), registry)
    nobody = msgspec.structs.replace(REPORT, spiffe_id="spiffe://x/node/9")
    with pytest.raises(ReportRefused, match="never joined here"):
        read_report(sign_report(nobody, KEY), registry)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_whatever_lies_there_is_refused_at_once(registry: SqliteRegistry, data: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(ReportRefused):
        read_report(data, registry)
    with pytest.raises(ReportRefused):
        read_report(msgspec.json.encode(SignedReport(report=data, signature=data)), registry)
    assert time.process_time() - begun < 0.1
