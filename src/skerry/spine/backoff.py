"""How long a node waits before it tries to log in again: plain numbers, no clock.

The bus calls these after each attempt that failed, and `plan` replays a whole fleet that
comes back at once through the same source, compiled.

    pause_s = wait_s * (0.5 + 0.5 * chance)      and wait_s doubles, up to LOGIN_S_MAX

Units:   seconds; `chance` is uniform, 0 to 1.
"""

from typing import Final

PING_S: Final = 4
PINGS_MAX: Final = 2
"""A link is taken for lost after this many unanswered pings."""
LOGIN_TIMEOUT_S: Final = 5.0
LOGIN_S_MIN: Final = 0.1
LOGIN_S_MAX: Final = 5.0
SPREAD: Final = 0.5
"""The part of a wait that is left to chance, so that many do not come back together."""


def pause_s(wait_s: float, chance: float) -> float:
    """Return the pause before the next attempt: the wait, or up to a half less."""
    return wait_s * (1.0 - SPREAD + SPREAD * chance)


def longer_s(wait_s: float, wait_s_max: float) -> float:
    """Return the wait after one more failure: doubled, up to its limit."""
    return min(2.0 * wait_s, wait_s_max)
