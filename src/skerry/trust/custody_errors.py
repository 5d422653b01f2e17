"""What is refused of a chain of custody, each by a name that stays the same."""

from skerry.base.errors import Exit
from skerry.trust.errors import TrustError


class CustodyError(TrustError):
    """Papers of a machine cannot be used."""

    code = "E0280"
    reason = "CUSTODY"


class CustodyFileError(CustodyError):
    """A custody file, an entry or a key in it cannot be read.

    An entry is one line of JSON of at most 8 kB; a chain has at most 4096. Ask whoever gave you
    the file for a whole copy: entries are signed, so a copy is as good as the original.
    """

    code = "E0281"
    exit_code = Exit.FILE_INVALID
    reason = "CUSTODY_FILE"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "ask for a whole copy; entries are signed, so a copy is as good as the original"


class CustodyBrokenError(CustodyError):
    """A machine's chain of custody has a gap: a step is missing, a seal differs, a signature fails.

    The message names the step. Such a machine enrols into quarantine only. If the gap is a lost
    paper, have giver and taker sign it; if it is not, treat the machine as opened by a stranger:
    docs/how-to/stolen-machine.md.
    """

    code = "E0282"
    reason = "CUSTODY_BROKEN"

    def __init__(self, machine: str, why: str) -> None:
        super().__init__(machine, why)
        self.machine, self.why = machine, why

    def __str__(self) -> str:
        return f"the chain of custody of {self.machine} is broken: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "find the missing paper, or treat the machine as opened by a stranger"


class CustodyConflictError(CustodyError):
    """An entry does not follow the last one that is kept: somebody added another meanwhile.

    Nothing was kept. Fetch the chain again and make the entry anew on top of it.
    """

    code = "E0283"
    exit_code = Exit.DIFFERENT
    reason = "CUSTODY_CONFLICT"

    def __init__(self, machine: str, offered: int, wanted: int) -> None:
        super().__init__(machine, offered, wanted)
        self.machine, self.offered, self.wanted = machine, offered, wanted

    def __str__(self) -> str:
        return (
            f"entry {self.offered} of {self.machine} does not follow what is kept; "
            f"wanted entry {self.wanted} on top of it"
        )

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "look at the chain (skerry custody show), and make the entry anew on top of it"


class SignerError(CustodyError):
    """A key is not the one that the fleet file names for this signer, or the name is not there."""

    code = "E0284"
    reason = "CUSTODY_SIGNER"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why

    def __str__(self) -> str:
        return f"{self.name} {self.why}"

    @property
    def hint(self) -> str:
        """Name the place."""
        return "signers and their keys are in the fleet file, below trust.custody.signers"
