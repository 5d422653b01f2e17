"""Attestation as it travels: challenge, evidence, reference values, verdict.

    node -> region   ChallengeRequest   whose TPM this is, and the attestation key in it
    region -> node   Challenge          a nonce, and a secret that only that TPM can open
    node -> region   Evidence           the secret, a quote, the event log
    region -> node   Verdict            passed or not, and the first reason why not

Reference values are signed by people offline and carried as a target; what a machine says of
itself is never taken for one.

Units:   unix seconds; `clock_ms` is the TPM's own milliseconds.
Source:  TPM 2.0 Library Part 1 (attestation), TCG EK Credential Profile 2.5.
"""

from enum import StrEnum

import msgspec

PCR_BANK = "sha256"
BOOT_PCRS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 14)
"""Firmware and its settings (0-3), boot loaders (4, 5), maker (6), Secure Boot (7), what the
boot loader read (9), and the machine owner's own (14), which tampering extends."""
NONCE_BYTES = 32
EVENT_LOG_BYTES_MAX = 1024 * 1024
EVIDENCE_BODY_BYTES_MAX = 1536 * 1024
"""Of `POST /v1/attest`: the log as base64, and the rest."""


class Reason(StrEnum):
    """Why a machine is not attested. Stable words, in the order in which they are judged."""

    REQUIRED = "ATTESTATION_REQUIRED"
    MALFORMED = "MALFORMED"
    EK_UNTRUSTED = "EK_UNTRUSTED"
    AK_ATTRS = "AK_ATTRS"
    IDENTITY_CLONED = "IDENTITY_CLONED"
    NONCE = "NONCE"
    ACTIVATION = "ACTIVATION"
    MAGIC = "MAGIC"
    SIG = "SIG"
    PCR_SELECTION = "PCR_SELECTION"
    PCR_DIGEST = "PCR_DIGEST"
    LOG_REPLAY = "LOG_REPLAY"
    REVOKED_COMPONENT = "REVOKED_COMPONENT"
    UNKNOWN_COMPONENT = "UNKNOWN_COMPONENT"
    SECUREBOOT_OFF = "SECUREBOOT_OFF"
    FW_BELOW_MIN = "FW_BELOW_MIN"
    CLOCK_BACK = "CLOCK_BACK"
    RESET_COUNT_BACK = "RESET_COUNT_BACK"
    STALE = "STALE"


class Mode(StrEnum):
    """What a fleet demands of the machines that join it."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class AttestationState(StrEnum):
    """How a node stands, as its region sees it. Nothing where the fleet demands nothing."""

    NONE = ""
    NO_TPM = "no-tpm"
    PASSED = "passed"
    LATE = "late"
    QUARANTINE = "quarantine"


class Stands(msgspec.Struct, frozen=True, kw_only=True):
    """State and the reason for it, for people."""

    state: AttestationState = AttestationState.NONE
    reason: str = ""
    ek_sha256: str = ""
    """SHA-256 (hex) of its TPM's EK certificate, where it showed one."""


class ChallengeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/attest/challenge`."""

    spiffe_id: str
    ek_chain_der: list[bytes]
    """The EK certificate, then those of its issuers that the TPM holds."""
    ek_public: bytes
    """TPMT_PUBLIC of the EK: its name algorithm and symmetric parameters are not in X.509."""
    ak_public: bytes
    """TPMT_PUBLIC of the attestation key."""


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What comes back: good once, for a minute."""

    nonce: bytes
    credential: bytes
    """TPM2B_ID_OBJECT."""
    secret: bytes
    """TPM2B_ENCRYPTED_SECRET."""
    pcrs: tuple[int, ...] = BOOT_PCRS
    """What the quote must be over, of the SHA-256 bank."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/attest`: what the machine shows. A report binds no request and no token."""

    spiffe_id: str
    nonce: bytes
    secret: bytes
    """What ActivateCredential gave: shows that AK and EK live in one TPM."""
    quoted: bytes
    """TPMS_ATTEST."""
    signature: bytes
    """TPMT_SIGNATURE."""
    pcrs: dict[int, bytes]
    """The PCR values themselves; the quote holds a digest over them."""
    event_log: bytes
    csr_pem: bytes = b""
    token_id: str = ""
    """SHA-256 (hex) of the join token, where the machine is joining."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, and why. Passed: no reasons."""

    reasons: tuple[Reason, ...] = ()
    details: tuple[str, ...] = ()
    """One sentence for each reason."""
    report_s: float = 300.0
    """When the next report is due."""
    holds_s: float = 0.0
    """How long a pass holds for a machine that cannot reach its region."""

    @property
    def passed(self) -> bool:
        """Tell whether nothing was wrong."""
        return not self.reasons


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet demands and knows to be good: a signed target, `reference_target`.

    `components` maps PCR to the digests (hex) that events may extend into it; a PCR that is not
    there is replayed but its components are not judged. `revoked` are digests that no machine may
    boot, even signed ones.
    """

    schema: str = "skerry.reference/1"
    fleet: str
    generation: int = 1
    mode: Mode = Mode.OFF
    roots_pem: str = ""
    """Certificates of TPM makers (and intermediates) that EK certificates may lead to."""
    components: dict[int, tuple[str, ...]] = {}
    revoked: tuple[str, ...] = ()
    secure_boot: bool = True
    """Whether Secure Boot must be on, as PCR 7's events say."""
    firmware_min: int = 0
    """Least firmware version of the TPM, as quotes carry it."""
    report_s: float = 300.0
    """Time between two reports; one missed is told, three are a quarantine."""
    holds_s: float = 30 * 86_400.0
    """How long a pass holds for a machine that cannot reach its region."""


def reference_target(fleet: str) -> str:
    """Return the TUF target path of a fleet's reference values."""
    return f"prod/policy/{fleet}.reference.json"
