"""How often one address may be wrong: strangers who guess must not cost others their turn.

Each address has a bucket of wrong calls that fills up again with time. Right calls cost nothing,
so a site behind one address is never slowed by its own size. The table is bounded; where it is
full, the addresses that were quiet for longest are forgotten first.

Units:   seconds on a monotonic clock.
Errors:  TooManyRefusedError.
"""

from collections import OrderedDict

from skerry.base.clock import Clock
from skerry.base.errors import Exit
from skerry.spine.errors import SpineError

WRONG_MAX = 60.0
WRONG_PER_S = 2.0
SOURCES_MAX = 10_000


class TooManyRefusedError(SpineError):
    """This address made too many calls that were refused; it may try again in a moment.

    `TOO_MANY_REFUSED`: a machine with a broken clock or an old key does this as well as an
    attacker does.
    """

    code = "E0265"
    exit_code = Exit.REFUSED
    reason = "TOO_MANY_REFUSED"

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.source = source

    def __str__(self) -> str:
        return f"too many calls from {self.source} were refused ({self.reason})"

    @property
    def hint(self) -> str:
        """Say what to look at."""
        return "look at what was refused before; it may try again in a moment"


class SourceLimit:
    """Counts wrong calls by address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, source: str) -> None:
        """Raise `TooManyRefusedError` for an address whose bucket is full."""
        if over(self._level(source)):
            raise TooManyRefusedError(source)

    def count(self, source: str) -> None:
        """Note a wrong call."""
        self._wrong[source] = (self._level(source) + 1, self._clock.monotonic_s())
        self._wrong.move_to_end(source)
        if len(self._wrong) > SOURCES_MAX:
            self._wrong.popitem(last=False)

    def _level(self, source: str) -> float:
        level, at_s = self._wrong.get(source, (0.0, 0.0))
        return max(0.0, level - WRONG_PER_S * (self._clock.monotonic_s() - at_s))


def over(level: float) -> bool:
    """Tell whether a bucket is full."""
    return level >= WRONG_MAX
