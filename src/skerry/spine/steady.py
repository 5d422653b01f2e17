"""Loops that go on through trouble: a step again and again, with a growing pause after errors.

Units: seconds.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.spine import backoff

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.2, 10.0


class Failures(Protocol):
    """The part of a loop's counts that tells how often it failed, and why last."""

    failures: int
    last_error: str


async def go_on(
    step: Callable[[], Awaitable[object]],
    *,
    ensure: Callable[[], Awaitable[None]] | None = None,
    counts: Failures,
    clock: Clock,
    rng: random.Random,
    through: type[Exception] | tuple[type[Exception], ...] = SkerryError,
) -> None:
    """Step until cancelled. `ensure`, where given, comes first and again after each failure."""
    ready, backoff_s = False, BACKOFF_S_MIN
    while True:
        try:
            if ensure is not None and not ready:
                await ensure()
                ready = True
            await step()
            backoff_s = BACKOFF_S_MIN
        except through as error:
            ready = False  # a server that lost its stream gets it back
            counts.failures += 1
            counts.last_error = str(error)
            await clock.sleep(backoff.pause_s(backoff_s, rng.random()))
            backoff_s = backoff.longer_s(backoff_s, BACKOFF_S_MAX)
