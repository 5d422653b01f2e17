"""The audit ledger of one process: an action waits until its record is on disk.

`await ledger.note(event)` returns after the commit, or raises and then nothing may be done. One
thread writes: it takes what has come within 10 ms, up to 100 entries, and stores it as one group,
so that thousands of events a second cost dozens of flushes. Every 10 s or 1000 entries it signs
a checkpoint over the whole tree, for witnesses elsewhere.

A nearly full disk refuses new privileged actions; refusals and alarms are still written, at the
worst into room that a reserve file gives up. A ledger that was tampered with while its process
was away is put aside as evidence, and a new one begins with that as its first entry.

Units:   seconds, unix milliseconds; bytes of free disk.
Errors:  LedgerError, LedgerFullError.
"""

import asyncio
import contextlib
import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from skerry.base.clock import Clock
from skerry.base.files import private_folder
from skerry.base.units import MS_PER_SECOND
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.trust.errors import TrustError
from skerry.trust.ledger_errors import LedgerError, LedgerFullError, LedgerTamperedError
from skerry.trust.ledger_inbox import waiting
from skerry.trust.ledger_keys import SigningKey, load_key, load_or_make_key, make_key
from skerry.trust.ledger_notes import Checkpoint, NoteKey, sign
from skerry.trust.ledger_ocsf import body_of
from skerry.trust.ledger_people import People
from skerry.trust.ledger_store import LEDGER_FILE, LedgerStore
from skerry.trust.ledger_tree import consistency_proof
from skerry.trust.ledger_verify import verify_end

log = logging.getLogger(__name__)

GROUP_ENTRIES_MAX = 100
GROUP_S_MAX = 0.01
CHECKPOINT_ENTRIES = 1000
CHECKPOINT_S = 10.0
QUEUE_ENTRIES_MAX = 10_000
NOTE_S_MAX = 30.0
"""A commit that takes longer counts as one that failed."""
RESERVE_BYTES = 4 * 1024 * 1024
TAMPERED, RESTORED = "tampered", "restored"
"""How folders begin that hold ledgers which are not gone on with."""
KEY_FILE, NEXT_KEY_FILE, RESERVE_FILE = "checkpoint.key", "checkpoint.next", "reserve"

FreeBytes = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """Return the room that the folder's disk has for this user."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@dataclass(slots=True)
class _Waiting:
    """An event on its way to the disk, and who is told how it ended: a thread, or a loop."""

    event: AuditEvent
    at_unix_ms: int
    done: "Future[int] | asyncio.Future[int]"


class Ledger:
    """One process's ledger, from `open_ledger` to `close`. Any thread may note."""

    def __init__(
        self,
        folder: Path,
        store: LedgerStore,
        clock: Clock,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        free: FreeBytes = free_bytes,
    ) -> None:
        self.folder, self.store, self.people = folder, store, People(folder)
        self._clock, self._free, self._reserve_bytes = clock, free, reserve_bytes
        self._key = load_or_make_key(folder / KEY_FILE, clock.unix_s())
        if not store.first_key:
            store.set_first_key(str(self._key.public(store.origin)))
        self._settle_key()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        kept = store.last_checkpoint()
        self._signed_size = kept[0] if kept else 0
        self._signed_s = clock.monotonic_s()
        self._signing = threading.Lock()
        self._closed = False
        self._fill_reserve()
        self._thread = threading.Thread(target=self._write, name="audit-ledger", daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """Return the name of this chain."""
        return self.store.origin

    @property
    def key(self) -> NoteKey:
        """Return the public key that signs checkpoints now."""
        return self._key.public(self.origin)

    # --- noting -----------------------------------------------------------------------

    async def note(self, event: AuditEvent) -> None:
        """Write an event down; returns once it is on disk. If it raises, do not act."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._hand_over(event, future)
        try:
            async with asyncio.timeout(NOTE_S_MAX):
                await future
        except TimeoutError:
            raise self._late() from None

    def note_now(self, event: AuditEvent) -> int:
        """Write an event down, from a thread that may block; returns its number."""
        future: Future[int] = Future()
        self._hand_over(event, future)
        try:
            return future.result(NOTE_S_MAX)
        except TimeoutError:
            raise self._late() from None

    def note_soon(self, event: AuditEvent) -> None:
        """Write an alarm down without waiting: a reaction is not held up by a slow disk."""
        try:
            self._hand_over(event, Future())
        except LedgerError as error:
            log.error("%s: %s", event.reason or event.kind, error)

    def _hand_over(self, event: AuditEvent, done: "Future[int] | asyncio.Future[int]") -> None:
        if self._closed:
            raise LedgerError(str(self.folder), "the ledger is closed")
        if self._queue.qsize() >= QUEUE_ENTRIES_MAX:
            raise LedgerError(
                str(self.folder), f"{QUEUE_ENTRIES_MAX} events wait for a disk that is too slow"
            )
        self._queue.put(_Waiting(event, int(self._clock.unix_s() * MS_PER_SECOND), done))

    def _late(self) -> LedgerError:
        return LedgerError(str(self.folder), f"the disk took longer than {NOTE_S_MAX:g} s")

    # --- the thread that writes -------------------------------------------------------

    def _write(self) -> None:
        while True:
            due_s = max(0.0, self._signed_s + CHECKPOINT_S - self._clock.monotonic_s())
            try:
                first = self._queue.get(timeout=min(due_s, CHECKPOINT_S) or 0.001)
            except queue.Empty:
                self._tick()
                continue
            if first is None:
                return
            group, ended = self._gather(first)
            self._commit(group)
            if self.store.edge.size - self._signed_size >= CHECKPOINT_ENTRIES:
                self._tick()
            if ended:
                return

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Take what comes within the time of one group."""
        group, until_s = [first], self._clock.monotonic_s() + GROUP_S_MAX
        while len(group) < GROUP_ENTRIES_MAX:
            try:
                left_s = until_s - self._clock.monotonic_s()
                more = self._queue.get(timeout=left_s) if left_s > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return group, True
            group.append(more)
        return group, False

    def _commit(self, group: list[_Waiting]) -> None:
        """Store a group; who waits hears of it only then."""
        where = str(self.folder)
        try:
            free = self._free(self.folder)
            for waiting in group:
                check_room(waiting.event, free, self._reserve_bytes, where)
            numbers = self._append(group)
        except Exception as error:
            if len(group) > 1:  # one that cannot be written must not take the others with it
                for waiting in group:
                    self._commit([waiting])
            else:
                failure = error if isinstance(error, TrustError) else self._broken(error)
                _settle([(group[0].done, failure)])
            return
        _settle([(one.done, number) for one, number in zip(group, numbers, strict=True)])

    def _append(self, group: list[_Waiting]) -> list[int]:
        bodies = [self._body(waiting) for waiting in group]
        try:
            return self.store.append(bodies)
        except LedgerFullError:  # the last room is for evidence, not for actions
            if any(is_action(waiting.event) for waiting in group) or not self._give_room():
                raise
            return self.store.append(bodies)

    def _body(self, waiting: _Waiting) -> Callable[[int], bytes]:
        def body(seq: int) -> bytes:
            sealed = self.people.seal(waiting.event, chain=self.origin, seq=seq)
            return body_of(
                waiting.event,
                chain=self.origin,
                seq=seq,
                at_unix_ms=waiting.at_unix_ms,
                sealed=sealed,
            )

        return body

    def _broken(self, error: Exception) -> LedgerError:
        return LedgerError(str(self.folder), f"{type(error).__name__}: {error}")

    # --- checkpoints ------------------------------------------------------------------

    def sign_now(self) -> None:
        """Sign a checkpoint over what is there, without waiting for its time."""
        with self._signing:
            self._sign()

    def _tick(self) -> None:
        """Sign what is new, erase whom somebody asked to erase; a failure waits for the next."""
        self._signed_s = self._clock.monotonic_s()
        try:
            self._fill_reserve()
            with self._signing:
                self._take_inbox()
                self._erase()
                if self._key.is_old(self._clock.unix_s()):
                    self._change_key()
                else:
                    self._sign()
        except (TrustError, OSError) as error:
            log.error("%s", error)
        except Exception:  # the thread that writes must outlive whatever went wrong here
            log.exception("a checkpoint failed")

    def _sign(self, next_key: SigningKey | None = None) -> None:
        edge = self.store.edge  # replaced whole by each group, so this one stays as it is
        size, root = edge.size, edge.root()
        if size == self._signed_size:
            return
        keys = [self._key] if next_key is None else [self._key, next_key]
        public = None if next_key is None else next_key.public(self.origin)
        note = sign(
            Checkpoint(self.origin, size, root, public),
            *((self.origin, key.private) for key in keys),
        )
        self.store.add_checkpoint(size, note)
        self._signed_size = size

    def _change_key(self) -> None:
        """Name a new key in the log and in a checkpoint that the old one signs, then use it."""
        new = make_key(self._clock.unix_s())
        new.save(self.folder / NEXT_KEY_FILE)
        public = str(new.public(self.origin))
        event = AuditEvent(
            kind=AuditKind.KEY,
            outcome=AuditOutcome.DONE,
            actor=self.origin,
            target="checkpoint key",
            text="the key that signs checkpoints is replaced",
            fields={"key": public},
        )
        self._commit_own(event)
        self._sign(new)
        self._settle_key()

    def _settle_key(self) -> None:
        """Use the next key if the newest checkpoint names it; a change may have been cut short."""
        waiting = self.folder / NEXT_KEY_FILE
        new = load_key(waiting)
        if new is None:
            return
        newest = self.store.last_checkpoint()
        if newest is not None and str(new.public(self.origin)) in newest[1]:
            new.save(self.folder / KEY_FILE)
            self._key = new
        waiting.unlink()

    def proof(self, old_size: int, size: int) -> list[bytes]:
        """Return what shows a witness that the tree of `size` continues that of `old_size`."""
        return consistency_proof(self.store, old_size, size)

    def _take_inbox(self) -> None:
        """Note what commands beside this process are about to do."""
        for path, event in waiting(self.folder):
            self._commit_own(event)
            path.unlink(missing_ok=True)

    def _erase(self) -> None:
        """Note each erasure that was asked for, then do it."""
        for erasure in self.people.asked():
            self._commit_own(erasure.event())
            self.people.erase(erasure.person)

    def _commit_own(self, event: AuditEvent) -> None:
        """Note what this thread itself is about to do."""
        done: Future[int] = Future()
        self._commit([_Waiting(event, int(self._clock.unix_s() * MS_PER_SECOND), done)])
        done.result(0)

    # --- room -------------------------------------------------------------------------

    def _give_room(self) -> bool:
        """Give the reserve up; says whether there was any."""
        try:
            (self.folder / RESERVE_FILE).unlink()
        except OSError:
            return False
        return True

    def _fill_reserve(self) -> None:
        path = self.folder / RESERVE_FILE
        if path.exists() or self._free(self.folder) < 2 * self._reserve_bytes:
            return
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._reserve_bytes)

    def close(self) -> None:
        """Write what waits, sign it, and close."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        while not self._queue.empty():  # who came at the very last moment
            late = self._queue.get_nowait()
            if late is not None:
                _settle([(late.done, LedgerError(str(self.folder), "the ledger is closed"))])
        self._tick()
        self.store.close()
        self.people.close()


_Outcome = tuple["Future[int] | asyncio.Future[int]", "int | TrustError"]


def _settle(outcomes: list[_Outcome]) -> None:
    """Tell who waits how it ended: threads at once, each loop by one call for all of its own."""
    loops: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for done, outcome in outcomes:
        if isinstance(done, Future):
            _tell([(done, outcome)])
        else:
            loops.setdefault(done.get_loop(), []).append((done, outcome))
    for loop, own in loops.items():
        with contextlib.suppress(RuntimeError):  # it has ended, and nobody waits any more
            loop.call_soon_threadsafe(_tell, own)


def _tell(outcomes: list[_Outcome]) -> None:
    for done, outcome in outcomes:
        if done.done():
            continue
        if isinstance(outcome, int):
            done.set_result(outcome)
        else:
            done.set_exception(outcome)


def is_action(event: AuditEvent) -> bool:
    """Say whether an event stands for something that is about to be done."""
    return event.outcome is AuditOutcome.DONE and event.kind is not AuditKind.TAMPER


def check_room(event: AuditEvent, free: int, reserve_bytes: int, where: str) -> None:
    """Refuse an action on a disk that is nearly full; refusals and alarms always pass."""
    if free < reserve_bytes and is_action(event):
        raise LedgerFullError(where, f"{free} bytes are free, wanted {reserve_bytes} for evidence")


def open_ledger(
    folder: Path,
    name: str,
    clock: Clock,
    *,
    reserve_bytes: int = RESERVE_BYTES,
    free: FreeBytes = free_bytes,
) -> Ledger:
    """Open a process's ledger, or begin one. `name` is the process's identity.

    A ledger that does not fit its own last checkpoint is put aside, and the new one says so.
    """
    private_folder(folder)
    tampered = _tampered(folder)
    if tampered is not None:
        _put_aside(folder, TAMPERED)
    origin = f"{name.removeprefix('spiffe://')}/{secrets.token_hex(4)}"
    store = LedgerStore(folder, origin=origin)
    store.resume()
    ledger = Ledger(folder, store, clock, reserve_bytes=reserve_bytes, free=free)
    if tampered is not None:
        ledger.note_now(
            AuditEvent(
                kind=AuditKind.TAMPER,
                outcome=AuditOutcome.FAILED,
                actor=name,
                target="audit ledger",
                reason=tampered.reason,
                text=str(tampered),
            )
        )
    return ledger


def _tampered(folder: Path) -> TrustError | None:
    if not (folder / LEDGER_FILE).exists():
        return None
    try:
        verify_end(folder)
    except (LedgerTamperedError, LedgerError) as error:
        return error
    return None


def begin_again(folder: Path, clock: Clock, why: str) -> None:
    """Put a restored ledger aside, with all it witnessed, and begin a new one that says so.

    Going on from a backup would be a second history: the process lived on after it was made,
    and its witness has forgotten what it saw since.
    """
    if not (folder / LEDGER_FILE).exists():
        return
    old = LedgerStore(folder, writable=False)
    chain, size = old.origin, old.size()
    old.close()
    name = chain.rpartition("/")[0]
    _put_aside(folder, RESTORED, *(path.name for path in folder.iterdir()))
    ledger = open_ledger(folder, name, clock)
    ledger.note_now(
        AuditEvent(
            kind=AuditKind.BACKUP,
            outcome=AuditOutcome.DONE,
            actor=name,
            target="audit ledger",
            text=why,
            fields={"chain": chain, "entries": str(size)},
        )
    )
    ledger.close()


def _put_aside(folder: Path, why: str, *further: str) -> None:
    """Keep a ledger that is not gone on with as evidence, with the key that signed it."""
    aside = private_folder(folder / f"{why}-{secrets.token_hex(4)}")
    names = {LEDGER_FILE, f"{LEDGER_FILE}-wal", f"{LEDGER_FILE}-shm", KEY_FILE, *further}
    for name in sorted(names - {aside.name}):
        path = folder / name
        if path.exists() and not name.startswith((TAMPERED, RESTORED)):
            path.rename(aside / name)
