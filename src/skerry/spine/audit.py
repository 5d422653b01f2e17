"""One process's share of the audit: its ledger, its witness, the desk for those below.

Central, region and node agent each open one first and close it last: whatever they do in
between can be noted.

Errors:  LedgerError where the ledger cannot be opened: the process does not start.
"""

from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.audit_api import AuditSettings
from skerry.spine.refusals import Refusals
from skerry.trust.ledger import Ledger, open_ledger
from skerry.trust.ledger_desk import Desk
from skerry.trust.ledger_errors import WitnessRetiredError
from skerry.trust.ledger_sender import LOOK_S, Call, Sender
from skerry.trust.ledger_witness import Witness
from skerry.trust.spiffe import SpiffeId

PEERS = "peers"


class Audit:
    """What a process notes, and what it witnesses."""

    def __init__(self, folder: Path, who: SpiffeId, settings: AuditSettings, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self.name = str(who).removeprefix("spiffe://")
        self.ledger: Ledger = open_ledger(
            folder, str(who), clock, reserve_bytes=settings.reserve_bytes
        )
        self._witnesses: list[Witness] = []
        below = self._witness(folder)
        self.desk = Desk(below, self.ledger.note, clock, name=self.name)
        """Where checkpoints from below are brought."""
        self.refusals = Refusals(self.ledger.note, clock, self.name)
        """What this process's door refuses."""

    @classmethod
    def open(cls, folder: Path, who: SpiffeId, settings: AuditSettings, clock: Clock) -> "Audit":
        """Open a process's ledger and what belongs to it."""
        return cls(folder, who, settings, clock)

    def _witness(self, folder: Path) -> Witness | None:
        """Open a witness; one that lost its memory is retired, which is noted."""
        try:
            witness = Witness(
                folder, self.name, now_unix_s=self._clock.unix_s(), on_new=self._restarted
            )
        except WitnessRetiredError as error:
            self._alarm(self.name, error.reason, str(error))
            return None
        self._witnesses.append(witness)
        return witness

    def _restarted(self, chain: str, earlier: str) -> None:
        """Note that somebody's ledger began anew: a new machine, or evidence that was removed."""
        owner = chain.rpartition("/")[0]
        self._alarm(owner, "LEDGER_RESTARTED", f"{chain} took the place of {earlier}")

    def _alarm(self, target: str, reason: str, text: str) -> None:
        self.ledger.note_now(
            AuditEvent(
                kind=AuditKind.TAMPER,
                outcome=AuditOutcome.FAILED,
                actor=self.name,
                target=target,
                reason=reason,
                text=text,
            )
        )

    async def run(
        self,
        call: Call | None,
        on_note: Callable[[str], None],
        on_checkpoint: Callable[[int, str], None] = lambda _size, _note: None,
    ) -> None:
        """Bring checkpoints up through `call` (None: nobody is above) until cancelled."""
        if call is None:
            return
        peers = await anyio.to_thread.run_sync(self._witness, self._folder / PEERS)
        sender = Sender(self.ledger, peers, self._clock, call, on_checkpoint)
        last = ""
        while True:
            try:
                await anyio.to_thread.run_sync(sender.turn)
                last = ""
            except (SkerryError, OSError) as error:
                if str(error) != last:
                    last = str(error)
                    on_note(f"audit: {error}")
            await self._clock.sleep(LOOK_S)

    def close(self) -> None:
        """Sign what is there, and close."""
        self.ledger.close()
        for witness in self._witnesses:
            witness.close()
