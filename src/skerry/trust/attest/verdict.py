"""The verdict: evidence, what was asked for, reference values and the last state; nothing else.

First whether the evidence is genuine: of this challenge, of this TPM, of these PCRs. Evidence that
is not says nothing about the machine whose name it carries, and is only refused. Then what the
machine is: a genuine report of a bad state is held against it (`is_about_machine`).

Units:   `clock_ms` is the TPM's own milliseconds, `age_s` seconds since the challenge.
Errors:  none; what is wrong is in the verdict.
Source:  TPM 2.0 Library Part 1, section 36 (clock, reset and restart counters).
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from skerry.schema.attestation import BOOT_PCRS, Evidence, Reason, Reference, Verdict
from skerry.trust.attest.errors import MalformedError
from skerry.trust.attest.event_log import (
    NO_ACTION,
    SEPARATOR,
    Event,
    parse_event_log,
    replay,
    variable,
)
from skerry.trust.attest.public_area import PublicArea
from skerry.trust.attest.quote import (
    ALG_SHA256,
    MAGIC,
    Quote,
    parse_quote,
    pcr_digest,
    qualifying_data,
    signed_by,
)

NONCE_LIFE_S = 60.0
CLOCK_LOST_MS_MAX = 2**22
"""How far a TPM's clock may fall back when power fails: it is saved that seldom."""
SEPARATOR_DIGESTS = frozenset(
    {
        "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119",  # SHA-256 of 00000000
    }
)
ABOUT_MACHINE = frozenset(
    {
        Reason.LOG_REPLAY,
        Reason.REVOKED_COMPONENT,
        Reason.UNKNOWN_COMPONENT,
        Reason.SECUREBOOT_OFF,
        Reason.FW_BELOW_MIN,
        Reason.CLOCK_BACK,
        Reason.RESET_COUNT_BACK,
        Reason.STALE,
    }
)
_DETAILS_MAX = 8


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """What a TPM's own clock and counters said last."""

    clock_ms: int
    reset_count: int
    restart_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the challenger knows of the challenge that the evidence answers."""

    nonce: bytes
    secret: bytes
    ak: PublicArea
    age_s: float


def judge(
    evidence: Evidence, asked: Asked, reference: Reference, last: Counters | None
) -> tuple[Verdict, Counters | None]:
    """Return the verdict, and the counters of a genuine quote to keep for the next one."""
    try:
        quote = parse_quote(evidence.quoted)
        forged = _faults(
            (Reason.NONCE, nonce_fault(evidence, quote, asked)),
            (Reason.ACTIVATION, activation_fault(evidence, asked)),
            (Reason.MAGIC, magic_fault(quote)),
            (Reason.SIG, signature_fault(evidence, asked)),
            (Reason.PCR_SELECTION, selection_fault(evidence, quote)),
            (Reason.PCR_DIGEST, digest_fault(evidence, quote)),
        )
    except MalformedError as error:
        return _verdict([(Reason.MALFORMED, str(error))], reference), None
    if forged:
        return _verdict(forged, reference), None
    counters = Counters(
        clock_ms=quote.clock_ms, reset_count=quote.reset_count, restart_count=quote.restart_count
    )
    try:
        events = parse_event_log(evidence.event_log)
    except MalformedError as error:
        return _verdict([(Reason.LOG_REPLAY, str(error))], reference), counters
    differs = replay_fault(evidence, events)
    if differs:
        return _verdict([(Reason.LOG_REPLAY, differs)], reference), counters
    bad = _faults(
        *((Reason.REVOKED_COMPONENT, what) for what in revoked_components(events, reference)),
        *((Reason.UNKNOWN_COMPONENT, what) for what in unknown_components(events, reference)),
        (Reason.SECUREBOOT_OFF, secure_boot_fault(events, reference)),
        (Reason.FW_BELOW_MIN, firmware_fault(quote, reference)),
        (Reason.RESET_COUNT_BACK, reset_fault(quote, last)),
        (Reason.CLOCK_BACK, clock_fault(quote, last)),
        (Reason.STALE, age_fault(asked)),
    )
    return _verdict(bad, reference), counters


def is_about_machine(verdict: Verdict) -> bool:
    """Tell whether a failed verdict is the machine's own: genuine evidence of a bad state."""
    return bool(verdict.reasons) and all(reason in ABOUT_MACHINE for reason in verdict.reasons)


def nonce_fault(evidence: Evidence, quote: Quote, asked: Asked) -> str | None:
    """The quote must carry this challenge, this request, this log and this token."""
    wanted = qualifying_data(asked.nonce, evidence.csr_pem, evidence.event_log, evidence.token_id)
    if hmac.compare_digest(quote.extra, wanted):
        return None
    return "the quote answers another challenge, or binds another request, log or token"


def activation_fault(evidence: Evidence, asked: Asked) -> str | None:
    """Only the TPM that has both EK and AK can open the credential."""
    if hmac.compare_digest(evidence.secret, asked.secret):
        return None
    return "the credential was not opened: EK and AK do not live in one TPM"


def magic_fault(quote: Quote) -> str | None:
    """A TPM puts its magic before what it made itself, and signs no foreign bytes with it."""
    return None if quote.magic == MAGIC else f"{quote.magic:#010x} stands where a TPM puts its own"


def signature_fault(evidence: Evidence, asked: Asked) -> str | None:
    """The quote must be signed by the attestation key of the challenge."""
    if signed_by(asked.ak, evidence.quoted, evidence.signature):
        return None
    return "the quote is not signed by this machine's attestation key"


def selection_fault(evidence: Evidence, quote: Quote) -> str | None:
    """The quote must be over exactly the PCRs asked for, of the SHA-256 bank only."""
    if quote.selection == ((ALG_SHA256, BOOT_PCRS),) and set(evidence.pcrs) == set(BOOT_PCRS):
        return None
    return f"the quote is over {quote.selection}, wanted SHA-256 of {BOOT_PCRS}"


def digest_fault(evidence: Evidence, quote: Quote) -> str | None:
    """The values shown must be those quoted."""
    sound = all(len(value) == 32 for value in evidence.pcrs.values())
    if sound and hmac.compare_digest(quote.pcr_digest, pcr_digest(evidence.pcrs)):
        return None
    return "the PCR values are not those that were quoted"


def replay_fault(evidence: Evidence, events: list[Event]) -> str | None:
    """The log must lead to the quoted values; a PCR without events must be as after reset."""
    replayed = replay(events)
    differ = [str(pcr) for pcr, value in sorted(evidence.pcrs.items()) if replayed[pcr] != value]
    return f"the event log does not lead to PCR {', '.join(differ)}" if differ else None


def revoked_components(events: list[Event], reference: Reference) -> list[str]:
    """What was booted and is known to be vulnerable, however well it is signed."""
    revoked = set(reference.revoked)
    return [
        f"PCR {event.pcr}, {event.kind_name}: {event.digest.hex()} is revoked"
        for event in events
        if event.digest.hex() in revoked
    ][:_DETAILS_MAX]


def unknown_components(events: list[Event], reference: Reference) -> list[str]:
    """What was extended into a judged PCR and is not among its reference values."""
    allowed = {pcr: set(digests) for pcr, digests in reference.components.items()}
    return [
        f"PCR {event.pcr}, {event.kind_name}: {event.digest.hex()} is not known"
        for event in events
        if event.kind != NO_ACTION
        and event.pcr in allowed
        and event.digest.hex() not in allowed[event.pcr]
        and not (event.kind == SEPARATOR and event.digest.hex() in SEPARATOR_DIGESTS)
    ][:_DETAILS_MAX]


def secure_boot_fault(events: list[Event], reference: Reference) -> str | None:
    """Secure Boot must be on, by the first measurement of its variable into PCR 7."""
    if not reference.secure_boot:
        return None
    for event in events:
        found = variable(event) if event.pcr == 7 else None
        if found is not None and found[0] == "SecureBoot":
            if not event.speaks_true:
                return "the log's SecureBoot entry has another digest than its data"
            return None if found[1] == b"\x01" else "Secure Boot is switched off"
    return "the log does not say that Secure Boot is on"


def firmware_fault(quote: Quote, reference: Reference) -> str | None:
    """The TPM's own firmware must not be older than the fleet takes."""
    if quote.firmware >= reference.firmware_min:
        return None
    return f"TPM firmware {quote.firmware:#x}, wanted {reference.firmware_min:#x} or later"


def reset_fault(quote: Quote, last: Counters | None) -> str | None:
    """Resets are counted upwards: an older count is an older state, put back."""
    if last is None:
        return None
    now, before = (
        (quote.reset_count, quote.restart_count),
        (last.reset_count, last.restart_count),
    )
    return None if now >= before else f"resets and restarts {now}, and {before} was seen before"


def clock_fault(quote: Quote, last: Counters | None) -> str | None:
    """The TPM's clock goes forward; only a power cut may cost it what it had not saved."""
    if last is None:
        return None
    lost_ms = CLOCK_LOST_MS_MAX if quote.reset_count > last.reset_count else 0
    if quote.clock_ms >= last.clock_ms - lost_ms:
        return None
    return f"the TPM's clock fell from {last.clock_ms} ms to {quote.clock_ms} ms"


def age_fault(asked: Asked) -> str | None:
    """An answer that comes late may be of another moment."""
    if 0 <= asked.age_s <= NONCE_LIFE_S:
        return None
    return f"the challenge is {asked.age_s:.0f} s old, wanted {NONCE_LIFE_S:.0f} s at most"


def _faults(*findings: tuple[Reason, str | None]) -> list[tuple[Reason, str]]:
    return [(reason, detail) for reason, detail in findings if detail is not None]


def _verdict(bad: Iterable[tuple[Reason, str]], reference: Reference) -> Verdict:
    found = tuple(bad)
    return Verdict(
        reasons=tuple(reason for reason, _ in found),
        details=tuple(detail for _, detail in found),
        report_s=reference.report_s,
        holds_s=reference.holds_s,
    )
