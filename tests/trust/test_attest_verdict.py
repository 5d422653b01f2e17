"""The verdict: each lie and each bad state has its own name, and nothing else is said."""

import dataclasses
from collections.abc import Callable

import msgspec
import pytest

from skerry.schema.attestation import BOOT_PCRS, Evidence, Reason, Reference
from skerry.testing.paper_tpm import PaperTpm, attest
from skerry.testing.simulated_boot import loaded, reference_of, simulated_boot
from skerry.trust.attest import verdict as verdicts
from skerry.trust.attest.event_log import Event, build_event_log, replay
from skerry.trust.attest.public_area import AK_MUST
from skerry.trust.attest.quote import qualifying_data
from skerry.trust.attest.verdict import Asked, Counters, is_about_machine, judge

NONCE, SECRET = b"n" * 32, b"s" * 32
LAST = Counters(clock_ms=1_000_000, reset_count=5, restart_count=2)


@dataclasses.dataclass
class Bench:
    tpm: PaperTpm
    events: list[Event]
    reference: Reference

    def evidence(self, events: list[Event] | None = None, **quote: int) -> Evidence:
        log = build_event_log(self.events if events is None else events)
        values = replay(self.events if events is None else events)
        pcrs = {pcr: values[pcr] for pcr in BOOT_PCRS}
        quoted = attest(qualifying_data(NONCE, b"csr", log, "token"), pcrs, **quote)
        return Evidence(
            spiffe_id="spiffe://oslo.eu.clinic.example/node/1",
            nonce=NONCE,
            secret=SECRET,
            quoted=quoted,
            signature=self.tpm.sign(quoted),
            pcrs=pcrs,
            event_log=log,
            csr_pem=b"csr",
            token_id="token",
        )

    def judge(self, evidence: Evidence, *, age_s: float = 1.0) -> tuple[Reason, ...]:
        asked = Asked(nonce=NONCE, secret=SECRET, ak=self.tpm.ak, age_s=age_s)
        return judge(evidence, asked, self.reference, LAST)[0].reasons


@pytest.fixture
def bench() -> Bench:
    events = simulated_boot()
    return Bench(PaperTpm(), events, reference_of(events, ""))


def test_a_sound_machine_passes(bench: Bench) -> None:
    assert bench.judge(bench.evidence()) == ()


LIES: dict[Reason, Callable[[Evidence], Evidence]] = {
    Reason.NONCE: lambda e: msgspec.structs.replace(e, csr_pem=b"another"),
    Reason.ACTIVATION: lambda e: msgspec.structs.replace(e, secret=b"x" * 32),
    Reason.SIG: lambda e: msgspec.structs.replace(
        e, signature=e.signature[:-1] + bytes([e.signature[-1] ^ 1])
    ),
    Reason.PCR_DIGEST: lambda e: msgspec.structs.replace(e, pcrs=e.pcrs | {4: b"\1" * 32}),
    Reason.MALFORMED: lambda e: msgspec.structs.replace(e, quoted=e.quoted[:-1]),
}


@pytest.mark.parametrize("reason", LIES)
def test_each_lie_is_called_by_its_name_and_blames_nobody(bench: Bench, reason: Reason) -> None:
    told = LIES[reason](bench.evidence())
    asked = Asked(nonce=NONCE, secret=SECRET, ak=bench.tpm.ak, age_s=1.0)
    verdict, counters = judge(told, asked, bench.reference, LAST)
    assert verdict.reasons == (reason,)
    assert counters is None
    assert not is_about_machine(verdict)


def test_bytes_that_no_tpm_made_are_refused_by_their_magic(bench: Bench) -> None:
    assert bench.judge(bench.evidence(magic=0x00544347)) == (Reason.MAGIC,)


def test_another_bank_is_another_selection(bench: Bench) -> None:
    assert bench.judge(bench.evidence(bank=0x0004)) == (Reason.PCR_SELECTION,)


def test_a_log_that_leaves_an_event_out_does_not_lead_to_the_pcrs(bench: Bench) -> None:
    sound = bench.evidence()
    log = build_event_log(bench.events[:-1])
    quoted = attest(qualifying_data(NONCE, b"csr", log, "token"), sound.pcrs)
    told = msgspec.structs.replace(
        sound, event_log=log, quoted=quoted, signature=bench.tpm.sign(quoted)
    )
    assert bench.judge(told) == (Reason.LOG_REPLAY,)


def test_an_unknown_loader_is_named_with_its_pcr_kind_and_digest(bench: Bench) -> None:
    rogue = loaded(b"rogue")
    evidence = bench.evidence([*bench.events, rogue])
    asked = Asked(nonce=NONCE, secret=SECRET, ak=bench.tpm.ak, age_s=1.0)
    verdict, _ = judge(evidence, asked, bench.reference, LAST)
    assert verdict.reasons == (Reason.UNKNOWN_COMPONENT,)
    assert verdict.details == (
        f"PCR 4, EV_EFI_BOOT_SERVICES_APPLICATION: {rogue.digest.hex()} is not known",
    )
    assert is_about_machine(verdict)


def test_a_revoked_loader_is_refused_although_it_is_among_the_reference_values(
    bench: Bench,
) -> None:
    loader = loaded(b"loader 2.06")
    bench.reference = msgspec.structs.replace(bench.reference, revoked=(loader.digest.hex(),))
    assert bench.judge(bench.evidence()) == (Reason.REVOKED_COMPONENT,)


def test_secure_boot_off_and_unsaid_are_both_off(bench: Bench) -> None:
    off = simulated_boot(secure=False)
    bench.reference = reference_of([*bench.events, *off], "")
    assert bench.judge(bench.evidence(off)) == (Reason.SECUREBOOT_OFF,)
    unsaid = [event for event in off if event.pcr != 7]
    assert bench.judge(bench.evidence(unsaid)) == (Reason.SECUREBOOT_OFF,)


def test_a_secure_boot_entry_that_its_digest_does_not_cover_is_not_believed(bench: Bench) -> None:
    """The PCR holds the digest of *off*; the log says *on* beside the same digest."""
    off = simulated_boot(secure=False)
    on = simulated_boot()
    forged = [
        one._replace(data=other.data) if one.pcr == 7 else one
        for one, other in zip(off, on, strict=True)
    ]
    bench.reference = reference_of(forged, "")
    assert bench.judge(bench.evidence(forged)) == (Reason.SECUREBOOT_OFF,)


@pytest.mark.parametrize(
    ("quote", "reasons"),
    [
        ({"firmware": 6}, (Reason.FW_BELOW_MIN,)),
        ({"reset_count": 4}, (Reason.RESET_COUNT_BACK,)),
        ({"restart_count": 1}, (Reason.RESET_COUNT_BACK,)),
        ({"clock_ms": 999_999}, (Reason.CLOCK_BACK,)),
        ({"clock_ms": 999_999, "reset_count": 6, "restart_count": 0}, ()),
    ],
)
def test_firmware_counters_and_clock_only_go_forward(
    bench: Bench, quote: dict[str, int], reasons: tuple[Reason, ...]
) -> None:
    """After a power cut the clock may fall back by what the TPM had not saved yet."""
    bench.reference = msgspec.structs.replace(bench.reference, firmware_min=7)
    assert bench.judge(bench.evidence(**quote)) == reasons


def test_a_clock_that_falls_back_further_than_a_power_cut_explains_is_refused(
    bench: Bench,
) -> None:
    asked = Asked(nonce=NONCE, secret=SECRET, ak=bench.tpm.ak, age_s=1.0)
    last = msgspec.structs.replace(LAST, clock_ms=2 * verdicts.CLOCK_LOST_MS_MAX)
    evidence = bench.evidence(clock_ms=1, reset_count=6)
    assert judge(evidence, asked, bench.reference, last)[0].reasons == (Reason.CLOCK_BACK,)


def test_an_answer_that_comes_too_late_is_stale(bench: Bench) -> None:
    assert bench.judge(bench.evidence(), age_s=61) == (Reason.STALE,)


@pytest.mark.parametrize("missing", AK_MUST)
def test_an_attestation_key_lacking_an_attribute_is_told_so(missing: str) -> None:
    tpm = PaperTpm()
    bare = dataclasses.replace(tpm.ak, attributes=tpm.ak.attributes & ~AK_MUST[missing])
    assert bare.lacks() == (missing,)
    assert dataclasses.replace(tpm.ak, attributes=tpm.ak.attributes | 1 << 17).lacks() == (
        "not decrypt",
    )
