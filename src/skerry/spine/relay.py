"""Region relay: signatures first, bodies follow in the next commit."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from skerry.base.clock import Clock
from skerry.schema.records import Envelope
from skerry.spine.bus import Bus


@dataclass(slots=True)
class RelayCounts:
    """Since the process began."""

    forwarded: int = 0
    forwarded_bytes: int = 0
    withheld: int = 0
    withheld_bytes: int = 0
    damaged: int = 0
    failures: int = 0


def travels(envelope: Envelope) -> bool:
    """The default filter: summaries and events whose keep is must or high."""
    raise NotImplementedError


class Relay:
    """Moves records from the region's stream TEL to central's stream UP; ack after ack."""

    counts: RelayCounts

    def __init__(
        self,
        bus: Bus,
        *,
        region: str,
        clock: Clock,
        rng: random.Random,
        filter: Callable[[Envelope], bool] = travels,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Create TEL if missing, then relay until cancelled."""
        raise NotImplementedError
