"""The agent's books: request records into summaries, events beside them, all into the outbox.

Reading position and summaries go to disk in one transaction, so that a killed agent
counts no request twice and leaves none out. While the outbox or the disk is full the
position stays where it is: records wait in the journal, which has a limit of its own.

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
from skerry.spine.errors import OutboxFullError, SpineError
from skerry.spine.journal import JournalReader
from skerry.spine.outbox import Entry, Outbox
from skerry.telemetry.summaries import fold

READ_MAX = 5000
"""Request records folded in one go."""
ROUND_S = 0.5
TROUBLE_S = 5.0
"""Pause after a round that could not store what it read."""
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
        on_note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._reader, self._outbox = reader, outbox
        self._site, self._node = site, node
        self._clock = clock
        self._on_new, self._on_note = on_new, on_note
        self._last_note = ""
        self.recent = RecentRequests(site)
        self.unreadable = 0
        """Journal records that no version of this program wrote."""

    async def run(self) -> None:
        """Keep the books for as long as the process lives."""
        while True:
            try:
                more = True
                while more:
                    more = await anyio.to_thread.run_sync(self.turn)
                self._last_note = ""
                pause_s = ROUND_S
            except (SpineError, OSError) as error:
                self._say(str(error))
                pause_s = TROUBLE_S
            await self._clock.sleep(pause_s)

    def turn(self) -> bool:
        """Fold what is new; returns whether more is waiting. Blocking: file and SQLite.

        Raises `OutboxFullError` or `OutboxBrokenError`; then nothing moved.
        """
        cursor = self._outbox.cursor()
        payloads, after = self._reader.read(cursor, READ_MAX)
        if after == cursor:
            return False
        decoded = list(map(self._decode, payloads))
        records = [record for record in decoded if record is not None]
        journal = f"{cursor.segment}:{cursor.offset}"
        summaries = [
            msgspec.structs.replace(summary, journal=journal)
            for summary in fold(records, site=self._site, node=self._node)
        ]
        entries = [
            Entry(Keep.MUST, "summary", summary.from_unix_ms, msgspec.json.encode(summary))
            for summary in summaries
        ]
        self._outbox.put_many(entries, cursor=after)
        self.unreadable += len(decoded) - len(records)
        self.recent.add(records)
        self._on_new()
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
        entry = Entry(Keep.MUST, "event", now_ms, msgspec.json.encode(event))
        try:
            self._outbox.put_many([entry])
        except OutboxFullError as error:  # the node goes on; its log still tells what happened
            self._say(f"{kind} was not recorded, {text}: {error}")
            return
        self._on_new()

    def _say(self, text: str) -> None:
        if text != self._last_note:
            self._last_note = text
            self._on_note(text)

    @staticmethod
    def _decode(payload: bytes) -> RequestRecord | None:
        try:
            return _decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
