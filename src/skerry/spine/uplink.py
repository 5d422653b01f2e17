"""Uplink: signatures first, bodies follow in the next commit."""

import random
from dataclasses import dataclass

import anyio

from skerry.base.clock import Clock
from skerry.spine.bus import Bus
from skerry.spine.outbox import Outbox


@dataclass(slots=True)
class UplinkCounts:
    """Since the process began: records sent, of them already there, bytes, failed tries."""

    sent: int = 0
    duplicates: int = 0
    bytes: int = 0
    failures: int = 0


class Uplink:
    """Drains an outbox to the bus for as long as it runs; restartable at any point."""

    counts: UplinkCounts

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
        wake: anyio.Event | None = None,
    ) -> None:
        raise NotImplementedError

    def nudge(self) -> None:
        """Say that the outbox has something new (call in the loop's thread); else it looks every second."""
        raise NotImplementedError

    async def run(self) -> None:
        """Drain until cancelled."""
        raise NotImplementedError
