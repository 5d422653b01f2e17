"""Files that are whole or absent, and folders that one process owns at a time.

A write goes to a temporary file beside its target, reaches the disk, and is then
renamed: after a crash or a power cut the old bytes or the new ones are there,
never a mix (rename(2) is atomic within a file system; the folder is synced too).
"""

import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from skerry.base.errors import Exit, SkerryError

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700


class FolderBusyError(SkerryError):
    """A second process wants a state folder that one already holds."""

    code = "E0020"
    exit_code = Exit.WRONG_USE

    def __init__(self, folder: str, holder: str) -> None:
        super().__init__(folder, holder)
        self.folder, self.holder = folder, holder

    def __str__(self) -> str:
        return f"{self.folder} is in use by process {self.holder}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "stop that process, or give this one a state folder of its own"


def private_folder(path: Path) -> Path:
    """Make a folder (and its parents) that only this user can read."""
    path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER_MODE)
    path.chmod(PRIVATE_FOLDER_MODE)
    return path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content so that a crash leaves the old bytes or the new."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file's content, readable by this user only."""
    write_atomic(path, data, mode=PRIVATE_FILE_MODE)


def sync_folder(folder: Path) -> None:
    """Make renames and removals inside a folder last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FolderLock:
    """An exclusive hold on a state folder; the kernel drops it when the process ends.

    Raises `FolderBusyError` at once if another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = private_folder(folder) / ".lock"
        self._handle = -1

    def __enter__(self) -> Self:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE_MODE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise FolderBusyError(str(self._path.parent), holder) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._handle = handle
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)
        self._handle = -1
