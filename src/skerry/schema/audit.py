"""What is written into the audit ledger: who did what to what, and how it ended.

Every privileged action is noted before it takes effect: `await note(event)` returns once the
event is on disk, and raises if it cannot be, and then the action is not done. No log, no action.

Units:   none here; the ledger adds time, sequence and chain.
Source:  the classes are those of OCSF 1.9, to which the ledger exports.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum

import msgspec


class AuditKind(StrEnum):
    """What sort of thing happened. Stable words: exports and searches name them."""

    JOIN = "join"
    RENEW = "renew"
    BAN = "ban"
    LIFT_BAN = "lift-ban"
    ATTEST = "attest"
    TAMPER = "tamper"
    CUSTODY = "custody"
    PUBLISH = "publish"
    APPLY = "apply"
    ROLLOUT = "rollout"
    UPDATE = "update"
    ACCESS = "access"
    LOGIN = "login"
    KEY = "key"
    POLICY = "policy"
    BACKUP = "backup"
    BREAK_GLASS = "break-glass"
    DRILL = "drill"


class AuditOutcome(StrEnum):
    """How it ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody did, or was kept from doing."""

    kind: AuditKind
    outcome: AuditOutcome
    actor: str
    """A SPIFFE id, or a person's name as the password store or the OIDC provider has it."""
    target: str
    """What it was done to: a node, a key, a target path, a policy."""
    reason: str = ""
    """The stable word of a refusal or an alarm (`TOKEN_USED`), or empty."""
    text: str = ""
    """One sentence for people."""
    fields: dict[str, str] = {}
    """Further facts; never secrets."""
    personal: dict[str, str] = {}
    """Facts about a person: kept encrypted, so that they can be erased without a broken chain."""


Note = Callable[[AuditEvent], Awaitable[None]]
"""Write an event down; returns once it is on disk. Raises `TrustError` if it cannot be kept."""


async def unwritten(event: AuditEvent) -> None:
    """Keep nothing: where no ledger is kept yet."""
