"""A node's report for the stick, signed by its enrolment key: the one key that outlives everything.

A certificate of an hour would have ended on the way. The region that let the node in knows the
key, so what it reads is from that machine, and unchanged; how old it is the report says itself.

Errors:  ReportRefused.
"""

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from skerry.schema.stick_report import STICK_REPORT_SCHEMA, SignedReport, StickReport
from skerry.trust.errors import TrustError
from skerry.trust.registry import Registry

REPORT_BYTES_MAX = 64 * 1024**2
_CONTEXT = b"skerry stick report\0"
"""Before what is signed, so that no signature of the same key for something else passes here."""


class ReportRefused(TrustError):  # noqa: N818 - a refusal is a verdict, and reads as one
    """A report is not from the node that it names, was changed, or cannot be read."""

    code = "E0298"
    reason = "REPORT_REFUSED"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the report is not believed: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "read it at the region that the node joined; make it again at the node"


def sign_report(report: StickReport, key: EllipticCurvePrivateKey) -> bytes:
    """Return a report as it goes onto the stick."""
    data = msgspec.json.encode(report)
    signature = key.sign(_CONTEXT + data, ECDSA(hashes.SHA256()))
    return msgspec.json.encode(SignedReport(report=data, signature=signature))


def read_report(data: bytes, registry: Registry) -> StickReport:
    """Return a report that the registered key of its node signed; raises `ReportRefused`."""
    if len(data) > REPORT_BYTES_MAX:
        raise ReportRefused(f"it has {len(data)} bytes, over {REPORT_BYTES_MAX}")
    try:
        signed = msgspec.json.decode(data, type=SignedReport)
        report = msgspec.json.decode(signed.report, type=StickReport)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReportRefused(str(error)) from error
    if report.schema != STICK_REPORT_SCHEMA:
        raise ReportRefused(f"its form is {report.schema[:40]!r}, wanted {STICK_REPORT_SCHEMA!r}")
    pem = registry.enrolment_key(report.spiffe_id)
    if pem is None:
        raise ReportRefused(f"{report.spiffe_id[:120]} never joined here")
    key = load_pem_public_key(pem)
    try:
        if not isinstance(key, EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(signed.signature, _CONTEXT + signed.report, ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise ReportRefused(f"the key of {report.spiffe_id} did not sign it") from error
    return report
