"""Events that commands leave beside a ledger, for the process that holds it.

    leave -> inbox/<when>-<chance>.json -> the ledger notes it -> the file goes

A crash between the last two notes it twice; that is told, not hidden.

Errors:  OSError. A file that cannot be read as an event is removed, and says so in the log.
"""

import logging
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from skerry.base.files import private_folder, write_private
from skerry.schema.audit import AuditEvent

log = logging.getLogger(__name__)

INBOX = "inbox"
WAITING_MAX = 100
"""Events taken in at a time; the rest waits for the next."""


def leave(folder: Path, event: AuditEvent) -> Path:
    """Leave an event for the ledger in `folder`; the file is gone once it is noted."""
    path = private_folder(folder / INBOX) / f"{time.time_ns()}-{secrets.token_hex(4)}.json"
    write_private(path, msgspec.json.encode(event))
    return path


def waiting(folder: Path) -> Iterator[tuple[Path, AuditEvent]]:
    """Yield what waits, oldest first."""
    for path in sorted((folder / INBOX).glob("*.json"))[:WAITING_MAX]:
        try:
            yield path, msgspec.json.decode(path.read_bytes(), type=AuditEvent)
        except FileNotFoundError:  # taken back
            continue
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("%s is no event: %s", path, error)
            path.unlink(missing_ok=True)
