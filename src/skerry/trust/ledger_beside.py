"""Noting what a command does beside a process that holds the ledger, before it is done.

    the process runs       the event lies in its inbox until the process has noted it
    no process runs        the command opens the ledger itself

Either way the event is in the chain, on the disk, once `note_beside` returns. If it raises, do
not act.

Units:   seconds.
Errors:  LedgerError.
"""

import time
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.files import FolderBusyError, FolderLock
from skerry.schema.audit import AuditEvent
from skerry.trust.ledger import open_ledger
from skerry.trust.ledger_errors import LedgerError
from skerry.trust.ledger_inbox import leave

WAIT_S_MAX = 30.0
"""A process looks into its inbox every 10 s."""
LOOK_S = 0.1


def note_beside(folder: Path, name: str, event: AuditEvent, clock: Clock) -> None:
    """Write an event into the ledger of a state folder; `name` is its process's identity."""
    left: Path | None = None
    until_s = time.monotonic() + WAIT_S_MAX
    while left is None or left.exists():
        try:
            with FolderLock(folder.parent):
                if left is None or _taken_back(left):
                    _note(folder, name, event, clock)
                return
        except FolderBusyError as error:
            if left is None:
                left = leave(folder, event)
            if time.monotonic() > until_s and _taken_back(left):
                why = f"process {error.holder} has not taken it in {WAIT_S_MAX:g} s"
                raise LedgerError(str(folder), why) from error
            time.sleep(LOOK_S)


def _note(folder: Path, name: str, event: AuditEvent, clock: Clock) -> None:
    ledger = open_ledger(folder, name, clock)
    try:
        ledger.note_now(event)
    finally:
        ledger.close()


def _taken_back(left: Path) -> bool:
    """Remove an event that nobody has taken; says whether it was there."""
    try:
        left.unlink()
    except FileNotFoundError:
        return False
    return True
