"""Attacks on attestation: a region's desk, real software TPMs, and whoever lies to it.

Rows about what a fleet does on top (cutting links, audit) stand beside the parts that do it; here
the machine itself is attacked: its chip, its boot, its log, its place.
"""

import copy
import hashlib
import struct
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.node.attester import Attester
from skerry.schema.attestation import (
    AttestationState,
    Challenge,
    ChallengeRequest,
    Evidence,
    Reason,
    Reference,
    Verdict,
)
from skerry.testing.clock import ManualClock
from skerry.testing.paper_tpm import PaperTpm
from skerry.testing.simulated_boot import boot, loaded, reference_of, simulated_boot
from skerry.testing.swtpm import SoftwareTpm, TestMaker, installed
from skerry.trust.attest.desk import Desk
from skerry.trust.attest.errors import (
    AttestationError,
    AttestationRequiredError,
    MalformedError,
    SealLostError,
    TpmError,
)
from skerry.trust.attest.event_log import Event, build_event_log, parse_event_log
from skerry.trust.attest.public_area import RESTRICTED, parse_public_area
from skerry.trust.attest.quote import qualifying_data
from skerry.trust.attest.records import Records
from skerry.trust.attest.sealer import Sealer
from skerry.trust.enrol import (
    TokenBoundError,
    TokenExpiredError,
    TokenUsedError,
    admit_join,
    enrol_request,
    new_token,
)
from skerry.trust.identity import create_csr, new_key
from skerry.trust.registry import SqliteRegistry
from skerry.trust.spiffe import SpiffeId

OSLO, BERGEN = (f"spiffe://{site}.eu.clinic.example/node/1" for site in ("oslo", "bergen"))
NOTHING = lambda *_, **__: None  # noqa: E731 - a defence that is switched off
MAKER = TestMaker.create()
A07 = pytest.mark.attack(
    row="A07",
    title="a join token stolen, replayed, or kept for too long",
    refused="TOKEN_BOUND",
    off={"skerry.trust.attest.desk.same_key": lambda *_: True},
)
A09 = pytest.mark.attack(
    row="A09",
    title="an attestation key that is not in that TPM, or may sign anything",
    refused="ACTIVATION",
    off={
        "skerry.trust.attest.verdict.activation_fault": NOTHING,
        "skerry.trust.attest.desk.check_ak": lambda data: parse_public_area(data, "the key"),
    },
)
A10 = pytest.mark.attack(
    row="A10",
    title="an old quote again, and the quote of a healthy neighbour",
    refused="NONCE",
    off={
        "skerry.trust.attest.verdict.nonce_fault": NOTHING,
        "skerry.trust.attest.verdict.signature_fault": NOTHING,
    },
)
A11 = pytest.mark.attack(
    row="A11",
    title="a modified boot: something unknown was extended into PCR 4",
    refused="UNKNOWN_COMPONENT",
    off={"skerry.trust.attest.verdict.unknown_components": lambda *_: []},
)


@dataclass
class Machine:
    """A machine with a chip of its own, its event log, and the region it talks to."""

    chip: SoftwareTpm
    log: Path
    desk: Desk

    def starts(self, events: list[Event]) -> None:
        """Restart, and boot this."""
        self.chip.restart()
        with self.chip.open() as tpm:
            boot(tpm, events)
        self.log.write_bytes(build_event_log(events))

    def post(self, path: str, body: Any, kind: Any) -> Any:
        return self.desk.challenge(body) if kind is Challenge else self.desk.judge(body)

    def show(self, name: str = OSLO, **bound: Any) -> Verdict:
        """Attest as a node does, and return the verdict."""
        return Attester(self.chip.open, self.log).show(name, self.post, **bound)

    def evidence(self, name: str = OSLO, **bound: Any) -> Evidence:
        """Attest, but keep what would be sent."""
        kept: list[Evidence] = []

        def post(path: str, body: Any, kind: Any) -> Any:
            if kind is Challenge:
                return self.desk.challenge(body)
            kept.append(body)
            return Verdict()

        Attester(self.chip.open, self.log).show(name, post, **bound)
        return kept[0]

    def joins(self, name: str = OSLO) -> None:
        """Attest for a join, as admission would take it."""
        assert self.show(name, csr_pem=b"csr", token="token").passed
        self.desk.demand(name, b"csr", "token")
        self.desk.admitted(name, b"csr", "token")


@dataclass
class Place:
    """A region's desk and two machines, at a time that the test sets."""

    clock: ManualClock
    desk: Desk
    reference: Reference
    oslo: Machine
    bergen: Machine
    folder: Path


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SoftwareTpm]]:
    if not installed():
        pytest.skip("needs swtpm")
    pytest.importorskip("tpm2_pytss", reason="needs tpm2-pytss")
    folder = tmp_path_factory.mktemp("chips")
    with SoftwareTpm(folder / "a", MAKER) as one, SoftwareTpm(folder / "b", MAKER) as two:
        yield [one, two]


@pytest.fixture
def place(chips: list[SoftwareTpm], tmp_path: Path) -> Iterator[Place]:
    clock = ManualClock()
    records = Records(tmp_path / "machines.db")
    reference = reference_of(simulated_boot(), MAKER.root_pem)
    found: list[Place] = []
    desk = Desk(records, lambda: found[0].reference, clock)
    machines = [
        Machine(chip, tmp_path / name, desk)
        for chip, name in zip(chips, ("oslo", "bergen"), strict=True)
    ]
    found.append(Place(clock, desk, reference, *machines, tmp_path))
    for machine in machines:
        machine.starts(simulated_boot())
    yield found[0]
    records.close()


# --- A1, A2: one identity, another machine ----------------------------------------------


@pytest.mark.attack(
    row="A01",
    title="a stolen disk in other hardware: the folder of a node, another TPM",
    refused="IDENTITY_CLONED",
    off={"skerry.trust.attest.desk.is_other": lambda *_: False},
)
def test_a01_a_stolen_disk_in_other_hardware_gets_nothing_and_harms_nobody(place: Place) -> None:
    place.oslo.joins()
    sealer = Sealer(place.oslo.chip.open, place.folder / "sealed.json")
    sealer.seal(b"k" * 32)
    verdict = place.bergen.show(OSLO, csr_pem=b"stolen")
    assert verdict.reasons == (Reason.IDENTITY_CLONED,)
    with pytest.raises(AttestationRequiredError):
        place.desk.demand(OSLO, b"stolen", "")
    with pytest.raises(SealLostError):
        Sealer(place.bergen.chip.open, place.folder / "sealed.json").unseal()
    assert place.desk.stands(OSLO).state is AttestationState.PASSED
    assert place.oslo.show(OSLO, csr_pem=b"own").passed
    place.desk.demand(OSLO, b"own", "")


# --- A7: the join token -----------------------------------------------------------------


@A07
def test_a07_a_token_bound_to_a_tpm_is_of_no_use_to_another(place: Place) -> None:
    with place.oslo.chip.open() as tpm:
        certificate = tpm.endorsement()[2][0]
    place.desk.bind_token("token", hashlib.sha256(certificate).hexdigest())
    assert place.bergen.show(OSLO, csr_pem=b"theft", token="token").passed  # a sound machine
    with pytest.raises(TokenBoundError):
        place.desk.demand(OSLO, b"theft", "token")
    for csr in (b"csr", b"csr after a crash"):
        assert place.oslo.show(OSLO, csr_pem=csr, token="token").passed
        place.desk.demand(OSLO, csr, "token")


@A07
def test_a07_evidence_for_one_request_or_token_is_none_for_another(place: Place) -> None:
    assert place.oslo.show(OSLO, csr_pem=b"csr", token="token").passed
    for csr, token in ((b"other", "token"), (b"csr", "other"), (b"csr", "")):
        with pytest.raises(AttestationRequiredError):
            place.desk.demand(OSLO, csr, token)
    with pytest.raises(AttestationRequiredError):
        place.desk.demand(BERGEN, b"csr", "token")


@A07
def test_a07_a_token_works_once_for_15_minutes_and_again_for_the_same_key(tmp_path: Path) -> None:
    registry, name = SqliteRegistry(tmp_path / "enrolment.db"), SpiffeId.parse(OSLO)

    def ask(token: str, key: Any, at: float) -> None:
        request = enrol_request(key, name, create_csr(key, name), now_unix_s=at, token=token)
        admit_join(registry, request, now_unix_s=at)

    token, key = new_token(registry, name, now_unix_s=1000), new_key()
    ask(token, key, 1001)
    ask(token, key, 1002)
    with pytest.raises(TokenUsedError):
        ask(token, new_key(), 1003)
    late = new_token(registry, name, now_unix_s=1000)
    with pytest.raises(TokenExpiredError):
        ask(late, new_key(), 1000 + 15 * 60 + 1)
    registry.close()


# --- A8, A9: the chip -------------------------------------------------------------------


@pytest.mark.attack(
    row="A08",
    title="a TPM that no listed maker made: software where hardware is wanted",
    refused="EK_UNTRUSTED",
    off={"skerry.trust.attest.ek_certificate.check_chain": NOTHING},
)
def test_a08_a_software_tpm_is_no_makers_in_a_production_fleet(place: Place) -> None:
    real = TestMaker.create("A maker of real chips")
    place.reference = msgspec.structs.replace(place.reference, roots_pem=real.root_pem)
    with pytest.raises(AttestationError) as refused:
        place.oslo.show(OSLO, csr_pem=b"csr", token="token")
    assert refused.value.reason == "EK_UNTRUSTED"
    place.reference = msgspec.structs.replace(place.reference, roots_pem="")
    with pytest.raises(AttestationError, match="EK_UNTRUSTED"):
        place.oslo.show(OSLO)


@A09
def test_a09_a_key_in_another_tpm_does_not_get_past_the_credential(place: Place) -> None:
    """The EK of one machine, the key of the other; neither chip opens the credential alone."""
    with place.oslo.chip.open() as one, place.bergen.chip.open() as other:
        ek, ek_public, chain = one.endorsement()
        ak, ak_public = other.attestation_key()
        own, _ = one.attestation_key()
        request = ChallengeRequest(
            spiffe_id=OSLO, ek_chain_der=chain, ek_public=ek_public, ak_public=ak_public
        )
        challenge = place.desk.challenge(request)
        with pytest.raises(TpmError):
            one.activate(own, ek, challenge.credential, challenge.secret)
        log = build_event_log(simulated_boot())
        extra = qualifying_data(challenge.nonce, b"csr", log, "")
        quoted, signature, pcrs = other.quote(ak, challenge.pcrs, extra)
    evidence = Evidence(
        spiffe_id=OSLO,
        nonce=challenge.nonce,
        secret=bytes(32),
        quoted=quoted,
        signature=signature,
        pcrs=pcrs,
        event_log=log,
        csr_pem=b"csr",
    )
    assert place.desk.judge(evidence).reasons == (Reason.ACTIVATION,)
    with pytest.raises(AttestationRequiredError):
        place.desk.demand(OSLO, b"csr", "")


@A09
def test_a09_a_key_that_signs_whatever_it_is_given_is_no_attestation_key(place: Place) -> None:
    """Unrestricted, it would sign a quote that was made on paper."""
    paper = bytearray(PaperTpm().ak.encoded)
    paper[4:8] = (int.from_bytes(paper[4:8], "big") & ~RESTRICTED).to_bytes(4, "big")
    with place.oslo.chip.open() as tpm:
        _, ek_public, chain = tpm.endorsement()
    request = ChallengeRequest(
        spiffe_id=OSLO, ek_chain_der=chain, ek_public=ek_public, ak_public=bytes(paper)
    )
    with pytest.raises(AttestationError) as refused:
        place.desk.challenge(request)
    assert (refused.value.reason, "restricted" in str(refused.value)) == ("AK_ATTRS", True)


# --- A10: replay and relay --------------------------------------------------------------


@A10
def test_a10_an_old_quote_answers_no_new_challenge(place: Place) -> None:
    old = place.oslo.evidence()
    assert place.desk.judge(old).passed
    assert place.desk.judge(old).reasons == (Reason.NONCE,)  # its challenge is spent
    new = place.oslo.evidence()
    replayed = msgspec.structs.replace(new, quoted=old.quoted, signature=old.signature)
    assert place.desk.judge(replayed).reasons == (Reason.NONCE,)


@A10
def test_a10_a_healthy_neighbours_quote_is_signed_by_the_neighbour(place: Place) -> None:
    own = place.oslo.evidence(csr_pem=b"csr")
    extra = qualifying_data(own.nonce, b"csr", own.event_log, "")
    with place.bergen.chip.open() as neighbour:
        ak, _ = neighbour.attestation_key()
        quoted, signature, pcrs = neighbour.quote(ak, sorted(own.pcrs), extra)
    relayed = msgspec.structs.replace(own, quoted=quoted, signature=signature, pcrs=pcrs)
    assert place.desk.judge(relayed).reasons == (Reason.SIG,)


# --- A11, A12: the boot -----------------------------------------------------------------


@A11
def test_a11_a_modified_boot_is_quarantined_at_its_first_report(place: Place) -> None:
    place.oslo.joins()
    sealer = Sealer(place.oslo.chip.open, place.folder / "sealed.json")
    sealer.seal(b"k" * 32)
    rogue = loaded(b"rogue loader")
    place.oslo.starts([*simulated_boot(), rogue])
    verdict = place.oslo.show()
    assert verdict.reasons == (Reason.UNKNOWN_COMPONENT,)
    stands = place.desk.stands(OSLO)
    assert stands.state is AttestationState.QUARANTINE
    assert "PCR 4" in stands.reason
    assert rogue.digest.hex() in stands.reason
    with pytest.raises(SealLostError):
        sealer.unseal()
    place.oslo.starts(simulated_boot())
    assert place.oslo.show().passed
    assert place.desk.stands(OSLO).state is AttestationState.PASSED


@A11
def test_a11_a_modified_machine_cannot_join(place: Place) -> None:
    place.oslo.starts([*simulated_boot(), loaded(b"rogue loader")])
    place.oslo.show(OSLO, csr_pem=b"csr", token="token")
    with pytest.raises(AttestationError, match="UNKNOWN_COMPONENT"):
        place.desk.demand(OSLO, b"csr", "token")


@pytest.mark.attack(
    row="A12",
    title="an old, vulnerable boot loader, properly signed, Secure Boot on",
    refused="REVOKED_COMPONENT",
    off={"skerry.trust.attest.verdict.revoked_components": lambda *_: []},
)
def test_a12_a_revoked_boot_loader_ends_renewal_though_secure_boot_is_on(place: Place) -> None:
    place.oslo.joins()
    digest = loaded(b"loader 2.06").digest.hex()
    place.reference = msgspec.structs.replace(place.reference, revoked=(digest,))
    assert place.oslo.show(csr_pem=b"csr").reasons == (Reason.REVOKED_COMPONENT,)
    with pytest.raises(AttestationError, match="REVOKED_COMPONENT"):
        place.desk.demand(OSLO, b"csr", "")
    assert place.desk.stands(OSLO).state is AttestationState.QUARANTINE


# --- A13: the log -----------------------------------------------------------------------


def _lenient(data: bytes) -> list[Event]:
    """Take what can be read for the whole: what a reader without bounds would do."""
    try:
        return parse_event_log(data)
    except MalformedError:
        return []


def _logs(events: list[Event]) -> dict[str, bytes]:
    """What a machine that hides something may say it has booted."""
    whole, other = build_event_log(events), copy.copy(events)
    other[-1] = other[-1]._replace(digest=bytes(32))
    one = build_event_log(events[-1:])[len(build_event_log([])) :]
    return {
        "an event dropped": build_event_log(events[:-1]),
        "an event altered": build_event_log(other),
        "an event added": whole + one,
        "cut short": whole[:-3],
        "10^6 events": whole + one * 1_000_000,
        "length 2^32": whole + one[: -len(events[-1].data) - 4] + struct.pack("<I", 0xFFFFFFFF),
        "nothing": b"",
    }


@pytest.mark.attack(
    row="A13",
    title="a forged event log: dropped, altered, added, truncated, endless",
    refused="LOG_REPLAY",
    off={
        "skerry.trust.attest.verdict.replay_fault": NOTHING,
        "skerry.trust.attest.verdict.parse_event_log": _lenient,
    },
)
def test_a13_no_forged_log_leads_to_the_quoted_pcrs(place: Place) -> None:
    for what, log in _logs(simulated_boot()).items():
        place.oslo.log.write_bytes(log)
        evidence = place.oslo.evidence()
        began_s = time.thread_time()
        verdict = place.desk.judge(evidence)
        took_s = time.thread_time() - began_s
        assert verdict.reasons == (Reason.LOG_REPLAY,), what
        assert took_s < 0.1, what


def test_a13_an_endless_log_takes_no_memory(place: Place) -> None:
    evidence = place.oslo.evidence()
    endless = msgspec.structs.replace(evidence, event_log=b"\0" * (64 << 20))
    tracemalloc.start()
    assert not place.desk.judge(endless).passed
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


# --- silence ----------------------------------------------------------------------------


def test_one_missed_report_is_told_and_three_are_a_quarantine(place: Place) -> None:
    place.oslo.joins()
    seen = []
    for _ in range(4):
        seen.append(place.desk.stands(OSLO).state)
        place.clock.advance(place.reference.report_s)
    assert [state.value for state in seen] == ["passed", "passed", "late", "quarantine"]
    place.oslo.show()
    assert place.desk.stands(OSLO).state is AttestationState.PASSED
