"""Leaving a machine: what is lost with a state folder, its keys overwritten, the folder gone.

Overwriting is worth what the medium makes of it: flash and copy-on-write file systems may keep an
old copy. Where that matters, the disk was encrypted; and whoever leaves is also removed at its
region, so that its keys open nothing.

Errors:  LeaveError; FolderBusyError where the process still runs.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from skerry.base.errors import Exit
from skerry.base.files import FolderLock
from skerry.local.errors import LocalError

_MARKS = ("node.json", "region.json", "central.json")
_KEY_SUFFIXES = (".pem", ".key", ".seed")
_KEY_FOLDERS = ("identity", "keys", "secrets")


class LeaveError(LocalError):
    """A folder is no state folder of skerry, so nothing in it is removed."""

    code = "E1407"
    exit_code = Exit.WRONG_USE

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} holds none of {', '.join(_MARKS)}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "name the state folder of a node, a region or central"


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in a state folder that is about to go."""

    keys: int
    losses: tuple[str, ...]


def survey(state: Path) -> Survey:
    """Look at a state folder without changing it."""
    mark = next((mark for mark in _MARKS if (state / mark).is_file()), None)
    if mark is None:
        raise LeaveError(str(state))
    losses = []
    waiting = _undelivered(state / "outbox.db")
    if waiting:
        losses.append(f"{waiting} records that were not delivered")
    if mark != "node.json":
        losses.append(f"the authority of this {mark.removesuffix('.json')}, unless it is backed up")
    if mark == "central.json":
        losses.append("the fleet's history: generations, records, drills")
    if mark == "region.json":
        losses.append("who joined here, and who is banned")
    return Survey(len(_keys(state)), tuple(losses))


def leave(state: Path) -> None:
    """Overwrite every key, then remove the folder. Stopped halfway, it can be asked again."""
    survey(state)
    with FolderLock(state):
        for path in _keys(state):
            _overwrite(path)
        shutil.rmtree(state)


def _keys(state: Path) -> list[Path]:
    return sorted(
        path
        for path in state.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and (path.suffix in _KEY_SUFFIXES or path.relative_to(state).parts[0] in _KEY_FOLDERS)
    )


def _overwrite(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(os.urandom(size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def _undelivered(outbox: Path) -> int:
    if not outbox.is_file():
        return 0
    with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as sql:
        try:
            return int(sql.execute("SELECT count(*) FROM record").fetchone()[0])
        except sqlite3.Error:
            return 0
