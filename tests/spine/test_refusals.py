"""Refusals at a door: noted with who and why, and never more than a ledger can bear."""

import pytest

from skerry.base.errors import UsageError
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.spine.https_server import CallRefusedError
from skerry.spine.refusals import BURST, PER_S, Refusals
from skerry.testing.clock import ManualClock
from skerry.trust.ledger_errors import LedgerError

pytestmark = pytest.mark.anyio
REFUSED = CallRefusedError("POST /v1/apply", "", "an operator")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Book:
    """A ledger that may be broken."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.broken = False
        self.clock = ManualClock()
        self.refusals = Refusals(self.note, self.clock, "central")

    async def note(self, event: AuditEvent) -> None:
        if self.broken:
            raise LedgerError("here", "broken")
        self.events.append(event)


async def test_who_was_refused_what_is_noted() -> None:
    book = Book()
    await book.refusals.tell(AuditKind.APPLY, "POST /v1/apply", "spiffe://x/central", REFUSED)
    await book.refusals.tell(AuditKind.JOIN, "POST /v1/join", "", UsageError("wrong"))
    first, second = book.events
    assert (first.outcome, first.actor) == (AuditOutcome.REFUSED, "spiffe://x/central")
    assert (first.reason, first.target) == ("E0340", "central")
    assert (second.outcome, second.actor) == (AuditOutcome.FAILED, "unknown")


async def test_a_storm_of_strangers_fills_no_ledger_and_hides_no_member() -> None:
    book = Book()
    for _ in range(1000):
        await book.refusals.tell(AuditKind.JOIN, "POST /v1/join", "", REFUSED)
    assert len(book.events) == BURST
    await book.refusals.tell(AuditKind.BAN, "POST /v1/bans", "spiffe://x/operator/ann", REFUSED)
    assert len(book.events) == BURST + 1
    book.clock.advance(1 / PER_S)
    await book.refusals.tell(AuditKind.JOIN, "POST /v1/join", "", REFUSED)
    assert book.events[-1].fields == {"left_out": str(1000 - BURST)}


async def test_a_broken_ledger_does_not_turn_a_refusal_around() -> None:
    book = Book()
    book.broken = True
    await book.refusals.tell(AuditKind.JOIN, "POST /v1/join", "", REFUSED)
