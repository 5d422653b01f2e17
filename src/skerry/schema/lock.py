"""`fleet.lock`: which bytes each model version is, as JSON beside the fleet file.

`skerry model add` writes it; `skerry.fleet.resolve` reads it. A version that is in
the lock never changes its digest: new bytes need a new version.

    {"schema": "skerry.lock/1", "models": {"magika": {"1": "9f86d0..."}}}
"""

from pathlib import Path

import msgspec

from skerry.base.errors import Exit, SkerryError
from skerry.base.files import write_atomic

LOCK_FILE = "fleet.lock"
LOCK_SCHEMA = "skerry.lock/1"
_LOCK_BYTES_MAX = 4 * 1024 * 1024


class LockError(SkerryError):
    """A `fleet.lock` that cannot be used, or a version about to change its bytes.

    The file is written by `skerry model add`, not by hand. If a merge broke it,
    restore it from version control, or remove it and add the models again.
    """

    code = "E0120"
    exit_code = Exit.FILE_INVALID

    def __init__(self, file: str, what: str, advice: str) -> None:
        super().__init__(file, what, advice)
        self.file, self.what, self.advice = file, what, advice

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self.advice


class FleetLock(msgspec.Struct, frozen=True, kw_only=True):
    """Model name to version (as text) to the SHA-256 of its manifest."""

    schema: str = LOCK_SCHEMA
    models: dict[str, dict[str, str]] = {}

    def manifest_sha256(self, name: str, version: int) -> str:
        """Return a version's digest, or an empty text if it was never added."""
        return self.models.get(name, {}).get(str(version), "")

    def with_model(self, name: str, version: int, manifest_sha256: str) -> "FleetLock":
        """Return the lock with one version more; raises `LockError` if its digest differs."""
        known = self.manifest_sha256(name, version)
        if known and known != manifest_sha256:
            raise LockError(
                LOCK_FILE,
                f"{name} version {version} is locked to other bytes ({known[:12]})",
                f"give the changed model a new version, for example {version + 1}",
            )
        versions = {**self.models.get(name, {}), str(version): manifest_sha256}
        return FleetLock(models={**self.models, name: versions})


def read_lock(folder: Path) -> FleetLock:
    """Return a fleet folder's lock; an empty one if the file is not there."""
    path = folder / LOCK_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return FleetLock()
    advice = "restore it from version control, or remove it and add the models again"
    if len(data) > _LOCK_BYTES_MAX:
        raise LockError(str(path), f"more than {_LOCK_BYTES_MAX} bytes", advice)
    try:
        lock = msgspec.json.decode(data, type=FleetLock)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LockError(str(path), f"not a lock file: {error}", advice) from error
    if lock.schema != LOCK_SCHEMA:
        raise LockError(str(path), f"schema is {lock.schema}, wanted {LOCK_SCHEMA}", advice)
    return lock


def write_lock(folder: Path, lock: FleetLock) -> None:
    """Write a fleet folder's lock, sorted, so that a change is one line in a review."""
    ordered = msgspec.json.encode(lock, order="sorted")
    write_atomic(folder / LOCK_FILE, msgspec.json.format(ordered, indent=2) + b"\n")
