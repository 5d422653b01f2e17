"""Is a ledger what was written? Answered offline, from its folder or from an export.

Three layers, each catching what the one before cannot: the chain (an entry was changed, lost,
moved or added), the signed checkpoints (the chain was made anew), and a witness's checkpoint
(the whole database, key included, was replaced by an older or another one).

Units:   entries; about 300,000 of them are checked per second and core.
Errors:  LedgerTamperedError names the first entry that cannot be trusted; LogForkError where a
         witness saw another history; CheckpointError, LedgerError.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skerry.trust.ledger_errors import (
    CheckpointError,
    LedgerError,
    LedgerTamperedError,
    LogForkError,
)
from skerry.trust.ledger_notes import NoteKey, SignedNote, read_note
from skerry.trust.ledger_ocsf import LineError, read_line
from skerry.trust.ledger_store import LedgerStore
from skerry.trust.ledger_tree import Frontier, chain_start, leaf_hash

PAGE = 2000
END_ENTRIES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was checked, and what is known of the entries after the last checkpoint."""

    chain: str
    entries: int
    checkpoints: int = 0
    signed: int = 0
    """Entries under the newest good checkpoint; those after it are chained, not yet signed."""
    witnessed: int = 0
    """Entries under the newest checkpoint that a witness showed."""
    gaps: tuple[tuple[int, int], ...] = field(default=())
    """First and last number of spans that an export leaves out."""


def verify_folder(folder: Path, *, witnessed: Sequence[SignedNote] = ()) -> Verdict:
    """Check a whole ledger in its folder, also against what witnesses saw."""
    store = LedgerStore(folder, writable=False)
    try:
        return _verify(store, witnessed)
    finally:
        store.close()


def _verify(store: LedgerStore, witnessed: Sequence[SignedNote]) -> Verdict:
    where, origin = str(store.path), store.origin
    notes = {size: _read(where, size, text) for size, text in store.checkpoints()}
    seen = {note.checkpoint.size: note for note in witnessed if note.checkpoint.origin == origin}
    if witnessed and not seen:
        found = witnessed[0].checkpoint
        raise LogForkError(found.origin, store.size(), found.size, f"this ledger is {origin}")
    key = NoteKey.parse(store.first_key)
    edge, last, signed = Frontier(), chain_start(origin), 0
    while page := store.entries(edge.size, PAGE):
        for entry in page:
            if entry.seq != edge.size + 1:
                raise LedgerTamperedError(where, edge.size + 1, "it is missing")
            last = leaf_hash(last, entry.body)
            check_leaf(where, entry.seq, last, entry.leaf)
            edge.append(last)
            size = edge.size
            if size in notes:
                key = check_checkpoint(where, notes[size], key, edge.root(), signed)
                signed = size
            if size in seen:
                check_witnessed(origin, seen[size], size, edge.root())
    check_whole(where, origin, edge.size, max(notes, default=0), max(seen, default=0))
    return Verdict(
        chain=origin,
        entries=edge.size,
        checkpoints=len(notes),
        signed=signed,
        witnessed=max(seen, default=0),
    )


def check_leaf(where: str, seq: int, found: bytes, kept: bytes) -> None:
    """Refuse an entry whose content does not follow from the one before it."""
    if found != kept:
        raise LedgerTamperedError(where, seq, "it does not follow the entry before it")


def check_checkpoint(
    where: str, note: SignedNote, key: NoteKey, root: bytes, signed: int
) -> NoteKey:
    """Refuse a tree that is not the one that was signed; returns the key that signs next."""
    if not note.signed_by(key):
        raise LedgerTamperedError(where, signed + 1, "its checkpoint has no good signature")
    if note.checkpoint.root != root:
        raise LedgerTamperedError(
            where,
            signed + 1,
            f"entries up to {note.checkpoint.size} are not those that were signed",
        )
    return note.checkpoint.next_key or key


def check_witnessed(chain: str, note: SignedNote, size: int, root: bytes) -> None:
    """Refuse a tree that is not the one that a witness saw."""
    if note.checkpoint.root != root:
        raise LogForkError(chain, size, size, "its root is another one")


def check_whole(where: str, chain: str, size: int, signed: int, witnessed: int) -> None:
    """Refuse a ledger that has lost its end."""
    if signed > size:
        raise LedgerTamperedError(where, size + 1, f"a checkpoint covers {signed} entries")
    if witnessed > size:
        raise LogForkError(chain, size, witnessed, "entries were cut off, or an old copy put back")


def verify_end(folder: Path) -> None:
    """Check the end of a ledger and its newest checkpoint, quickly, before going on from there."""
    store = LedgerStore(folder, writable=False)
    try:
        where, size = str(store.path), store.size()
        low = max(0, size - END_ENTRIES)
        last = store.previous(low + 1)
        for expected, entry in enumerate(store.entries(low, END_ENTRIES), low + 1):
            if entry.seq != expected:
                raise LedgerTamperedError(where, expected, "it is missing")
            last = leaf_hash(last, entry.body)
            check_leaf(where, entry.seq, last, entry.leaf)
        newest = store.last_checkpoint()
        if newest is None:
            return
        note = _read(where, *newest)
        check_whole(where, store.origin, size, newest[0], 0)
        if Frontier.of(store, newest[0]).root() != note.checkpoint.root:
            raise LedgerTamperedError(where, 1, "the tree is not the one that was signed")
    finally:
        store.close()


def _read(where: str, size: int, text: str) -> SignedNote:
    try:
        note = read_note(text)
    except CheckpointError as error:
        raise LedgerTamperedError(where, size, f"its checkpoint is unreadable: {error}") from error
    if note.checkpoint.size != size:
        raise LedgerTamperedError(where, size, "its checkpoint is of another size")
    return note


def verify_lines(lines: Iterable[bytes], where: str) -> Verdict:
    """Check an export, one line per entry. A line sent twice counts once; gaps are named."""
    chain, known, last = "", 0, b""
    gaps: list[tuple[int, int]] = []
    count = 0
    for data in lines:
        try:
            line = read_line(data)
        except LineError as error:
            raise LedgerTamperedError(where, known + 1, str(error)) from error
        if chain and line.chain != chain:
            raise LedgerTamperedError(where, known + 1, f"it is of another ledger, {line.chain}")
        if not line.fits:
            raise LedgerTamperedError(where, line.seq, "its content is not what was written")
        if line.seq == known and line.leaf == last:
            continue
        if line.seq <= known:
            raise LedgerTamperedError(where, line.seq, f"it comes after entry {known}")
        if line.seq == known + 1 and count and line.previous != last:
            raise LedgerTamperedError(where, line.seq, "it does not follow the entry before it")
        if line.seq != known + 1:
            gaps.append((known + 1, line.seq - 1))
        chain, known, last, count = line.chain, line.seq, line.leaf, count + 1
    if not count:
        raise LedgerError(where, "there is no entry in it")
    return Verdict(chain=chain, entries=count, gaps=tuple(gaps))
