"""Attestation at a region: its two calls, and the signed reference values that it judges by.

The reference values come over the mirror like any other signed state. The region checks their
signatures itself, keeps what it accepted, and never takes an older generation: whoever holds
central's online keys, or this region's disk of last year, cannot loosen what is demanded.

Errors:  those of `skerry.trust.attest.desk`; each leaves as an `ErrorReply`.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
from anyio import to_thread

from skerry.base.errors import SkerryError
from skerry.base.files import write_private
from skerry.schema.attestation import (
    EVIDENCE_BODY_BYTES_MAX,
    AttestationState,
    ChallengeRequest,
    Evidence,
    Reference,
    Stands,
    Verdict,
    reference_target,
)
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.spine.https_server import Call, Reply, Route
from skerry.spine.source_limit import SourceLimit
from skerry.trust.attest.desk import Desk
from skerry.trust.attest.errors import AttestationError
from skerry.trust.attest.verdict import is_about_machine
from skerry.trust.update_client import UpdateClient

CHALLENGE_BODY_BYTES_MAX = 128 * 1024

log = logging.getLogger(__name__)


class SignedReference:
    """The reference values of the fleet, as last accepted, in one file."""

    def __init__(self, kept: Path, fleet: str) -> None:
        self._kept, self._path = kept, reference_target(fleet)
        self.current = self._read(fleet)

    def accept(self, client: UpdateClient) -> bool:
        """Take newer ones, once `client` has refreshed; say whether there were any."""
        try:
            if client.target_sha256(self._path) is None:
                return False  # this fleet never demanded anything
            found = msgspec.json.decode(client.target_bytes(self._path), type=Reference)
        except (SkerryError, msgspec.DecodeError) as error:
            log.error("reference values: %s", error)
            return False
        held = max(self.current.generation, client.generation_floor(self._path))
        if found == self.current or found.generation < held:
            return False
        client.raise_floor(self._path, found.generation)
        write_private(self._kept, msgspec.json.encode(found))
        self.current = found
        return True

    def _read(self, fleet: str) -> Reference:
        try:
            return msgspec.json.decode(self._kept.read_bytes(), type=Reference)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return Reference(fleet=fleet, generation=0)


class AttestationApi:
    """Answers machines: a challenge, a verdict. An address that is refused too often waits."""

    def __init__(
        self, desk: Desk, sources: SourceLimit, note: Note, on_verdict: Callable[[], None]
    ) -> None:
        self._desk, self._sources = desk, sources
        self._note, self._on_verdict = note, on_verdict

    def routes(self) -> list[Route]:
        """Return both calls; who has no certificate yet may call them."""
        return [
            Route("POST", "/v1/attest/challenge", self._challenge, None),
            Route("POST", "/v1/attest", self._attest, None),
        ]

    async def _challenge(self, call: Call) -> Reply:
        self._sources.check(call.source)
        try:
            request = await call.document(ChallengeRequest, bytes_max=CHALLENGE_BODY_BYTES_MAX)
            return await to_thread.run_sync(self._desk.challenge, request)
        except AttestationError as error:
            self._sources.count(call.source)
            await self._note(_event(request.spiffe_id, error.reason, error.detail))
            raise
        except SkerryError:
            self._sources.count(call.source)
            raise

    async def _attest(self, call: Call) -> Reply:
        self._sources.check(call.source)
        evidence = await call.document(Evidence, bytes_max=EVIDENCE_BODY_BYTES_MAX)
        verdict: Verdict = await to_thread.run_sync(self._desk.judge, evidence)
        if verdict.reasons and not is_about_machine(verdict):
            self._sources.count(call.source)
            detail = "; ".join(verdict.details)
            await self._note(_event(evidence.spiffe_id, verdict.reasons[0], detail))
        self._on_verdict()
        return verdict


def _event(spiffe_id: str, reason: str, text: str) -> AuditEvent:
    """Return what is written down of evidence that is not genuine."""
    return AuditEvent(
        kind=AuditKind.ATTEST,
        outcome=AuditOutcome.REFUSED,
        actor=spiffe_id[:256],
        target=spiffe_id[:256],
        reason=reason,
        text=text[:1024],
    )


def standing_event(region: str, spiffe_id: str, stands: Stands) -> AuditEvent:
    """Return what is written down when a node stands otherwise than before."""
    bad = stands.state in (AttestationState.QUARANTINE, AttestationState.LATE)
    return AuditEvent(
        kind=AuditKind.ATTEST,
        outcome=AuditOutcome.FAILED if bad else AuditOutcome.DONE,
        actor=region,
        target=spiffe_id,
        reason=stands.reason.partition(":")[0],
        text=f"{stands.state or 'nothing demanded'}: {stands.reason}"[:1024],
    )
