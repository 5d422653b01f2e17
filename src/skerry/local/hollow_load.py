"""Nodes of a hollow fleet that hand over records all the time, for changes under load.

A record that the region does not take is handed over again, as from a node's outbox; so each one
that is counted here was acknowledged, and has to arrive at central once.

Units:   seconds.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence

from skerry.base.errors import SkerryError
from skerry.local.hollow_fleet import HollowFleet, HollowNode

AGAIN_S = 0.01
PAUSE_S = 0.005
"""Between two records of a node: a stream, not a flood."""


class HollowLoad:
    """One thread for each node, between `with` and its end."""

    def __init__(self, fleet: HollowFleet, nodes: Sequence[HollowNode]) -> None:
        self.kept: list[str] = []
        """What a region acknowledged."""
        self.again = 0
        """How often a record had to be handed over again."""
        self._fleet, self._stop = fleet, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(node,)) for node in nodes]

    def __enter__(self) -> "HollowLoad":
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; what was begun is handed over."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, node: HollowNode) -> None:
        while not self._stop.is_set():
            key = f"{node.id.node} {time.monotonic_ns()}"
            while not self._keep(node, key):
                time.sleep(AGAIN_S)
            self.kept.append(key)
            time.sleep(PAUSE_S)

    def _keep(self, node: HollowNode, key: str) -> bool:
        try:
            self._fleet.loop.run(node.keep(key))
        except SkerryError:
            self.again += 1
            return False
        return True

    def missing(self) -> int:
        """Return how many records have not arrived at central; the load has ended."""
        return sum((Counter(self.kept) - self._arrived()).values())

    def doubled(self) -> int:
        """Return how many arrived more often than once."""
        return sum((self._arrived() - Counter(self.kept)).values())

    def _arrived(self) -> Counter[str]:
        kept = set(self.kept)  # a fleet may have borne other loads before
        events = self._fleet.operator("central").events(kind="hollow")
        return Counter(one.event.text for one in events if one.event.text in kept)
