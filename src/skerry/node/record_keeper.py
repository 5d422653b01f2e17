"""The agent's books: request records into summaries, events beside them, all into the outbox.

Reading position and summaries go to disk in one transaction, so that a killed agent
counts no request twice and leaves none out.

Units: unix milliseconds.
"""

from collections.abc import Callable

import anyio
import anyio.to_thread
import msgspec

from skerry.base.clock import Clock
from skerry.base.units import MS_PER_SECOND
from skerry.node.window import RecentRequests
from skerry.schema.records import Event, Keep, RequestRecord
from skerry.spine.errors import OutboxFullError
from skerry.spine.journal import Cursor, JournalReader
from skerry.spine.outbox import Entry, Outbox
from skerry.telemetry.summaries import fold

READ_MAX = 5000
"""Request records folded in one go."""
ROUND_S = 0.5
_decoder = msgspec.msgpack.Decoder(RequestRecord)


class RecordKeeper:
    """Moves what the worker wrote into the outbox, and writes the agent's own events."""

    def __init__(
        self,
        reader: JournalReader,
        outbox: Outbox,
        *,
        site: str,
        node: str,
        clock: Clock,
        on_new: Callable[[], None],
    ) -> None:
        self._reader, self._outbox = reader, outbox
        self._site, self._node = site, node
        self._clock = clock
        self._on_new = on_new
        self.recent = RecentRequests(site)
        self.unreadable = 0
        """Journal records that no version of this program wrote."""

    async def run(self) -> None:
        """Keep the books for as long as the process lives."""
        while True:
            more = True
            while more:
                more = await anyio.to_thread.run_sync(self.turn)
            await self._clock.sleep(ROUND_S)

    def turn(self) -> bool:
        """Fold what is new; returns whether more is waiting. Blocking: file and SQLite."""
        cursor = self._outbox.cursor()
        payloads, after = self._reader.read(cursor, READ_MAX)
        if after == cursor:
            return False
        records = [record for record in map(self._decode, payloads) if record is not None]
        self.recent.add(records)
        self._put(
            [
                Entry(Keep.MUST, "summary", summary.from_unix_ms, msgspec.json.encode(summary))
                for summary in fold(records, site=self._site, node=self._node)
            ],
            after,
        )
        self._reader.release(after)
        return len(payloads) >= READ_MAX

    def event(self, kind: str, text: str, **detail: str | int | float | bool) -> None:
        """Write an event; it is on disk when this returns. Blocking: SQLite."""
        now_ms = int(self._clock.unix_s() * MS_PER_SECOND)
        event = Event(
            kind=kind,
            at_unix_ms=now_ms,
            site=self._site,
            node=self._node,
            text=text,
            detail=detail,
        )
        self._put([Entry(Keep.MUST, "event", now_ms, msgspec.json.encode(event))], None)

    def _put(self, entries: list[Entry], cursor: Cursor | None) -> None:
        try:
            self._outbox.put_many(entries, cursor=cursor)
        except OutboxFullError:
            # The node goes on answering; the outbox counts what it could not keep.
            if cursor is not None:
                self._outbox.put_many([], cursor=cursor)
        self._on_new()

    def _decode(self, payload: bytes) -> RequestRecord | None:
        try:
            return _decoder.decode(payload)
        except msgspec.DecodeError:
            self.unreadable += 1
            return None
