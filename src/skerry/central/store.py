"""Central's system of record: what was applied, what is true, what was reported.

A `Store` is asked from worker threads (see `off_loop`), never on the event loop, since
each change waits for the disk. Every method is one transaction: it happened whole or
not at all. SQLite is the first engine; `tests/contracts/test_store.py` is what any
other has to pass.

Units:   `*_unix_s` and `*_unix_ms` as their names say.
Errors:  StoreFullError where the disk is full, StoreError for anything else below,
         GenerationConflictError from `apply`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import msgspec
from anyio import CapacityLimiter, to_thread

from skerry.schema.api import RegionStatus, Registration, StoredEvent
from skerry.schema.drill import DrillRecord
from skerry.schema.fleet import Fleet
from skerry.schema.observed import Observed
from skerry.schema.records import Envelope, Summary

P = ParamSpec("P")
T = TypeVar("T")


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet as somebody applied it. A revert is an entry of its own, with a new generation."""

    generation: int
    fleet: Fleet
    policy_sha256: str
    applied_by: str
    reason: str
    at_unix_s: float


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """The desired document that was last sealed for a site.

    `applied_generation` is the applied fleet that it was made from; `generation` the
    document's own. `document` is the exact JSON that was signed.
    """

    site: str
    generation: int
    applied_generation: int
    document: bytes
    at_unix_s: float


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A node's last report and when central got it, by central's clock."""

    observed: Observed
    received_unix_s: float


class Store(Protocol):
    """What central needs of a database."""

    def close(self) -> None:
        """Let go of the database; further calls fail."""
        ...

    def next_generation(self) -> int:
        """Hand out a generation that was never handed out before; they only rise."""
        ...

    def apply(
        self,
        fleet: Fleet,
        *,
        expected_generation: int,
        policy_sha256: str,
        applied_by: str,
        reason: str,
        at_unix_s: float,
    ) -> Applied:
        """Keep a fleet as the newest, if the newest is the expected one (0: none yet)."""
        ...

    def applied(self, generation: int | None = None) -> Applied | None:
        """Return the fleet applied as a generation; the newest without one."""
        ...

    def put_sealed(self, sealed: Sealed) -> None:
        """Keep a site's desired document; an older generation never replaces a newer one."""
        ...

    def sealed(self) -> dict[str, Sealed]:
        """Return the last desired document of each site."""
        ...

    def put_registry(self, region: RegionStatus, nodes: Sequence[Registration]) -> bool:
        """Replace what is known of a region's nodes; say whether anything changed but the time."""
        ...

    def nodes(self) -> list[Registration]:
        """Return every registered node, by name."""
        ...

    def regions(self) -> list[RegionStatus]:
        """Return every region that ever reported, by name."""
        ...

    def put_observed(self, seen: Iterable[Seen]) -> None:
        """Keep the reports; one that is older than what is kept of its node is left out."""
        ...

    def observed(self) -> dict[str, Seen]:
        """Return the last report of each node."""
        ...

    def add_records(self, envelopes: Iterable[Envelope]) -> int:
        """Keep the records that are new, by key, and return how many were."""
        ...

    def record_count(self) -> int:
        """Return how many records are kept."""
        ...

    def events(
        self, *, after: int = 0, site: str = "", kind: str = "", limit: int = 100
    ) -> list[StoredEvent]:
        """Return events in the order they arrived; `kind` also matches as a dotted prefix."""
        ...

    def summaries(
        self, *, from_unix_ms: int, to_unix_ms: int, after: int = 0, limit: int = 5000
    ) -> tuple[list[Summary], int, bool]:
        """Return summaries that overlap a span, the place of the last, and whether more follow."""
        ...

    def put_rollout(self, generation: int, document: bytes) -> None:
        """Keep the state of the rollout of a generation."""
        ...

    def rollout(self) -> bytes | None:
        """Return the state of the rollout with the highest generation."""
        ...

    def add_custody(self, machine: str, number: int, place: str, line: bytes) -> bool:
        """Keep a signed entry as a machine's n-th, from 0; False where another is in its place.

        The same entry may come again. One that leaves a gap in the numbers is not kept either.
        """
        ...

    def custody(self, machine: str) -> list[bytes]:
        """Return a machine's entries, as they came, in order."""
        ...

    def custody_at(self, place: str, limit: int = 256) -> list[bytes]:
        """Return the newest entries of any machine that name a place, oldest first."""
        ...

    def custody_machines(self) -> list[str]:
        """Return every machine that has an entry, by name."""
        ...

    def add_drill(self, record: DrillRecord) -> None:
        """Keep a graded drill."""
        ...

    def drills(self, limit: int = 100) -> list[DrillRecord]:
        """Return graded drills, newest first."""
        ...


_THREADS = CapacityLimiter(4)


async def off_loop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run one store call on a worker thread and wait for it, even if cancelled meanwhile."""
    return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=_THREADS)
