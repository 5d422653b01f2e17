"""The region's desk for machines: it asks, judges, remembers, and says who may join and renew.

    challenge   EK to a listed maker, key attributes, a nonce, a secret for that TPM only
    judge       evidence to a verdict; genuine evidence is noted under the node's name
    demand      before a certificate: evidence that is bound to this very request
    stands      how a node stands: passed, late after one missed report, quarantine after three,
                and at once when it failed

A verdict that the evidence is not genuine changes nothing for the node whose name it carries:
otherwise anybody could put a node into quarantine. Works with central away; what waits for an
answer is in memory, so after a restart machines ask again.

Units:   unix seconds.
Errors:  AttestationError with its reason; AttestationRequiredError; TokenBoundError.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.schema.attestation import (
    NONCE_BYTES,
    AttestationState,
    Challenge,
    ChallengeRequest,
    Evidence,
    Mode,
    Reason,
    Reference,
    Stands,
    Verdict,
)
from skerry.trust.attest.credential import make_credential
from skerry.trust.attest.ek_certificate import check_ek
from skerry.trust.attest.errors import AttestationError, AttestationRequiredError
from skerry.trust.attest.public_area import PublicArea, parse_public_area
from skerry.trust.attest.records import Machine, Records
from skerry.trust.attest.verdict import NONCE_LIFE_S, Asked, Counters, judge
from skerry.trust.enrol import TokenBoundError

PASS_AGE_S_MAX = 600.0
"""How long evidence that is bound to a request is good for it."""
MISSED_LATE, MISSED_QUARANTINE = 1.5, 3.0
"""Report intervals without a report: one missed is told, three are a quarantine."""
PENDING_MAX = SHOWN_MAX = 4096
PENDING_OF_ONE_MAX = 4
BARRED = frozenset({Reason.REVOKED_COMPONENT})
"""With these a machine gets no further certificate: it runs what must not be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A challenge that waits for its answer."""

    spiffe_id: str
    ek_sha256: str
    ak: PublicArea
    secret: bytes
    at_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """Genuine evidence, bound to one certificate request."""

    spiffe_id: str
    token_id: str
    verdict: Verdict
    machine: Machine


class Desk:
    """Challenges, verdicts and standing of a region's machines; any thread may call it."""

    def __init__(self, records: Records, reference: Callable[[], Reference], clock: Clock) -> None:
        self._records, self._reference, self._clock = records, reference, clock
        self._began_unix_s = clock.unix_s()
        self._turn = threading.Lock()
        self._pending: dict[bytes, _Pending] = {}
        self._shown: dict[bytes, _Shown] = {}

    @property
    def mode(self) -> Mode:
        """What the fleet demands."""
        return self._reference().mode

    def challenge(self, request: ChallengeRequest) -> Challenge:
        """Check whose TPM this is, and return what only it can answer."""
        now_unix_s = self._clock.unix_s()
        ek = parse_public_area(request.ek_public, "the EK")
        ek_sha256 = check_ek(
            request.ek_chain_der, ek, self._reference().roots_pem, now_unix_s=now_unix_s
        )
        ak = check_ak(request.ak_public)
        nonce, secret = secrets.token_bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
        credential, encrypted = make_credential(ek, ak.name, secret)
        pending = _Pending(
            spiffe_id=request.spiffe_id,
            ek_sha256=ek_sha256,
            ak=ak,
            secret=secret,
            at_unix_s=now_unix_s,
        )
        with self._turn:
            self._make_room(ek_sha256, now_unix_s)
            self._pending[nonce] = pending
        return Challenge(nonce=nonce, credential=credential, secret=encrypted)

    def judge(self, evidence: Evidence) -> Verdict:
        """Return the verdict; note it where the evidence is genuine."""
        now_unix_s, reference = self._clock.unix_s(), self._reference()
        with self._turn:
            pending = self._pending.pop(evidence.nonce, None)
        if pending is None or pending.spiffe_id != evidence.spiffe_id:
            return _refused(Reason.NONCE, "this challenge was not given out, or was used before")
        known = self._records.machine(evidence.spiffe_id)
        joining = bool(evidence.token_id)
        if known is not None and not joining and is_other(known, pending.ek_sha256):
            what = f"{evidence.spiffe_id} joined with another TPM"
            return _refused(Reason.IDENTITY_CLONED, what)
        same = known is not None and not is_other(known, pending.ek_sha256)
        asked = Asked(
            nonce=evidence.nonce,
            secret=pending.secret,
            ak=pending.ak,
            age_s=now_unix_s - pending.at_unix_s,
        )
        last = known.counters if known is not None and same else None
        verdict, counters = judge(evidence, asked, reference, last)
        if counters is None:
            return verdict
        machine = Machine(
            ek_sha256=pending.ek_sha256,
            ak_name=pending.ak.name,
            counters=_newest(counters, last),
            seen_unix_s=now_unix_s,
            reasons=verdict.reasons,
            detail="; ".join(verdict.details),
        )
        if same:
            self._records.keep(evidence.spiffe_id, machine)
        if evidence.csr_pem:
            shown = _Shown(
                spiffe_id=evidence.spiffe_id,
                token_id=evidence.token_id,
                verdict=verdict,
                machine=machine,
            )
            with self._turn:
                if len(self._shown) >= SHOWN_MAX:
                    del self._shown[next(iter(self._shown))]
                self._shown[hashlib.sha256(evidence.csr_pem).digest()] = shown
        return verdict

    def bind_token(self, token: str, ek_sha256: str) -> None:
        """Let a join token be used by the machine with this EK certificate only."""
        self._records.bind_token(token_id(token), ek_sha256)

    def demand(self, spiffe_id: str, csr_pem: bytes, token: str) -> None:
        """Raise why this request gets no certificate; `token` is empty for a renewal."""
        mode, now_unix_s = self.mode, self._clock.unix_s()
        if mode is Mode.OFF:
            return
        shown = self._of_request(spiffe_id, csr_pem, token, now_unix_s)
        wanted = self._records.token_key(token_id(token)) if token else ""
        if wanted and (shown is None or not same_key(wanted, shown.machine.ek_sha256)):
            raise TokenBoundError(spiffe_id, "another TPM, by its EK certificate")
        known = None if token else self._records.machine(spiffe_id)
        if shown is None:
            if mode is Mode.REQUIRED or known is not None:
                raise AttestationRequiredError(spiffe_id)
            return
        reasons, details = shown.verdict.reasons, shown.verdict.details
        if reasons and (token or not BARRED.isdisjoint(reasons)):
            raise AttestationError(reasons[0], details[0])

    def admitted(self, spiffe_id: str, csr_pem: bytes, token: str) -> None:
        """Tie the node to the machine that it joined or first attested with."""
        shown = self._of_request(spiffe_id, csr_pem, token, self._clock.unix_s())
        if shown is not None:
            self._records.keep(spiffe_id, shown.machine)
        elif token:
            self._records.forget(spiffe_id)  # a machine without TPM took its place

    def stands(self, spiffe_id: str) -> Stands:
        """Return how a node stands now."""
        return self.standings([spiffe_id])[spiffe_id]

    def standings(self, spiffe_ids: Iterable[str]) -> dict[str, Stands]:
        """Return how each of these nodes stands now."""
        reference, now_unix_s = self._reference(), self._clock.unix_s()
        if reference.mode is Mode.OFF:
            return {name: Stands() for name in spiffe_ids}
        machines = self._records.machines()
        return {
            name: standing(machines.get(name), reference, now_unix_s, self._began_unix_s)
            for name in spiffe_ids
        }

    def _of_request(
        self, spiffe_id: str, csr_pem: bytes, token: str, now_unix_s: float
    ) -> _Shown | None:
        """Return fresh evidence that is bound to this request, and let old ones go."""
        with self._turn:
            self._shown = {
                key: one
                for key, one in self._shown.items()
                if now_unix_s - one.machine.seen_unix_s <= PASS_AGE_S_MAX
            }
            shown = self._shown.get(hashlib.sha256(csr_pem).digest())
        wanted = token_id(token) if token else ""
        if shown is None or shown.spiffe_id != spiffe_id or shown.token_id != wanted:
            return None
        return shown

    def _make_room(self, ek_sha256: str, now_unix_s: float) -> None:
        """Drop what is too old, and the oldest of a TPM that asks often or of all when full."""
        old = [
            nonce
            for nonce, one in self._pending.items()
            if now_unix_s - one.at_unix_s > 2 * NONCE_LIFE_S
        ]
        own = [nonce for nonce, one in self._pending.items() if one.ek_sha256 == ek_sha256]
        for nonce in (*old, *own[: len(own) + 1 - PENDING_OF_ONE_MAX]):
            self._pending.pop(nonce, None)
        while len(self._pending) >= PENDING_MAX:
            del self._pending[next(iter(self._pending))]


def check_ak(data: bytes) -> PublicArea:
    """Return the attestation key, or raise what it lacks: AK_ATTRS."""
    ak = parse_public_area(data, "the attestation key")
    lacks = ak.lacks()
    if lacks:
        raise AttestationError(Reason.AK_ATTRS, f"the key lacks {', '.join(lacks)}")
    return ak


def standing(
    machine: Machine | None, reference: Reference, now_unix_s: float, began_unix_s: float
) -> Stands:
    """Return how a node stands: a plain function of what it last showed, and when.

    A region that was down itself counts from its own start: it cannot have missed a report.
    """
    if machine is None:
        if reference.mode is Mode.REQUIRED:
            return Stands(state=AttestationState.QUARANTINE, reason=str(Reason.REQUIRED))
        return Stands(state=AttestationState.NO_TPM)
    if machine.reasons:
        state, reason = AttestationState.QUARANTINE, f"{machine.reasons[0]}: {machine.detail}"
    else:
        since_s = now_unix_s - max(machine.seen_unix_s, began_unix_s)
        state, reason = AttestationState.PASSED, ""
        if since_s >= MISSED_LATE * reference.report_s:
            state, reason = AttestationState.LATE, f"{Reason.STALE}: no report for {since_s:.0f} s"
        if since_s >= MISSED_QUARANTINE * reference.report_s:
            state = AttestationState.QUARANTINE
    return Stands(state=state, reason=reason, ek_sha256=machine.ek_sha256)


def is_other(known: Machine, ek_sha256: str) -> bool:
    """Tell whether a TPM is another than the one a node joined with."""
    return not hmac.compare_digest(known.ek_sha256, ek_sha256)


def same_key(one: str, other: str) -> bool:
    """Compare two EK certificates by their digests."""
    return hmac.compare_digest(one, other)


def token_id(token: str) -> str:
    """Return what stands for a join token in a quote: its digest, never itself."""
    return hashlib.sha256(token.strip().encode()).hexdigest()


def _newest(counters: Counters, last: Counters | None) -> Counters:
    """Keep the higher ones: a report of a clock that fell back must not lower what is known."""
    if last is None:
        return counters
    key = (counters.reset_count, counters.restart_count, counters.clock_ms)
    return counters if key >= (last.reset_count, last.restart_count, last.clock_ms) else last


def _refused(reason: Reason, detail: str) -> Verdict:
    return Verdict(reasons=(reason,), details=(detail,))
