"""What a door refused, written into the audit ledger, a bounded number per second.

Whoever has no certificate can be refused as often as they like; the ledger is not theirs to
fill. What is left out is counted in the next entry.

Units:   seconds.
"""

import logging
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.base.errors import Exit, SkerryError
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note

log = logging.getLogger(__name__)

BURST = 50
PER_S = 2.0
UNKNOWN = "unknown"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float
    left_out: int = 0


class Refusals:
    """Notes refused and failed calls of one door."""

    def __init__(self, note: Note, clock: Clock, name: str) -> None:
        self._note, self._clock, self._name = note, clock, name
        now_s = clock.monotonic_s()
        self._buckets = {known: _Bucket(BURST, now_s) for known in (True, False)}

    async def tell(self, kind: AuditKind, call: str, caller: str, error: SkerryError) -> None:
        """Note a call that was refused, or failed after it was noted as begun."""
        left_out = self._take(known=bool(caller))
        if left_out is None:
            return
        refused = error.exit_code is Exit.REFUSED
        event = AuditEvent(
            kind=kind,
            outcome=AuditOutcome.REFUSED if refused else AuditOutcome.FAILED,
            actor=caller or UNKNOWN,
            target=self._name,
            reason=str(getattr(error, "reason", error.code)),
            text=f"{call}: {error}",
            fields={"left_out": str(left_out)} if left_out else {},
        )
        try:
            await self._note(event)
        except SkerryError as unwritten:  # it stays refused all the same
            log.error("%s", unwritten)

    def _take(self, *, known: bool) -> int | None:
        """Return how many were left out before this one, or None where this one is too."""
        bucket, now_s = self._buckets[known], self._clock.monotonic_s()
        bucket.tokens = min(BURST, bucket.tokens + (now_s - bucket.at_s) * PER_S)
        bucket.at_s = now_s
        if bucket.tokens < 1:
            bucket.left_out += 1
            return None
        bucket.tokens -= 1
        left_out, bucket.left_out = bucket.left_out, 0
        return left_out
