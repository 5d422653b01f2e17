"""Central's ingest: hands what the regions sent to the store, in batches, then acknowledges.

The store must ignore keys that it has: that is where a record counts once, whatever was
repeated below it.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.units import SECONDS_PER_DAY
from skerry.schema.records import Envelope
from skerry.spine import subjects
from skerry.spine.bus import Bus
from skerry.spine.relay import read_envelope
from skerry.spine.steady import go_on

BATCH_RECORDS = 1000
PULL_S = 2.0
UP_BYTES_MAX = 1 << 30
UP_AGE_S_MAX = 30 * SECONDS_PER_DAY

Store = Callable[[list[Envelope]], Awaitable[None]]


@dataclass(slots=True)
class IngestCounts:
    """Since the process began. `damaged` could not be read as envelopes and were given up."""

    records: int = 0
    batches: int = 0
    damaged: int = 0
    failures: int = 0
    last_error: str = ""


class Ingest:
    """Central's end of the way up."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        *,
        clock: Clock,
        rng: random.Random,
        stream_bytes_max: int = UP_BYTES_MAX,
    ) -> None:
        self.counts = IngestCounts()
        self._bus, self._store, self._clock, self._rng = bus, store, clock, rng
        self._stream_bytes_max = stream_bytes_max

    async def run(self) -> None:
        """Create the stream UP if it is missing, then ingest until cancelled."""
        await go_on(
            self.store_once,
            ensure=self.ensure,
            counts=self.counts,
            clock=self._clock,
            rng=self._rng,
            through=(SkerryError, OSError),  # the store's errors too: nothing is acked
        )

    async def ensure(self) -> None:
        """Bring the stream to its limits."""
        await self._bus.ensure_stream(
            subjects.UP, [subjects.UP_ALL], max_bytes=self._stream_bytes_max, max_age_s=UP_AGE_S_MAX
        )

    async def store_once(self) -> int:
        """Store one batch; returns how many messages were dealt with."""
        messages = await self._bus.pull(
            subjects.UP, subjects.INGEST_DURABLE, limit=BATCH_RECORDS, timeout_s=PULL_S
        )
        if not messages:
            return 0
        read = [read_envelope(message) for message in messages]
        envelopes = [envelope for envelope in read if envelope is not None]
        if envelopes:
            await self._store(envelopes)
        await self._bus.ack(messages)
        self.counts.records += len(envelopes)
        self.counts.damaged += len(read) - len(envelopes)
        self.counts.batches += 1
        return len(messages)
