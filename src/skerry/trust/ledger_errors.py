"""What the audit ledger refuses, each by a name that stays the same."""

from skerry.base.errors import Exit
from skerry.trust.errors import TrustError


class LedgerError(TrustError):
    """The audit ledger cannot be used or cannot keep an event, so the action is not done.

    Its file is held by another process, damaged, or on a disk that fails. What serves goes on;
    what needs a record of itself waits until it can have one.
    """

    code = "E0233"
    reason = "AUDIT_UNAVAILABLE"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "look at the disk that holds the ledger; `skerry audit verify` says what is left"


class LedgerFullError(LedgerError):
    """The disk is nearly full: privileged actions are refused, what is left is for evidence.

    Refusals and alarms are still written, into room that is kept for them.
    """

    code = "E0234"
    reason = "AUDIT_DISK_LOW"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "make room on that disk; actions are possible again as soon as there is some"


class LedgerTamperedError(TrustError):
    """A ledger is not what was written: an entry was changed, lost, moved or added.

    `seq` is the first entry that cannot be trusted; those before it are intact.
    """

    code = "E0235"
    exit_code = Exit.BAD_OUTCOME
    reason = "AUDIT_TAMPERED"

    def __init__(self, where: str, seq: int, why: str) -> None:
        super().__init__(where, seq, why)
        self.where, self.seq, self.why = where, seq, why

    def __str__(self) -> str:
        return f"{self.where}: entry {self.seq} is the first that cannot be trusted: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "keep the file as evidence; the SIEM and the witnesses hold what it was"


class LogForkError(TrustError):
    """A ledger shows two histories: its tree does not continue the one that was witnessed.

    It was put back to an older copy, rewritten, or shown differently to different witnesses.
    """

    code = "E0236"
    reason = "LOG_FORK"

    def __init__(self, chain: str, size: int, known_size: int, why: str) -> None:
        super().__init__(chain, size, known_size, why)
        self.chain, self.size, self.known_size, self.why = chain, size, known_size, why

    def __str__(self) -> str:
        return (
            f"{self.chain}: a tree of {self.size} entries does not continue the one of"
            f" {self.known_size} that was witnessed: {self.why}"
        )

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "treat the machine as broken into: compare its ledger with the witness's checkpoints"


class CheckpointError(TrustError):
    """A checkpoint or an exported entry cannot be read, or is not signed by the key it must be."""

    code = "E0237"
    reason = "CHECKPOINT_INVALID"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"{self.what[:200]}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "compare the key of the ledger with the one that its witness knows"


class WitnessRetiredError(TrustError):
    """This witness has lost what it had seen, so its signature would prove nothing any more.

    It is retired, not restarted: a witness that forgot would sign an old tree again.
    """

    code = "E0238"
    reason = "WITNESS_RETIRED"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        return f"the witness at {self.where} is retired: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "give the witness a new name by removing its folder; its old signatures stay valid"


class AuditExportError(TrustError):
    """Audit events cannot be handed over: the collector is away, or the settings do not fit.

    Nothing is lost: entries stay in the ledger and go out when the collector is back.
    """

    code = "E0239"
    exit_code = Exit.UNREACHABLE
    reason = "AUDIT_EXPORT"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        return f"audit export to {self.where}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "look at the collector and at `audit` in this process's settings"
