"""What nodes report, newest first in memory, then in the store.

A report comes every two seconds from every node; one disk transaction for each would be
the busiest thing that central does. So reports land in memory and go to the store
together, once a second. A crash loses at most that second, and the next report heals it.

Units:   unix seconds, central's clock for `received_unix_s`.
"""

from collections.abc import Callable, Mapping

import msgspec

from skerry.base.clock import Clock
from skerry.base.ids import IdError
from skerry.central.store import Seen, Store, off_loop
from skerry.schema.observed import Observed
from skerry.spine import subjects
from skerry.spine.bus import Message

REPORT_BYTES_MAX = 64 * 1024
NODES_MAX = 100_000

_observed = msgspec.json.Decoder(Observed)


class Reports:
    """The last report of each node."""

    def __init__(self, store: Store, clock: Clock, on_change: Callable[[], None]) -> None:
        self._store, self._clock, self._on_change = store, clock, on_change
        self._seen: dict[str, Seen] = {}
        self._unsaved: dict[str, Seen] = {}
        self.damaged = 0
        """Reports that could not be read, or were sent in another node's name."""

    async def load(self) -> None:
        """Take up what the store holds from before."""
        self._seen = await off_loop(self._store.observed)

    async def hear(self, message: Message) -> None:
        """Take one status message; one that is not what its subject says is counted and dropped."""
        if len(message.payload) > REPORT_BYTES_MAX:
            self.damaged += 1
            return
        try:
            report = _observed.decode(message.payload)
            _, _, number = report.node.partition("/")
            # NATS lets a node send on its own subject only, so the subject is the proof.
            honest = message.subject == subjects.status(report.region, report.site, int(number))
            honest = honest and report.node == f"{report.site}/{number}"
        except (msgspec.DecodeError, ValueError, IdError):
            honest = False
        known = honest and (report.node in self._seen or len(self._seen) < NODES_MAX)
        if not known:
            self.damaged += 1
            return
        seen = Seen(observed=report, received_unix_s=self._clock.unix_s())
        before = self._seen.get(report.node)
        self._seen[report.node] = self._unsaved[report.node] = seen
        if before is None or _matters(before.observed, report):
            self._on_change()

    def all(self) -> Mapping[str, Seen]:
        """Return the last report of each node, with when it came."""
        return self._seen

    def observed(self) -> dict[str, Observed]:
        """Return the last report of each node, timed by central's clock, not the node's."""
        return {
            node: msgspec.structs.replace(seen.observed, at_unix_s=seen.received_unix_s)
            for node, seen in self._seen.items()
        }

    async def save(self) -> None:
        """Put what is new into the store; on failure it stays for the next time."""
        batch, self._unsaved = self._unsaved, {}
        if not batch:
            return
        try:
            await off_loop(self._store.put_observed, list(batch.values()))
        except BaseException:
            self._unsaved = batch | self._unsaved
            raise


def _matters(old: Observed, new: Observed) -> bool:
    """Tell whether a rollout could move because of this report."""
    return (
        old.generation != new.generation
        or old.in_sync != new.in_sync
        or old.state != new.state
        or old.reverted_generation != new.reverted_generation
        or old.quarantine != new.quarantine
    )
