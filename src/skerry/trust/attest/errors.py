"""What attestation refuses, each by a name that stays the same."""

from skerry.schema.attestation import Reason
from skerry.trust.errors import TrustError


class AttestationError(TrustError):
    """A machine could not show that it is the one we know and booted what was signed.

    `reason` is the stable word: NONCE, SIG, EK_UNTRUSTED, UNKNOWN_COMPONENT and so on;
    `docs/explanation/attestation.md` explains each.
    """

    code = "E0270"
    reason = "NOT_ATTESTED"

    def __init__(self, reason: Reason | str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = str(reason), detail

    def __str__(self) -> str:
        return f"the machine is not attested ({self.reason}): {self.detail}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return f"look {self.reason} up in docs/explanation/attestation.md; nothing was admitted"


class MalformedError(AttestationError):
    """A structure from a TPM or an event log is cut short, too long, or of an unknown form."""

    code = "E0271"

    def __init__(self, what: str, at: int, why: str) -> None:
        super().__init__(Reason.MALFORMED, f"{what}, byte {at}: {why}")
        self.args = (what, at, why)  # whole, so it pickles
        self.what, self.at, self.why = what, at, why


class AttestationRequiredError(AttestationError):
    """The fleet demands a fresh passing attestation for this, and there is none.

    Give the machine's TPM in its settings (`tpm`), or let the fleet file say
    `trust: {attestation: {mode: optional}}`.
    """

    code = "E0272"

    def __init__(self, who: str) -> None:
        super().__init__(Reason.REQUIRED, f"{who} brought no attestation, and the fleet demands it")
        self.args = (who,)
        self.who = who

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "set `tpm` in the node's settings; docs/how-to/require-a-tpm.md"


class TpmError(TrustError):
    """This machine's TPM cannot be used: absent, busy, or it refused a command.

    On Linux the user needs access to /dev/tpmrm0 (group `tss`), and `skerry[tpm]` installed.
    """

    code = "E0273"
    reason = "TPM"

    def __init__(self, did: str, why: str) -> None:
        super().__init__(did, why)
        self.did, self.why = did, why

    def __str__(self) -> str:
        return f"the TPM: {self.did}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "check /dev/tpmrm0 and that this user may open it; pip install 'skerry[tpm]'"


class SealLostError(TpmError):
    """A key sealed to this TPM cannot be opened: the machine booted something else, or was opened.

    This is what sealing is for. Approve the machine again and let it seal anew.
    """

    code = "E0274"
    reason = "SEAL_LOST"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "restart the machine; if it stays, approve it again, it then seals a new key"


class ReferenceFileError(TrustError):
    """A file of reference values or of maker roots cannot be used."""

    code = "E0275"
    reason = "REFERENCE"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path} {self.why}"
