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
from skerry.trust.ledger_export import Exporter, sinks_of
from skerry.trust.ledger_sender import LOOK_S, Call, Sender
from skerry.trust.ledger_witness import Witness
from skerry.trust.spiffe import SpiffeId

PEERS = "peers"
EXPORT_S, EXPORT_S_MAX = 1.0, 60.0
"""Time between two looks for new entries to hand on: usually, and while a collector is away."""


class Audit:
    """What a process notes, and what it witnesses."""

    def __init__(self, folder: Path, who: SpiffeId, settings: AuditSettings, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        sinks = {name: make() for name, make in sinks_of(settings).items()}
        self.name = str(who).removeprefix("spiffe://")
        self.ledger: Ledger = open_ledger(
            folder, str(who), clock, reserve_bytes=settings.reserve_bytes
        )
        self._exporters = [
            Exporter(self.ledger.store, sink, folder / f"export-{name}.json")
            for name, sink in sinks.items()
        ]
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
        """Export, and bring checkpoints up through `call` (None: nobody is above)."""
        async with anyio.create_task_group() as tasks:
            for exporter in self._exporters:
                tasks.start_soon(self._export, exporter, on_note)
            if call is not None:
                tasks.start_soon(self._bring, call, on_note, on_checkpoint)

    async def _export(self, exporter: Exporter, on_note: Callable[[str], None]) -> None:
        """Hand entries on as they come; a collector that is away is asked ever less often."""
        wait_s, last = EXPORT_S, ""
        while True:
            try:
                while await anyio.to_thread.run_sync(exporter.turn, abandon_on_cancel=True):
                    last = ""
                wait_s = EXPORT_S
            except (SkerryError, OSError) as error:
                wait_s = min(wait_s * 2, EXPORT_S_MAX)
                if str(error) != last:
                    last = str(error)
                    on_note(last)
            await self._clock.sleep(wait_s)

    async def _bring(
        self,
        call: Call,
        on_note: Callable[[str], None],
        on_checkpoint: Callable[[int, str], None],
    ) -> None:
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
        for exporter in self._exporters:
            exporter.close()
        self.ledger.close()
        for witness in self._witnesses:
            witness.close()
