"""What this room refuses, each by a name that stays the same.

`reason` is the stable word for logs, events and drills (`UPDATE_ROLLBACK`, `TOKEN_USED`);
`code` is its number for `skerry help`.
"""

from skerry.base.errors import Exit, SkerryError


class TrustError(SkerryError):
    """Something was not trusted, or a key, certificate or signature could not be used."""

    code = "E0200"
    exit_code = Exit.REFUSED
    reason: str = "NOT_TRUSTED"


class KeyFileError(TrustError):
    """A file with a key cannot be used: absent, torn, or sealed with another passphrase.

    The file is written whole or not at all, so a torn one means that something else wrote it.
    Restore it from the backup, or make a new one and join again.
    """

    code = "E0201"
    exit_code = Exit.FILE_INVALID
    reason = "KEY_FILE"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path} {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "restore the file, or make a new one and join again"
