"""Uplink: drains a node's outbox to its region, for as long as there is anything to drain.

Take a batch, hand over each record under its own key, delete what the region has stored,
repeat. Killed anywhere, it goes on with whatever is still in the outbox: a record that was
stored but not yet deleted goes out again under the same key and counts once.

Units: seconds, bytes of encoded envelopes.
"""

import random
from dataclasses import dataclass

import anyio
import msgspec

from skerry.base.clock import Clock
from skerry.schema.records import Envelope
from skerry.spine import subjects
from skerry.spine.bus import Bus
from skerry.spine.errors import SpineError
from skerry.spine.outbox import Outbox
from skerry.spine.steady import go_on

BATCH_RECORDS = 256
"""Records in flight at most, which bounds memory and what is repeated after a kill."""
LOOK_S = 1.0
ACK_S = 5.0


@dataclass(slots=True)
class UplinkCounts:
    """Since the process began. `duplicates` were stored before; `failures` are failed batches."""

    sent: int = 0
    duplicates: int = 0
    bytes: int = 0
    failures: int = 0
    last_error: str = ""


class Uplink:
    """One node's way up."""

    def __init__(
        self,
        outbox: Outbox,
        bus: Bus,
        *,
        region: str,
        site: str,
        node_number: int,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.counts = UplinkCounts()
        self._outbox, self._bus, self._clock, self._rng = outbox, bus, clock, rng
        self._where = (region, site, node_number)
        self._wake = anyio.Event()

    def nudge(self) -> None:
        """Say that the outbox has something new; without it, it looks every second."""
        self._wake.set()

    async def run(self) -> None:
        """Drain until cancelled."""
        await go_on(
            self._drain_or_wait,
            counts=self.counts,
            clock=self._clock,
            rng=self._rng,
            through=SpineError,
        )

    async def _drain_or_wait(self) -> None:
        self._wake = anyio.Event()
        if not await self.drain_once():
            with anyio.move_on_after(LOOK_S):
                await self._wake.wait()

    async def drain_once(self) -> int:
        """Move one batch; returns how many records the region now has. Raises `SpineError`.

        What was stored before an error is deleted before the error is raised.
        """
        batch = await anyio.to_thread.run_sync(self._outbox.take, BATCH_RECORDS)
        if not batch:
            return 0
        stored: list[str] = []
        errors: list[SpineError] = []
        async with anyio.create_task_group() as tasks:
            for envelope in batch:
                tasks.start_soon(self._send, envelope, stored, errors)
        if stored:
            await anyio.to_thread.run_sync(self._outbox.ack, stored)
        if errors:
            raise errors[0]
        return len(stored)

    async def _send(self, envelope: Envelope, stored: list[str], errors: list[SpineError]) -> None:
        body = msgspec.json.encode(envelope)
        subject = subjects.telemetry(*self._where, envelope.keep)
        try:
            ack = await self._bus.publish_kept(subject, body, msg_id=envelope.key, timeout_s=ACK_S)
        except SpineError as error:
            errors.append(error)
            return
        stored.append(envelope.key)
        self.counts.sent += 1
        self.counts.duplicates += ack.duplicate
        self.counts.bytes += len(body)
