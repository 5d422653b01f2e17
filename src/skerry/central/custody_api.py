"""Central's book of custody: entries in, chains out.

    GET  /v1/custody             every machine that has papers
    GET  /v1/custody/{machine}   its chain
    POST /v1/custody/{machine}   one entry more, signed by two who may
    GET  /v1/papers/{site}/{n}   what a node should know: the newest entries that name it

An entry that leaves a gap is kept, since it is evidence; one that nobody who may has signed is not.

Errors:  CustodyConflictError, CustodyFileError, SignerError, and what the audit ledger raises.
"""

from collections.abc import Callable

from skerry.base.ids import node_name
from skerry.central.node_papers import NodePapers
from skerry.central.store import Store, off_loop
from skerry.schema.access import Action
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome, Note
from skerry.schema.custody import (
    ENTRY_BYTES_MAX,
    CustodyChain,
    CustodyMachines,
    CustodyPolicy,
    SignedEntry,
)
from skerry.spine.https_server import Call, NotHereError, Reply, Route
from skerry.trust.custody import check_next, signers_of
from skerry.trust.custody_book import serial
from skerry.trust.custody_errors import CustodyConflictError
from skerry.trust.custody_sign import from_line, to_line
from skerry.trust.spiffe import Role

OPERATOR = frozenset({Role.OPERATOR})
READERS = frozenset({Role.REGION, Role.OPERATOR})


class CustodyApi:
    """Answers the calls about machines' papers."""

    def __init__(
        self, store: Store, papers: NodePapers, *, note: Note, on_change: Callable[[], None]
    ) -> None:
        self._store, self._papers_now = store, papers
        self._note, self._on_change = note, on_change

    def routes(self) -> list[Route]:
        """Return every call there is."""
        return [
            Route("GET", "/v1/custody", self._machines, OPERATOR, Action.LOOK),
            Route("GET", "/v1/custody/{machine}", self._chain, READERS, Action.FETCH),
            Route("POST", "/v1/custody/{machine}", self._add, OPERATOR, Action.TICKET),
            Route("GET", "/v1/papers/{site}/{number}", self._papers, READERS, Action.FETCH),
        ]

    async def _machines(self, call: Call) -> Reply:
        return CustodyMachines(machines=tuple(await off_loop(self._store.custody_machines)))

    async def _chain(self, call: Call) -> Reply:
        lines = await off_loop(self._store.custody, serial(call.part("machine")))
        return CustodyChain(entries=tuple(from_line(line) for line in lines))

    async def _papers(self, call: Call) -> Reply:
        number = call.part("number")
        if not (number.isascii() and number.isdigit() and len(number) < 8):
            raise NotHereError(call.name)
        node = node_name(call.part("site"), int(number))
        verdict = await off_loop(self._papers_now.of, node, await self._policy())
        return CustodyChain(entries=verdict.entries, quarantine=verdict.quarantine)

    async def _add(self, call: Call) -> Reply:
        machine = serial(call.part("machine"))
        signed = await call.document(SignedEntry, bytes_max=ENTRY_BYTES_MAX)
        lines = await off_loop(self._store.custody, machine)
        line = to_line(signed).rstrip()
        if line in lines:
            return None
        chain = [from_line(one) for one in lines]
        entry = check_next(signed, machine, chain, signers_of(await self._policy()))
        await self._note(
            AuditEvent(
                kind=AuditKind.CUSTODY,
                outcome=AuditOutcome.DONE,
                actor=call.admitted.name,
                target=machine,
                reason=entry.step.value,
                text=f"entry {entry.number}, {entry.giver} to {entry.taker}, at {entry.place}",
            )
        )
        kept = await off_loop(self._store.add_custody, machine, entry.number, entry.place, line)
        if not kept:
            raise CustodyConflictError(machine, entry.number, entry.number + 1)
        self._papers_now.forget()
        self._on_change()
        return None

    async def _policy(self) -> CustodyPolicy:
        applied = await off_loop(self._store.applied)
        return applied.fleet.trust.custody if applied else CustodyPolicy()
