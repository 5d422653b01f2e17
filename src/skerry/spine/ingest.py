"""Central ingest: signatures first, bodies follow in the next commit."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.schema.records import Envelope
from skerry.spine.bus import Bus


@dataclass(slots=True)
class IngestCounts:
    """Since the process began: records handed to the store, batches, damaged ones, failures."""

    records: int = 0
    batches: int = 0
    damaged: int = 0
    failures: int = 0


class Ingest:
    """Pulls from UP and hands batches to `store`, which must ignore keys it has; then acknowledges."""

    counts: IngestCounts

    def __init__(
        self,
        bus: Bus,
        store: Callable[[list[Envelope]], Awaitable[None]],
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Create UP if missing, then ingest until cancelled."""
        raise NotImplementedError
