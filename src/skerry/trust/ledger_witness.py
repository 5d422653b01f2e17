"""A witness: somebody elsewhere who remembers what a ledger was, and signs only what follows.

For each ledger it keeps the newest checkpoint. It signs another one only if it is signed by the
ledger's key, is not smaller, and is proved to continue what was seen. So a ledger that was put
back, cut or rewritten finds no witness, however well it fits itself.

A witness that lost its database would sign an old tree as if it were new. Its key and its
memory therefore carry one mark; where the key is without its memory, the witness is retired.

Units:   unix seconds.
Errors:  LogForkError, CheckpointError, WitnessRetiredError, WitnessBehindError, LedgerError.
Source:  C2SP tlog-witness: old size, proof, checkpoint.
"""

import secrets
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from skerry.base.files import PRIVATE_FILE_MODE, private_folder, write_private
from skerry.trust.ledger_errors import (
    CheckpointError,
    LedgerError,
    LogForkError,
    WitnessRetiredError,
)
from skerry.trust.ledger_keys import load_or_make_key
from skerry.trust.ledger_notes import NoteKey, SignedNote, cosign, read_note
from skerry.trust.ledger_tree import EMPTY_ROOT, consistent

WITNESS_FILE, KEY_FILE, MARK_FILE = "witness.db", "witness.key", "witness.mark"
PROOF_HASHES_MAX = 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
  chain TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, key TEXT NOT NULL,
  note TEXT NOT NULL, at_unix_s INTEGER NOT NULL) WITHOUT ROWID;
"""


class WitnessBehindError(CheckpointError):
    """The proof starts at another size than the witness has seen; ask again from `known_size`."""

    reason = "WITNESS_BEHIND"

    def __init__(self, chain: str, known_size: int) -> None:
        super().__init__(chain, f"the witness has seen {known_size} entries")
        self.args = (chain, known_size)
        self.known_size = known_size


class Seen(msgspec.Struct, frozen=True):
    """What a witness knows of one ledger."""

    chain: str
    size: int
    root: bytes
    key: str
    note: str
    at_unix_s: int


class Witness:
    """One witness. Any thread of its process may call it."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        now_unix_s: float,
        on_new: Callable[[str, str], None] = lambda _chain, _other: None,
    ) -> None:
        self._folder, self._name, self._on_new = private_folder(folder), name, on_new
        self._turn = threading.Lock()
        path = folder / WITNESS_FILE
        forgot = (folder / MARK_FILE).exists() and not path.exists()
        try:
            path.touch(mode=PRIVATE_FILE_MODE)
            self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.execute("PRAGMA busy_timeout=5000")
            self._base.executescript(_SCHEMA)
            self._check_memory(forgot)
        except sqlite3.Error as error:
            raise LedgerError(str(path), str(error)) from error
        self._key = load_or_make_key(folder / KEY_FILE, now_unix_s)

    def _check_memory(self, forgot: bool) -> None:
        """Tie key and memory together by one mark, the first time; see that they still are."""
        mark_file = self._folder / MARK_FILE
        rows = self._base.execute("SELECT value FROM fact WHERE name = 'mark'").fetchall()
        mark = mark_file.read_text() if mark_file.exists() else ""
        if not mark and not rows:
            mark = secrets.token_hex(16)
            self._base.execute("INSERT INTO fact VALUES ('mark', ?)", (mark,))
            write_private(mark_file, mark.encode())
            return
        check_memory(str(self._folder), forgot, bool(rows) and rows[0][0] == mark)

    @property
    def key(self) -> NoteKey:
        """Return the public key of its signatures."""
        return self._key.public(self._name, witness=True)

    def see(
        self,
        text: str,
        key_text: str,
        proof: Sequence[bytes],
        *,
        owner: str,
        old_size: int,
        now_unix_s: float,
    ) -> str:
        """Check a checkpoint of `owner`'s ledger against what was seen; returns a signature line.

        The first key and the first tree of a ledger are taken as they come, from whoever the
        connection proves to be `owner`. A second ledger of the same owner is told to `on_new`.
        """
        note = read_note(text)
        checkpoint = note.checkpoint
        check_owner(checkpoint.origin, owner)
        with self._turn:
            known = self._seen(checkpoint.origin)
            if known is None:
                others = [one.chain for one in self.all() if _owner_of(one.chain) == owner]
                key = NoteKey.parse(key_text)
                if checkpoint.next_key is None:
                    check_signed(note, key)
                if others:
                    self._on_new(checkpoint.origin, others[-1])
                known = Seen(checkpoint.origin, 0, EMPTY_ROOT, str(key), "", 0)
            else:
                check_signed(note, NoteKey.parse(known.key))
            if checkpoint.size >= known.size != old_size:
                raise WitnessBehindError(checkpoint.origin, known.size)
            check_continues(note, known, proof)
            new_key = str(checkpoint.next_key or known.key)
            row = (checkpoint.origin, checkpoint.size, checkpoint.root, new_key, text)
            try:
                self._base.execute(
                    "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?)", (*row, int(now_unix_s))
                )
            except sqlite3.Error as error:
                raise LedgerError(str(self._folder), str(error)) from error
        return cosign(note, self._name, self._key.private, now_unix_s=int(now_unix_s))

    def _seen(self, chain: str) -> Seen | None:
        row = self._base.execute("SELECT * FROM seen WHERE chain = ?", (chain,)).fetchone()
        return Seen(*row) if row else None

    def size_of(self, chain: str) -> int:
        """Return how many entries of a ledger it has seen."""
        with self._turn:
            known = self._seen(chain)
        return known.size if known else 0

    def all(self) -> list[Seen]:
        """Return what it knows, oldest sight first."""
        rows = self._base.execute("SELECT * FROM seen ORDER BY at_unix_s, chain").fetchall()
        return [Seen(*row) for row in rows]

    def close(self) -> None:
        """Close its memory."""
        with self._turn:
            self._base.close()


def check_memory(where: str, forgot: bool, fits: bool) -> None:
    """Refuse to witness without the memory that belongs to the key."""
    if forgot or not fits:
        raise WitnessRetiredError(where, "its key is here, and what it had seen is not")


def check_owner(chain: str, owner: str) -> None:
    """Refuse a checkpoint of somebody else's ledger."""
    if _owner_of(chain) != owner:
        raise CheckpointError(chain, f"it was brought by {owner}")


def check_signed(note: SignedNote, key: NoteKey) -> None:
    """Refuse a checkpoint that the ledger's known key did not sign."""
    if not note.signed_by(key):
        raise CheckpointError(note.checkpoint.origin, "it is not signed by the ledger's key")


def check_continues(note: SignedNote, known: Seen, proof: Sequence[bytes]) -> None:
    """Refuse a tree that is smaller than the one that was seen, or does not begin with it."""
    new = note.checkpoint
    if new.size < known.size:
        raise LogForkError(new.origin, new.size, known.size, "it is smaller")
    if len(proof) > PROOF_HASHES_MAX or not consistent(
        known.size, known.root, new.size, new.root, proof
    ):
        raise LogForkError(new.origin, new.size, known.size, "no proof leads from one to the other")


def compare(one: SignedNote, two: SignedNote) -> None:
    """Refuse two views of one ledger that cannot both be true, from two witnesses."""
    first, second = one.checkpoint, two.checkpoint
    if first.origin == second.origin and first.size == second.size:
        check_one_view(first.origin, first.size, first.root, second.root)


def check_one_view(chain: str, size: int, one: bytes, two: bytes) -> None:
    """Refuse two roots of one ledger at one size."""
    if one != two:
        raise LogForkError(chain, size, size, "two witnesses saw two trees")


def seen_notes(path: Path) -> list[SignedNote]:
    """Read witnessed checkpoints: a file of one, or all that a witness's folder remembers."""
    if path.is_file():
        return [read_note(path.read_text("utf-8", errors="replace"))]
    try:
        uri = f"{(path / WITNESS_FILE).resolve().as_uri()}?mode=ro"
        base = sqlite3.connect(uri, uri=True)
        try:
            return [read_note(text) for (text,) in base.execute("SELECT note FROM seen")]
        finally:
            base.close()
    except (sqlite3.Error, UnicodeError) as error:
        raise LedgerError(str(path), f"no witness remembers anything there: {error}") from error


def _owner_of(chain: str) -> str:
    return chain.rpartition("/")[0]
