"""What a backup says of itself: its last member, so that a file cut short has none."""

from enum import StrEnum

import msgspec

BACKUP_SCHEMA = "skerry.backup/1"


class BackupOf(StrEnum):
    """What sort of state folder was copied."""

    CENTRAL = "central"
    REGION = "region"
    KEYS = "keys"


class BackupFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file, as it was copied."""

    size_bytes: int
    sha256: str


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backup."""

    schema: str = BACKUP_SCHEMA
    of: BackupOf
    fleet: str
    made_unix_s: float
    made_by: str
    """Version of the program."""
    running: bool
    """Whether the process ran meanwhile: what its message server still held is not in it then."""
    files: dict[str, BackupFile]
