"""Errors in four parts: what happened, where, why if known, what to do.

Every error a user can meet descends from `SkerryError` through its room's base
class. The text (`str`) says what was found, where, and what was wanted; `hint`
says what to do; `code` is stable and explained by `skerry help CODE`;
`exit_code` is what the command line ends with.

Exit codes: 0 done, 1 ran and the outcome is bad, 2 wrong use, 3 file invalid,
4 differences exist, 5 unreachable, 6 refused by policy, signature or approval,
7 timed out while waiting, 130 interrupted.
"""

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """What the command line ends with."""

    DONE = 0
    BAD_OUTCOME = 1
    WRONG_USE = 2
    FILE_INVALID = 3
    DIFFERENT = 4
    UNREACHABLE = 5
    REFUSED = 6
    TIMED_OUT = 7
    INTERRUPTED = 130


class SkerryError(Exception):
    """The root of every error that a user can meet."""

    code: ClassVar[str] = "E0001"
    exit_code: Exit = Exit.BAD_OUTCOME

    @property
    def hint(self) -> str:
        """What to do about it, in one sentence; empty where nothing is known to help."""
        return ""


class UsageError(SkerryError):
    """The command was used wrongly."""

    code = "E0002"
    exit_code = Exit.WRONG_USE

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return self.what

    @property
    def hint(self) -> str:
        """The advice given where it was raised."""
        return self.advice
