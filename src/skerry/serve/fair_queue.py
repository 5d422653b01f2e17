"""A queue that is fair between clients, and serves urgent requests first.

Requests wait in rounds: a client's first request is in the round that is served next, its
second in the round after it, and so on. Whoever sends a hundred at once waits behind
everybody who sent one. Priorities come first: 1 is the most urgent, 0 stands after all
that state one, and within one priority the rounds are fair.
"""

from collections import deque
from typing import Generic, Protocol, TypeVar

_LAST = 1 << 16  # where priority 0 stands


class Waits(Protocol):
    """What the queue looks at: who sent a request, and how urgent it is."""

    client: int
    priority: int


Item = TypeVar("Item", bound=Waits)


class FairQueue(Generic[Item]):
    """Requests that wait for one model."""

    def __init__(self) -> None:
        self._levels: dict[int, _Rounds[Item]] = {}
        self._order: list[int] = []
        self._len = 0

    def __len__(self) -> int:
        return self._len

    def push(self, item: Item) -> None:
        """Put a request in its place."""
        level = item.priority or _LAST
        rounds = self._levels.get(level)
        if rounds is None:
            rounds = self._levels[level] = _Rounds()
            self._order = sorted(self._levels)
        rounds.push(item)
        self._len += 1

    def first(self) -> Item:
        """Return the request that is next; there is one."""
        return self._levels[self._order[0]].rounds[0][0]

    def pop(self) -> Item:
        """Take the request that is next off the queue; there is one."""
        level = self._order[0]
        rounds = self._levels[level]
        item = rounds.pop()
        self._len -= 1
        if not rounds.rounds:
            del self._levels[level]
            self._order = self._order[1:]
        return item


class _Rounds(Generic[Item]):
    """One priority."""

    __slots__ = ("_waiting_of", "rounds")

    def __init__(self) -> None:
        self.rounds: deque[deque[Item]] = deque()
        self._waiting_of: dict[int, int] = {}

    def push(self, item: Item) -> None:
        ahead = self._waiting_of.get(item.client, 0)
        self._waiting_of[item.client] = ahead + 1
        if ahead < len(self.rounds):
            self.rounds[ahead].append(item)
        else:
            self.rounds.append(deque((item,)))

    def pop(self) -> Item:
        item = self.rounds[0].popleft()
        left = self._waiting_of[item.client] - 1
        if left:
            self._waiting_of[item.client] = left
        else:
            del self._waiting_of[item.client]
        if not self.rounds[0]:
            self.rounds.popleft()
        return item
