"""Facts about people in the ledger: encrypted with a key per person, which can be thrown away.

The ledger holds, in place of each fact, its ciphertext (AES-256-GCM) and a keyed hash that
stands for the person. Throwing a person's key away erases the facts everywhere the ledger was
copied to, and changes no byte of it: the chain stays whole.

Keys lie in a database of their own, with deleted pages overwritten, so that a copy of the
ledger is no copy of them. Whoever wants somebody erased writes it here; the ledger notes it and
then does it, the same way whether its process runs or not.

Errors:  LedgerError.
"""

import base64
import contextlib
import hashlib
import hmac
import secrets
import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skerry.base.files import PRIVATE_FILE_MODE, private_folder
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.trust.ledger_errors import LedgerError

PEOPLE_FILE = "people.db"
PERSON = "person"
"""The personal field that says whom the others are about; without it, they are about the actor."""
_KEY_BITS, _NONCE_BYTES = 256, 12
_SCHEMA = """
CREATE TABLE IF NOT EXISTS pepper (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS person (uid TEXT PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasure (
  uid TEXT PRIMARY KEY, actor TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
"""


class Erasure(msgspec.Struct, frozen=True):
    """Somebody's wish that a person's facts be erased."""

    person: str
    """The keyed hash that stands for the person."""
    actor: str
    reason: str

    def event(self) -> AuditEvent:
        """Return what is noted before it is done."""
        return AuditEvent(
            kind=AuditKind.KEY,
            outcome=AuditOutcome.DONE,
            actor=self.actor,
            target=f"person {self.person}",
            text="a person's facts are erased",
            fields={"why": self.reason} if self.reason else {},
        )


class People:
    """The keys of one ledger's people."""

    def __init__(self, folder: Path) -> None:
        self._path = private_folder(folder) / PEOPLE_FILE
        self._turn = threading.Lock()
        try:
            self._path.touch(mode=PRIVATE_FILE_MODE)
            self._base = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA busy_timeout=5000")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.execute("PRAGMA secure_delete=ON")
            self._base.executescript(_SCHEMA)
            self._base.execute(
                "INSERT OR IGNORE INTO pepper VALUES (1, ?)", (secrets.token_bytes(32),)
            )
            self._pepper = self._base.execute("SELECT value FROM pepper").fetchone()[0]
        except sqlite3.Error as error:
            raise LedgerError(str(self._path), str(error)) from error

    def uid(self, person: str) -> str:
        """Return the keyed hash that stands for a person."""
        return hmac.new(self._pepper, person.encode(errors="replace"), hashlib.sha256).hexdigest()

    def seal(self, event: AuditEvent, *, chain: str, seq: int) -> dict[str, Any] | None:
        """Return what the ledger keeps in place of an event's personal fields."""
        if not event.personal:
            return None
        person = self.uid(event.personal.get(PERSON) or event.actor)
        cipher = AESGCM(self._key(person))
        fields = {}
        for name, text in event.personal.items():
            nonce = secrets.token_bytes(_NONCE_BYTES)
            data = cipher.encrypt(nonce, text.encode(errors="replace"), _bound(chain, seq, name))
            fields[name] = base64.b64encode(nonce + data).decode()
        return {"person": person, "fields": fields}

    def open(self, sealed: dict[str, Any], *, chain: str, seq: int) -> dict[str, str] | None:
        """Return personal fields in the clear; None where the person was erased."""
        rows = self._run("SELECT key FROM person WHERE uid = ?", str(sealed.get("person", "")))
        if not rows:
            return None
        cipher, found = AESGCM(rows[0][0]), {}
        for name, encoded in sealed["fields"].items():
            data = base64.b64decode(encoded)
            with contextlib.suppress(InvalidTag):
                nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
                found[name] = cipher.decrypt(nonce, rest, _bound(chain, seq, name)).decode()
        return found

    def ask(self, person: str, *, actor: str, reason: str) -> bool:
        """Ask for a person to be erased; says whether the ledger holds anything about them."""
        uid = self.uid(person)
        if not self._run("SELECT 1 FROM person WHERE uid = ?", uid):
            return False
        self._run("INSERT OR REPLACE INTO erasure VALUES (?, ?, ?)", uid, actor, reason)
        return True

    def asked(self) -> list[Erasure]:
        """Return the erasures that are still to be done."""
        rows = self._run("SELECT uid, actor, reason FROM erasure")
        return [Erasure(*row) for row in rows]

    def erase(self, uid: str) -> None:
        """Throw a person's key away, overwriting it; for whoever has noted it."""
        try:
            with self._turn, self._base:
                self._base.execute("BEGIN IMMEDIATE")
                self._base.execute("DELETE FROM person WHERE uid = ?", (uid,))
                self._base.execute("DELETE FROM erasure WHERE uid = ?", (uid,))
        except sqlite3.Error as error:
            raise LedgerError(str(self._path), str(error)) from error

    def _key(self, uid: str) -> bytes:
        key = AESGCM.generate_key(_KEY_BITS)
        self._run("INSERT OR IGNORE INTO person VALUES (?, ?)", uid, key)
        return bytes(self._run("SELECT key FROM person WHERE uid = ?", uid)[0][0])

    def _run(self, query: str, *values: str | bytes) -> list[tuple]:  # type: ignore[type-arg]
        try:
            with self._turn:
                return self._base.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(str(self._path), str(error)) from error

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._base.close()


def _bound(chain: str, seq: int, name: str) -> bytes:
    """Bind a ciphertext to its place, so that it cannot be moved to another entry."""
    return f"{chain}\n{seq}\n{name}".encode(errors="replace")
